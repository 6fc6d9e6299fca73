"""Options of the ``model`` group for published convolutional models, one class per family.

The defaults are the released models. The options of the models on images are in ``vexp.model.zoo_frames``, those of the
transformers in ``vexp.model.zoo_transformers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.family import Family, auxiliary_weight_option, dropout_option, init_std_option
from vexp.model.weights import key_mapping
from vexp.model.weights.key_mapping import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def _depth(default: int | None, *allowed: int, doc: str = "Depth of the ResNet.") -> Any:
    def check(value: int) -> str | None:
        return None if value in allowed else f"must be one of {', '.join(map(str, allowed))}"

    return option(default, doc, unit="layers", check=check)


_zero_init = partial(option, doc="Initialize the last norm of every residual block to zero (Goyal et al. 2017).")
_non_local = partial(
    option,
    None,
    "Pairwise function of the non-local blocks in the two middle stages (five blocks at depth 50); null for none.",
    choices=("embedded_gaussian", "dot_product", "gaussian"),
)
_non_local_scale = partial(
    option, False, "Divide the products of embedded_gaussian by the square root of the channels, as the Transformer."
)
_norm_eps = partial(option, doc="Added to the variance in the batch norms; 1e-3 in the released models.", gt=0)


@dataclass(kw_only=True, slots=True)
class C2d(Family):
    """C2D: a 2D ResNet with a pooling in time (``vexp.model.architectures.slowfast_i3d``)."""

    architecture: ClassVar[str] = "slowfast_i3d.c2d"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.TORCHVISION_RESNET)

    depth: int = _depth(50, 50, 101, 152)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class SlowOnly(Family):
    """The Slow pathway of SlowFast (``vexp.model.architectures.slowfast_i3d``)."""

    architecture: ClassVar[str] = "slowfast_i3d.slow_only"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.TORCHVISION_RESNET, *key_mapping.NON_LOCAL)

    depth: int = _depth(50, 50, 101, 152)
    with_pool1: bool = option(True, "Halve height and width by a max pooling after the stem; false for small frames.")
    non_local: str | None = _non_local()
    non_local_scale: bool = _non_local_scale()
    zero_init_residual: bool = _zero_init(True)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class Omni(Family):
    """OmniResNet: SlowOnly with a classifier of videos and one of images (``vexp.model.architectures.omni``)."""

    architecture: ClassVar[str] = "omni.omni_resnet"
    key_rules: ClassVar[Rules] = (*key_mapping.OMNI, *key_mapping.TORCHVISION_RESNET)

    image_classes: int = option(
        1000, "Classes of the images, which are clips of one frame.", unit="classes", ge=1, see=("data.train.mix",)
    )
    dropout: float = dropout_option(0.5)
    image_dropout: float = option(0.2, "Dropout probability before the classifier of images.", ge=0, lt=1)


@dataclass(kw_only=True, slots=True)
class SlowOnlyTpn(Family):
    """TPN, a pyramid over the last two stages, on SlowOnly (``vexp.model.architectures.tpn``)."""

    architecture: ClassVar[str] = "tpn.slow_only_tpn"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.TPN, *key_mapping.TORCHVISION_RESNET)

    depth: int = _depth(50, 50, 101, 152)
    zero_init_residual: bool = _zero_init(True)
    auxiliary_weight: float = auxiliary_weight_option(0.5)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class SlowFast(Family):
    """SlowFast: a slow and a fast pathway (``vexp.model.architectures.slowfast_i3d``)."""

    architecture: ClassVar[str] = "slowfast_i3d.slow_fast"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.LATERALS)

    depth: int = _depth(50, 50, 101, 152, doc="Depth of the ResNet of the slow pathway.")
    fast_depth: int | None = _depth(None, 50, 101, 152, doc="Depth of the fast pathway; null for that of the slow one.")
    alpha: int = option(8, "Ratio of the frames of the fast pathway to those of the slow pathway.", ge=1)
    beta_inverse: int = option(
        8, "Ratio of the channels of the slow pathway to those of the fast pathway.", ge=1, le=64
    )
    slow_stride: int = option(8, "Temporal stride of the slow pathway within the clip.", unit="frames", ge=1)
    fusion_kernel: int = option(5, "Temporal kernel size of the lateral convolutions.", unit="frames", ge=1)
    lateral_norm: bool = option(False, "Apply batch norm and ReLU after the lateral convolutions, as PySlowFast.")
    zero_init_residual: bool = _zero_init(True)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.slow_stride % self.alpha:
            rule = (
                f"must be a multiple of alpha={self.alpha}, since the fast pathway has the stride slow_stride / alpha"
            )
            raise ConfigError(rule, key="slow_stride", value=self.slow_stride)
        if self.fusion_kernel % 2 == 0:
            raise ConfigError("must be odd", key="fusion_kernel", value=self.fusion_kernel)
        if 64 % self.beta_inverse:
            rule = "must divide the 64 channels of the slow pathway's stem"
            raise ConfigError(rule, key="beta_inverse", value=self.beta_inverse)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the function, with the depth of the fast pathway."""
        return Family.arguments(self) | {"fast_depth": self.fast_depth or self.depth}

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert mmaction2 checkpoints to the keys of ``model``."""
        rules = key_mapping.LATERALS_WITH_NORM if self.lateral_norm else ()
        return Family.adapt(self, key_mapping.rename_keys(tensors, rules), model)

    @property
    def pathways(self) -> dict[str, int]:
        """Temporal stride of each pathway within the clip."""
        return {"slow": self.slow_stride, "fast": self.slow_stride // self.alpha}


@dataclass(kw_only=True, slots=True)
class I3d(Family):
    """I3D: an inflated ResNet with optional non-local blocks (``vexp.model.architectures.slowfast_i3d``)."""

    architecture: ClassVar[str] = "slowfast_i3d.i3d"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.TORCHVISION_RESNET, *key_mapping.NON_LOCAL)

    depth: int = _depth(50, 50, 101, 152)
    inflate: str = option(
        "every_second", "Blocks with a convolution in time: every_second, or all (I3D heavy).",
        choices=("every_second", "all"),
    )  # fmt: skip
    conv1_stride_t: int = option(2, "Temporal stride of the stem; 1 for I3D heavy.", unit="frames", ge=1)
    pool1_stride_t: int = option(
        2, "Temporal stride of the pooling after the stem; 1 for I3D heavy.", unit="frames", ge=1
    )
    non_local: str | None = _non_local()
    non_local_scale: bool = _non_local_scale()
    zero_init_residual: bool = _zero_init(False)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class C3d(Family):
    """C3D: eight 3x3x3 convolutions, for 16 frames of 112x112 pixels (``vexp.model.architectures.c3d``)."""

    architecture: ClassVar[str] = "c3d.c3d"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping.C3D)

    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class R2plus1d(Family):
    """R(2+1)D: a ResNet with spatial, then temporal convolutions (``vexp.model.architectures.r2plus1d_csn``)."""

    architecture: ClassVar[str] = "r2plus1d_csn.r2plus1d"
    key_rules: ClassVar[Rules] = key_mapping.CLASSIFIER

    depth: int = _depth(34, 18, 34)
    norm_eps: float = _norm_eps(1e-3)
    zero_init_residual: bool = _zero_init(False)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class Csn(Family):
    """CSN: a channel-separated ResNet (``vexp.model.architectures.r2plus1d_csn``)."""

    architecture: ClassVar[str] = "r2plus1d_csn.csn"
    key_rules: ClassVar[Rules] = key_mapping.CLASSIFIER

    depth: int = _depth(50, 50, 101, 152)
    interaction: str = option(
        "reduced",
        "Interaction between channels: reduced (ir-CSN), or preserved (ip-CSN) by a 1x1x1 before the depthwise "
        "convolution.",
        choices=("reduced", "preserved"),
    )
    norm_eps: float = _norm_eps(1e-3)
    zero_init_residual: bool = _zero_init(False)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class X3d(Family):
    """X3D: a mobile-style model (``vexp.model.architectures.x3d``). S and M differ in the input size only."""

    architecture: ClassVar[str] = "x3d.x3d"
    key_rules: ClassVar[Rules] = key_mapping.X3D

    width_factor: float = option(1.0, "gamma_w of X3D: factor on the channels.", gt=0)
    depth_factor: float = option(2.2, "gamma_d of X3D: factor on the blocks of each stage.", gt=0)
    bottleneck_factor: float = option(
        2.25, "gamma_b of X3D: ratio of the inner to the outer channels of a block.", gt=0
    )
    zero_init_residual: bool = _zero_init(True)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)
