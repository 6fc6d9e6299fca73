"""2D models applied to the frames of a clip: TSN, and TSM, TIN and TANet, whose layers mix the frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model.architectures.blocks import Head
from vexp.model.architectures.frame_layers import (
    FrameLayer,
    FrameNonLocal,
    TemporalAdaptive,
    TemporalConv2d,
    TemporalInterlace,
    TemporalPool,
    TemporalShift,
)
from vexp.model.architectures.image_backbones import image_backbone


class FrameFeatures(nn.Module):
    """An image model on every frame: clips, (N, 3, T, H, W), to the features of all their frames, (N * T, C).

    Args:
        backbone: Image model without classifier.
        stacked: Consecutive frames whose channels are concatenated to one image.
        side: Height and width of the frames, if the backbone accepts no other.
        num_frames: Frames of a clip, if the layers that mix them are made for it.
    """

    def __init__(
        self, backbone: nn.Module, *, stacked: int = 1, side: int | None = None, num_frames: int | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.stacked, self.side, self.num_frames = backbone, stacked, side, num_frames
        self._layers = frame_layers(backbone)

    def features(self, clips: Tensor) -> Tensor:
        """Map clips to the features of all their frames, (N * T, C).

        Raises:
            UserError: If clips of this size are not supported.
        """
        frames, height, width = clips.shape[2:]
        if frames % self.stacked:
            raise UserError(
                f"TSN with model.stacked={self.stacked} requires clips of a multiple of {self.stacked} frames, got "
                f"{frames}; set the segment_len of the sampler to model.stacked"
            )
        if self.num_frames is not None and frames != self.num_frames:
            raise UserError(
                f"this model requires clips of model.num_frames={self.num_frames} frames, got {frames}; set the same "
                "number of segments in the sampler, or change model.num_frames"
            )
        if self.side is not None and (height, width) != (self.side, self.side):
            raise UserError(
                f"this model.backbone requires frames of {self.side}x{self.side} pixels, got {width}x{height}; set the "
                "size of the crop"
            )
        features: Tensor = self.backbone(images_of(clips, self._layers, self.stacked))
        return features


class FrameModel(FrameFeatures):
    """A 2D model applied to every frame; the logits of a clip are the mean over its frames ("average consensus").

    TSN: Wang et al., "Temporal Segment Networks", ECCV 2016. TSM: Lin et al., "TSM: Temporal Shift Module for
    Efficient Video Understanding", ICCV 2019 (section 4: bi-directional shift on the residual branch).

    With S = ``stacked``, the channels of S consecutive frames are concatenated to one image: TSN for optical flow has
    the input x1, y1, x2, y2, ... of five frames. T below is then T / S, and an image has S times the channels.

    =========== ====================================================
    input       (N, 3, T, H, W), any T
    frames      (N * T, 3, H, W)
    features    (N * T, C), C = 2048 for a resnet50
    logits      (N * T, num_classes), averaged to (N, num_classes)
    =========== ====================================================
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, **frames: Any) -> None:
        super().__init__(backbone, **frames)
        self.head = head

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(clips))
        return logits.reshape(clips.shape[0], -1, logits.shape[1]).mean(dim=1)

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of the frames, (N, T, C), for a probe."""
        features = self.features(clips)
        return features.reshape(clips.shape[0], -1, features.shape[1])


def frame_layers(backbone: nn.Module) -> list[FrameLayer]:
    """Return the layers that mix the frames of a clip."""
    return [layer for layer in backbone.modules() if isinstance(layer, FrameLayer)]


def images_of(clips: Tensor, layers: Iterable[FrameLayer], stacked: int = 1) -> Tensor:
    """Return the images of all clips, (N * T, C, H, W), and set the number of frames of the layers that mix them."""
    _, channels, frames, height, width = clips.shape
    for layer in layers:
        layer.num_frames = -(-frames // layer.time_stride)
    return clips.transpose(1, 2).reshape(-1, stacked * channels, height, width)


def frame_model(
    num_classes: int,
    *,
    backbone: str,
    in_channels: int = 3,
    stacked: int = 1,
    features_only: bool = False,
    deploy: bool = False,
    shift_div: int | None = None,
    non_local: str | None = None,
    non_local_scale: bool = False,
    temporal_pool: bool = False,
    **head: float,
) -> FrameModel:
    """Build TSN, or TSM with ``shift_div``, on an image model of torchvision or timm.

    ``in_channels`` are those of an image. A model of torchvision is always built for RGB; its first convolution is
    replaced afterwards (``vexp.model.architectures.input_channels``). ``features_only`` and ``deploy`` are arguments of
    ``image_backbone``, ``non_local`` the mode of the non-local blocks of TSM and ``non_local_scale`` their scale; with
    ``temporal_pool`` the frames are pooled in front of the second stage.

    Raises:
        ConfigError: If there is no such model, its classifier is not a linear layer, or TSM does not support it.
    """
    model, width, side = image_backbone(backbone, in_channels, features_only=features_only, deploy=deploy)
    if shift_div is not None:
        insert_shifts(model, backbone, shift_div)
    if non_local is not None:
        _insert_non_local(model, backbone, non_local, scale=non_local_scale)
    if temporal_pool:
        _insert_pool(model, backbone)
    return FrameModel(model, Head(width, num_classes, **head), stacked=stacked, side=side)


def tin(
    num_classes: int, *, backbone: str, in_channels: int, num_frames: int, shift_div: int, **head: float
) -> FrameModel:
    """Build TIN, whose residual branches begin with temporal interlacing, on a ResNet of torchvision or timm.

    Raises:
        ConfigError: If ``backbone`` is not a ResNet, or ``shift_div`` does not give four groups of channels.
    """
    model, width, side = image_backbone(backbone, in_channels)

    def make(conv: nn.Conv2d) -> FrameLayer:
        if conv.in_channels % (TemporalInterlace.GROUPS * shift_div):
            rule = f"1/shift_div of {conv.in_channels} channels must be a multiple of {TemporalInterlace.GROUPS}"
            raise ConfigError(rule, key="model.shift_div", value=shift_div)
        return TemporalInterlace(conv.in_channels, num_frames, shift_div)

    _insert_in_blocks(model, backbone, "conv1", make)
    return FrameModel(model, Head(width, num_classes, **head), side=side, num_frames=num_frames)


def tanet(num_classes: int, *, backbone: str, in_channels: int, num_frames: int, **head: float) -> FrameModel:
    """Build TANet, with a temporal adaptive module before the second convolution of every block, on a ResNet.

    Raises:
        ConfigError: If ``backbone`` is not a ResNet.
    """
    model, width, side = image_backbone(backbone, in_channels)
    _insert_in_blocks(model, backbone, "conv2", lambda conv: TemporalAdaptive(conv.in_channels, num_frames))
    return FrameModel(model, Head(width, num_classes, **head), side=side, num_frames=num_frames)


def insert_shifts(model: nn.Module, name: str, shift_div: int) -> None:
    """Put a temporal shift before the first convolution of the residual branches, in place.

    In ResNets of at least 101 layers only every second block is shifted, as in the paper's released models. The blocks
    of MobileOne, whose branches become one convolution, are shifted as a whole, as in mmaction2.
    """
    if stages := _mobileone_stages(model):
        for stage in stages:
            _insert_members(model, stage, {place: TemporalShift(shift_div) for place in range(len(stage))}, "shift")
        return
    every = 2 if hasattr(model, "layer3") and len(model.layer3) >= 23 else 1  # type: ignore[arg-type]
    branches = [branch for stage in model.children() for branch in list(_residual_convs(stage))[::every]]
    # A subclass, such as one that pads as TensorFlow, computes something else than the convolution that replaces it.
    if not branches or any(type(block.get_submodule(path)) is not nn.Conv2d for block, path in branches):
        raise ConfigError(
            "TSM supports ResNets (resnet, resnext, wide_resnet), RegNets, MobileNets, MNASNets, EfficientNets and "
            "MobileOnes of torchvision and timm, whose residual branches begin with a plain convolution; choose one of "
            "these, or TSN (model=tsn)",
            key="model.backbone", value=name,
        )  # fmt: skip
    for block, path in branches:
        _mix_input(block, path, lambda _: TemporalShift(shift_div))


def _mix_input(block: nn.Module, path: str, make: Callable[[nn.Conv2d], FrameLayer]) -> None:
    conv = block.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    block.set_submodule(path, TemporalConv2d(conv, make(conv)))


def _insert_in_blocks(model: nn.Module, name: str, path: str, make: Callable[[nn.Conv2d], FrameLayer]) -> None:
    """Put a layer before the convolution at ``path`` of every residual block of a ResNet, in place."""
    for stage in resnet_stages(model, name):
        for block in stage:
            _mix_input(block, path, make)


def _insert_non_local(model: nn.Module, name: str, mode: str, *, scale: bool) -> None:
    """Add a non-local block behind every second block of the two middle stages, beginning with the first."""
    for stage in resnet_stages(model, name)[1:3]:
        places = range(0, len(stage), 2)
        blocks = {place: FrameNonLocal(_out_channels(stage[place]), mode, scale=scale) for place in places}
        _insert_members(model, stage, blocks, "non_local", behind=True)


def _insert_pool(model: nn.Module, name: str) -> None:
    """Pool the frames in front of the second stage of a ResNet; the layers behind have half of them."""
    later: list[Any] = resnet_stages(model, name)[1:]
    for layer in (layer for stage in later for layer in stage.modules() if isinstance(layer, FrameLayer)):
        layer.time_stride = 2
    _insert_members(model, later[0], {0: TemporalPool()}, "pool")


def resnet_stages(model: nn.Module, name: str) -> list[nn.Sequential]:
    """Return the four stages of a ResNet of torchvision or timm; raise ConfigError if the model is none."""
    stages = [getattr(model, f"layer{i}", None) for i in range(1, 5)]
    found = [stage for stage in stages if isinstance(stage, nn.Sequential) and hasattr(stage[0], "conv2")]
    if len(found) < len(stages):
        rule = "must be a ResNet (resnet, resnext, wide_resnet) of torchvision or timm for this model"
        raise ConfigError(rule, key="model.backbone", value=name)
    return found


def _out_channels(block: nn.Module) -> int:
    """Return the output channels of a residual block, those of its last convolution."""
    last: Any = getattr(block, "conv3", None) or getattr(block, "conv2", None)
    return int(last.out_channels)


def _insert_members(
    model: nn.Module, stage: nn.Sequential, layers: Mapping[int, FrameLayer], name: str, *, behind: bool = False
) -> None:
    """Insert ``layers`` into a sequence, before or behind the members of these numbers, which keep their names."""
    members: OrderedDict[str, nn.Module] = OrderedDict()
    for place, (key, member) in enumerate(stage.named_children()):
        added = {f"{name}{key}": layers[place]} if place in layers else {}
        members |= {key: member} | added if behind else added | {key: member}
    path = next(path for path, module in model.named_modules() if module is stage)
    model.set_submodule(path, nn.Sequential(members))


def _mobileone_stages(model: nn.Module) -> list[nn.Sequential]:
    sequences = [module for module in model.modules() if isinstance(module, nn.Sequential)]
    return [module for module in sequences if {type(part).__name__ for part in module} == {"MobileOneBlock"}]


def _residual_convs(stage: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the blocks with a shortcut, each with the path of the first convolution of its residual branch."""
    for block in stage.modules():
        library, *_, module = type(block).__module__.split(".")
        path = _FIRST_CONV.get(f"{library}.{module}.{type(block).__name__}")
        # The attribute that states whether the block has a shortcut; blocks without such an attribute always have one.
        flags = (getattr(block, flag, True) for flag in ("use_res_connect", "apply_residual", "has_skip"))
        if path is not None and all(flags):
            yield block, path


#: Path of the first convolution of the residual branch, by library, module and class of the block.
_FIRST_CONV = {
    "torchvision.resnet.BasicBlock": "conv1",
    "torchvision.resnet.Bottleneck": "conv1",
    "torchvision.mobilenetv2.InvertedResidual": "conv.0.0",
    "torchvision.mobilenetv3.InvertedResidual": "block.0.0",
    "torchvision.efficientnet.MBConv": "block.0.0",
    "torchvision.efficientnet.FusedMBConv": "block.0.0",
    "torchvision.mnasnet._InvertedResidual": "layers.0",
    "torchvision.regnet.ResBottleneckBlock": "f.a.0",
    "timm.resnet.BasicBlock": "conv1",
    "timm.resnet.Bottleneck": "conv1",
    "timm.regnet.Bottleneck": "conv1.conv",
    "timm._efficientnet_blocks.InvertedResidual": "conv_pw",
    "timm._efficientnet_blocks.EdgeResidual": "conv_exp",
}
