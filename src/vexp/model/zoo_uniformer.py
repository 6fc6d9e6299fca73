"""Options of the ``model`` group for UniFormer and UniFormerV2. The defaults are UniFormer-S and UniFormerV2-B/16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.weights import key_mapping, key_mapping_uniformer
from vexp.model.weights.key_mapping import Rules
from vexp.model.zoo import Family

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGES = 4


def _per_stage(values: list[int]) -> str | None:
    valid = len(values) == STAGES and all(value > 0 for value in values)
    return None if valid else f"must be {STAGES} numbers of at least 1, one for each stage"


@dataclass(kw_only=True, slots=True)
class UniFormer(Family):
    """UniFormer: convolutions in shallow, attention in deep stages (``vexp.model.architectures.uniformer``)."""

    architecture: ClassVar[str] = "uniformer.uniformer"
    key_rules: ClassVar[Rules] = key_mapping_uniformer.UNIFORMER

    depths: list[int] = option([3, 4, 8, 3], "Blocks of each of the four stages.", unit="blocks", check=_per_stage)
    widths: list[int] = option(
        [64, 128, 320, 512], "Channels of each of the four stages.", unit="channels", check=_per_stage
    )
    head_width: int = option(
        64, "Channels of each attention head, a divisor of the last two widths.", unit="channels", ge=1
    )
    drop_path: float = option(
        0.1, "Stochastic depth rate of the last block, decreasing linearly toward the first.", ge=0, lt=1
    )
    dropout: float = option(0.0, "Dropout probability before the classifier.", ge=0, lt=1)
    init_std: float = option(0.02, "Standard deviation of the initial weights of the classifier.", gt=0)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if any(width % self.head_width for width in self.widths[2:]):
            rule = f"the last two must be multiples of head_width={self.head_width}"
            raise ConfigError(rule, key="widths", value=self.widths)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of the authors and of mmaction2, and UniFormer's image weights.

        A 2D kernel becomes the middle of the 3D kernel, which is 0 elsewhere, as in the authors' code.
        """
        return key_mapping.inflate(key_mapping.rename_keys(tensors, self.key_rules), model, center=True)


@dataclass(kw_only=True, slots=True)
class UniFormerV2(Family):
    """UniFormerV2: CLIP's image transformer with global blocks (``vexp.model.architectures.uniformerv2``)."""

    architecture: ClassVar[str] = "uniformerv2.uniformerv2"
    key_rules: ClassVar[Rules] = key_mapping_uniformer.UNIFORMER_V2

    img_size: int = option(224, "Height and width of the frames, a multiple of patch_size.", unit="pixels", ge=1)
    patch_size: int = option(16, "Height and width of the patches.", unit="pixels", ge=1)
    width: int = option(768, "Embedding dimension.", unit="channels", ge=1)
    depth: int = option(12, "Number of transformer blocks.", unit="blocks", ge=1)
    heads: int = option(12, "Attention heads of each block, a divisor of width.", unit="heads", ge=1)
    global_blocks: int = option(
        4, "Number of global blocks, one after each of the last transformer blocks.", unit="blocks", ge=1
    )
    mlp_dropout: float = option(0.5, "Dropout probability in the MLP of the global blocks.", ge=0, lt=1)
    drop_path: float = option(
        0.0, "Stochastic depth rate of the last block, decreasing linearly toward the first.", ge=0, lt=1
    )
    dropout: float = option(0.5, "Dropout probability before the classifier.", ge=0, lt=1)
    init_std: float = option(0.02, "Standard deviation of the initial weights of the classifier.", gt=0)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.img_size % self.patch_size:
            raise ConfigError(
                f"must be a multiple of patch_size={self.patch_size}", key="img_size", value=self.img_size
            )
        if self.width % self.heads:
            raise ConfigError(f"must be a multiple of heads={self.heads}", key="width", value=self.width)
        if self.global_blocks > self.depth:
            raise ConfigError(f"must be at most depth={self.depth}", key="global_blocks", value=self.global_blocks)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of the authors and of mmaction2, and CLIP's weights of OpenAI, OpenCLIP, HF and timm."""
        image, others = key_mapping_uniformer.image_tower(tensors)
        renamed = key_mapping.rename_keys(image, self.key_rules)
        return {**key_mapping.inflate(key_mapping_uniformer.convert_projections(renamed, model), model), **others}
