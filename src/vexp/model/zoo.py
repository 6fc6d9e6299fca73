"""Options of the ``model`` group for the published video nets, one class a family. Defaults: the released nets."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option
from vexp.model.config import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def _depth(allowed: tuple[int, ...]) -> int:
    def check(value: int) -> str | None:
        return None if value in allowed else f"must be one of {', '.join(map(str, allowed))}"

    default: int = option(
        allowed[-1] if allowed == (18, 34) else 50, "layers of the ResNet", unit="layers", check=check
    )
    return default


def _dropout(default: float) -> float:
    value: float = option(default, "probability of dropping a feature before the classifier", ge=0, lt=1)
    return value


def _init_std(default: float) -> float:
    value: float = option(default, "standard deviation of the classifier's first weights", gt=0)
    return value


def _zero_init(default: bool) -> bool:
    value: bool = option(default, "start every residual block as its shortcut (Goyal et al. 2017)")
    return value


BOTTLENECKS = (50, 101, 152)


@dataclass(kw_only=True, slots=True)
class Family(Model, ABC):
    """Base of the options below, whose fields are the arguments of a function that makes the net."""

    def architecture(self) -> dict[str, Any]:
        """The fields that a family adds to ``Model``."""
        common = {field.name for field in fields(Model)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in common}

    def adapt(self, tensors: Mapping[str, Tensor], net: nn.Module) -> Mapping[str, Tensor]:
        """mmaction2's checkpoints and torchvision's image weights in the names and shapes of ``net``."""
        from vexp.model.weights.key_mapping import inflate, rename_rules, renamed

        return inflate(renamed(tensors, rename_rules(self)), net)


@dataclass(kw_only=True, slots=True)
class Tsn(Family):
    """A torchvision image net on every frame, logits averaged (``vexp.model.architectures.tsn_tsm``)."""

    backbone: str = option("resnet50", "torchvision's name of an image net (resnet18, mobilenet_v2, convnext_tiny ...)")
    stacked: int = option(
        1, "neighbouring frames that are one image, channel by channel; TSN's optical flow: 5", unit="frames", ge=1,
        see=("transform.segment_len",),
    )  # fmt: skip
    dropout: float = _dropout(0.4)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.tsn_tsm import frame_model

        return frame_model(num_classes, **self.architecture())

    @property
    def image_channels(self) -> int:
        return self.channels * self.stacked


@dataclass(kw_only=True, slots=True)
class Tsm(Family):
    """TSN whose frames exchange channels in every residual branch (``vexp.model.architectures.tsn_tsm``)."""

    backbone: str = option("resnet50", "torchvision's name of an image net with residual branches (resnet, regnet ...)")
    shift_div: int = option(8, "one channel in so many comes from the next frame, one from the last", ge=2)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.001)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.tsn_tsm import frame_model

        return frame_model(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class SlowOnly(Family):
    """The Slow pathway of SlowFast alone (``vexp.model.architectures.slowfast_i3d``)."""

    depth: int = _depth(BOTTLENECKS)
    zero_init_residual: bool = _zero_init(True)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.slowfast_i3d import slow_only

        return slow_only(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class SlowFast(Family):
    """A path of few and one of many frames (``vexp.model.architectures.slowfast_i3d``)."""

    depth: int = _depth(BOTTLENECKS)
    alpha: int = option(8, "the fast path sees so many times as many frames as the slow one", ge=1)
    beta_inverse: int = option(8, "the slow path has so many times as many channels as the fast one", ge=1, le=64)
    slow_stride: int = option(8, "the slow path sees every so-manieth frame of the clip", unit="frames", ge=1)
    fusion_kernel: int = option(5, "length in time of the lateral convolutions", unit="frames", ge=1)
    zero_init_residual: bool = _zero_init(True)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.slow_stride % self.alpha:
            raise ValueError(
                f"slow_stride={self.slow_stride}, alpha={self.alpha}: the fast path sees every slow_stride/alpha-th "
                "frame, which must be a whole number"
            )
        if self.fusion_kernel % 2 == 0:
            raise ValueError(f"fusion_kernel={self.fusion_kernel}: must be odd, so that it has a middle frame")
        if 64 % self.beta_inverse:
            raise ValueError(f"beta_inverse={self.beta_inverse}: must divide the 64 channels of the slow path's stem")

    @property
    def pathways(self) -> dict[str, int]:
        """Each path sees every so-manieth frame of a clip."""
        return {"slow": self.slow_stride, "fast": self.slow_stride // self.alpha}

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.slowfast_i3d import slow_fast

        return slow_fast(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class I3d(Family):
    """An inflated ResNet, with non-local blocks if asked for (``vexp.model.architectures.slowfast_i3d``)."""

    depth: int = _depth(BOTTLENECKS)
    non_local: str | None = option(
        None,
        "non-local blocks in the two middle stages (five of them at depth 50), by how they compare positions; "
        "null for none",
        choices=("embedded_gaussian", "dot_product", "gaussian"),
    )
    zero_init_residual: bool = _zero_init(False)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.slowfast_i3d import i3d

        return i3d(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class C3d(Family):
    """Eight 3 x 3 x 3 convolutions, for 16 frames of 112x112 (``vexp.model.architectures.c3d``)."""

    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.c3d import c3d

        return c3d(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class R2plus1d(Family):
    """A ResNet with convolutions in space, then in time (``vexp.model.architectures.r2plus1d_csn``)."""

    depth: int = _depth((18, 34))
    zero_init_residual: bool = _zero_init(False)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.r2plus1d_csn import r2plus1d

        return r2plus1d(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class Csn(Family):
    """A channel-separated ResNet (``vexp.model.architectures.r2plus1d_csn``)."""

    depth: int = _depth(BOTTLENECKS)
    interaction: str = option(
        "reduced",
        "how channels meet: reduced (ir-CSN), or preserved (ip-CSN) by a 1x1x1 convolution before the depthwise one",
        choices=("reduced", "preserved"),
    )
    zero_init_residual: bool = _zero_init(False)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.r2plus1d_csn import csn

        return csn(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class X3d(Family):
    """A mobile-style net (``vexp.model.architectures.x3d``). S and M are one net at two inputs."""

    width_factor: float = option(1.0, "X3D's gamma_w: factor on all channels", gt=0)
    depth_factor: float = option(2.2, "X3D's gamma_d: factor on the blocks of each stage", gt=0)
    bottleneck_factor: float = option(2.25, "X3D's gamma_b: channels within a block over channels between blocks", gt=0)
    zero_init_residual: bool = _zero_init(True)
    dropout: float = _dropout(0.5)
    init_std: float = _init_std(0.01)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.x3d import x3d

        return x3d(num_classes, **self.architecture())


@dataclass(kw_only=True, slots=True)
class TimeSformer(Family):
    """A vision transformer with attention along time, then across the frame (``vexp.model.architectures.timesformer``)."""

    num_frames: int = option(8, "frames of every clip, as the sampler takes them", unit="frames", ge=1)
    img_size: int = option(224, "side of the frames, a multiple of patch_size", unit="pixels", ge=1)
    patch_size: int = option(16, "side of the patches that become tokens", unit="pixels", ge=1)
    width: int = option(768, "features of a token", unit="features", ge=1)
    depth: int = option(12, "attention blocks, one after the other", unit="blocks", ge=1)
    heads: int = option(12, "attention heads of a block, a divisor of width", unit="heads", ge=1)
    drop_path: float = option(0.1, "probability of skipping a branch of the last block, less before", ge=0, lt=1)
    dropout: float = _dropout(0.0)
    init_std: float = _init_std(0.02)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.img_size % self.patch_size:
            raise ValueError(f"img_size={self.img_size}: must be a multiple of patch_size={self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"width={self.width}: must be a multiple of heads={self.heads}")

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.timesformer import timesformer

        return timesformer(num_classes, **self.architecture())
