"""2D models applied to the frames of a clip: TSN, and TSM, which shifts channels between frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model.architectures.blocks import Head
from vexp.model.architectures.image_backbones import image_backbone


class FrameModel(nn.Module):
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

    ``side`` is the height and width of the frames, if the backbone accepts no other; None for any.
    """

    def __init__(self, backbone: nn.Module, head: Head, *, stacked: int = 1, side: int | None = None) -> None:
        super().__init__()
        self.backbone, self.head, self.stacked, self.side = backbone, head, stacked, side
        self._shifted_convs = [layer for layer in backbone.modules() if isinstance(layer, ShiftedConv2d)]

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self._features(clips))
        return logits.reshape(clips.shape[0], clips.shape[2] // self.stacked, -1).mean(dim=1)

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of the frames, (N, T, C), for a probe."""
        return self._features(clips).reshape(clips.shape[0], clips.shape[2] // self.stacked, -1)

    def _features(self, clips: Tensor) -> Tensor:
        """Map clips to the features of all their frames, (N * T, C)."""
        _, channels, frames, height, width = clips.shape
        if frames % self.stacked:
            raise UserError(
                f"TSN with model.stacked={self.stacked} requires clips of a multiple of {self.stacked} frames, got "
                f"{frames}; set the segment_len of the sampler to model.stacked"
            )
        if self.side is not None and (height, width) != (self.side, self.side):
            raise UserError(
                f"this model.backbone requires frames of {self.side}x{self.side} pixels, got {width}x{height}; set the "
                "size of the crop"
            )
        for conv in self._shifted_convs:
            conv.num_frames = frames  # the convolution receives (N * T, C, H, W), from which T cannot be inferred
        images = clips.transpose(1, 2).reshape(-1, self.stacked * channels, height, width)
        features: Tensor = self.backbone(images)
        return features


def frame_model(
    num_classes: int,
    *,
    backbone: str,
    in_channels: int = 3,
    stacked: int = 1,
    shift_div: int | None = None,
    **head: float,
) -> FrameModel:
    """Build TSN, or TSM with ``shift_div``, on an image model of torchvision or timm.

    ``in_channels`` are those of an image. A model of torchvision is always built for RGB; its first convolution is
    replaced afterwards (``vexp.model.architectures.input_channels``).

    Raises:
        ConfigError: If there is no such model, its classifier is not a linear layer, or TSM does not support it.
    """
    model, width, side = image_backbone(backbone, in_channels)
    if shift_div is not None:
        _insert_shifts(model, backbone, shift_div)
    return FrameModel(model, Head(width, num_classes, **head), stacked=stacked, side=side)


def temporal_shift(x: Tensor, frames: int, shift_div: int) -> Tensor:
    """Shift some channels by one frame: float (N * T, C, H, W) to the same shape.

    With F = C // shift_div, channels 0..F-1 are taken from the next frame, F..2F-1 from the previous one, and the
    others are unchanged. Positions beyond the ends of the clip are zero. ``x`` is not modified, since the shortcut uses
    it.
    """
    fold = x.shape[1] // shift_div
    out = torch.empty_like(x)  # keeps the memory format
    before, after = (tensor.view(-1, frames, *x.shape[1:]) for tensor in (x, out))  # (N, T, C, H, W)
    after[:, :-1, :fold] = before[:, 1:, :fold]
    after[:, -1, :fold] = 0
    after[:, 1:, fold : 2 * fold] = before[:, :-1, fold : 2 * fold]
    after[:, 0, fold : 2 * fold] = 0
    after[:, :, 2 * fold :] = before[:, :, 2 * fold :]
    return out


class ShiftedConv2d(nn.Conv2d):
    """A convolution over temporally shifted features, with the parameters of a plain convolution.

    The backbone passes it all frames of a batch as one batch dimension (N * T, C, H, W), so the number of frames per
    clip has to be set before each forward pass: ``FrameModel.forward`` assigns ``num_frames`` (T). It is a plain
    attribute and not part of the state dict. The parameters of ``conv``, which it replaces, are reused.
    """

    def __init__(self, conv: nn.Conv2d, shift_div: int) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            device="meta",  # avoids allocation and random initialization of parameters that are replaced below
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.shift_div = shift_div
        self.num_frames = 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(temporal_shift(x, self.num_frames, self.shift_div))


def _insert_shifts(model: nn.Module, name: str, shift_div: int) -> None:
    """Replace the first convolution of the residual branches by a shifted one, in place.

    In ResNets of at least 101 layers only every second block is shifted, as in the paper's released models.
    """
    every = 2 if hasattr(model, "layer3") and len(model.layer3) >= 23 else 1  # type: ignore[arg-type]
    branches = [branch for stage in model.children() for branch in list(_residual_convs(stage))[::every]]
    # A subclass, such as one that pads as TensorFlow, computes something else than the convolution that replaces it.
    if not branches or any(type(block.get_submodule(path)) is not nn.Conv2d for block, path in branches):
        raise ConfigError(
            "TSM supports ResNets (resnet, resnext, wide_resnet), RegNets, MobileNets, MNASNets and EfficientNets of "
            "torchvision and timm, whose residual branches begin with a plain convolution; choose one of these, or TSN "
            "(model=tsn)",
            key="model.backbone", value=name,
        )  # fmt: skip
    for block, path in branches:
        conv = block.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        block.set_submodule(path, ShiftedConv2d(conv, shift_div))


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
