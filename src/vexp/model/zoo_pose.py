"""Options of the ``model`` group for heat maps of joints (PoseC3D), one class per family."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.model.family import Family, dropout_option, init_std_option
from vexp.model.weights import key_mapping
from vexp.model.weights.key_mapping import Rules


@dataclass(kw_only=True, slots=True)
class PoseModel(Family, ABC):
    """Base class of the options for heat maps, which are built for their number of channels."""

    key_rules: ClassVar[Rules] = key_mapping.CLASSIFIER

    width: int = option(32, "Channels of the first convolution.", unit="channels", ge=4)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the function, with the number of heat maps."""
        return Family.arguments(self) | {"in_channels": self.channels}


@dataclass(kw_only=True, slots=True)
class PoseSlowOnly(PoseModel):
    """The SlowOnly of PoseC3D (``vexp.model.architectures.posec3d``)."""

    architecture: ClassVar[str] = "posec3d.pose_slow_only"

    blocks: list[int] = option([4, 6, 3], "Blocks of each stage, of one to four.", unit="blocks", ge=1)
    temporal_strides: list[int] = option([1, 1, 2], "Temporal stride of each stage.", unit="frames", ge=1)
    zero_init_residual: bool = option(
        True, "Initialize the last norm of every residual block to zero (Goyal et al. 2017)."
    )

    def __post_init__(self) -> None:
        Family.__post_init__(self)
        if not 1 <= len(self.blocks) <= 4:
            raise ConfigError("must have one to four numbers", key="blocks", value=self.blocks)
        if len(self.temporal_strides) != len(self.blocks):
            rule = f"must have {len(self.blocks)} numbers, one for each stage of blocks"
            raise ConfigError(rule, key="temporal_strides", value=self.temporal_strides)


@dataclass(kw_only=True, slots=True)
class C3dLight(PoseModel):
    """The C3D of PoseC3D (``vexp.model.architectures.posec3d``)."""

    architecture: ClassVar[str] = "posec3d.c3d_light"
