"""2D models applied to the frames of a clip: TSN, and TSM, which shifts channels between frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import Head


class FrameModel(nn.Module):
    """A 2D model applied to every frame; the logits of a clip are the mean over its frames ("average consensus").

    TSN: Wang et al., "Temporal Segment Networks", ECCV 2016. TSM: Lin et al., "TSM: Temporal Shift Module for
    Efficient Video Understanding", ICCV 2019 (section 4: bi-directional shift on the residual branch).

    With S = ``stacked``, the channels of S consecutive frames are concatenated to one image: TSN for optical flow has the
    input x1, y1, x2, y2, ... of five frames. T below is then T / S, and an image has S times the channels.

    =========== ====================================================
    input       (N, 3, T, H, W), any T
    frames      (N * T, 3, H, W)
    features    (N * T, C), C = 2048 for a resnet50
    logits      (N * T, num_classes), averaged to (N, num_classes)
    =========== ====================================================

    Args:
        backbone: Maps images (M, 3, H, W) to features (M, C).
        head: Maps features to logits.
        stacked: Number of frames per image.
    """

    def __init__(self, backbone: nn.Module, head: Head, *, stacked: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stacked = stacked
        self._shifted_convs = [layer for layer in backbone.modules() if isinstance(layer, ShiftedConv2d)]

    def forward(self, clips: Tensor) -> Tensor:
        n, channels, frames, height, width = clips.shape
        if frames % self.stacked:
            raise UserError(
                f"TSN with model.stacked={self.stacked} requires clips of a multiple of {self.stacked} frames, got "
                f"{frames}; set the segment_len of the sampler to model.stacked"
            )
        for conv in self._shifted_convs:
            conv.num_frames = frames  # the convolution receives (N * T, C, H, W), from which T cannot be inferred
        images = clips.transpose(1, 2).reshape(-1, self.stacked * channels, height, width)
        logits: Tensor = self.head(self.backbone(images))
        return logits.reshape(n, frames // self.stacked, -1).mean(dim=1)


def frame_model(
    num_classes: int,
    *,
    backbone: str,
    dropout: float,
    init_std: float,
    stacked: int = 1,
    shift_div: int | None = None,
) -> FrameModel:
    """Build TSN, or TSM with ``shift_div``, on a torchvision image model.

    Raises:
        UserError: If torchvision has no such model, its classifier is not a linear layer, or TSM does not support it.
    """
    model, channels = _image_model(backbone)
    if shift_div is not None:
        _insert_shifts(model, backbone, shift_div)
    return FrameModel(model, Head(channels, num_classes, dropout=dropout, init_std=init_std), stacked=stacked)


def temporal_shift(x: Tensor, frames: int, shift_div: int) -> Tensor:
    """Shift some channels by one frame: float (N * T, C, H, W) to the same shape.

    With F = C // shift_div, channels 0..F-1 are taken from the next frame, F..2F-1 from the previous one, and the others
    are unchanged. Positions beyond the ends of the clip are zero. ``x`` is not modified, since the shortcut uses it.
    """
    fold = x.shape[1] // shift_div
    before = _by_clip(x, frames)
    out = torch.empty_like(x)  # keeps the memory format
    after = _by_clip(out, frames)
    after[:, :-1, :fold] = before[:, 1:, :fold]
    after[:, -1, :fold] = 0
    after[:, 1:, fold : 2 * fold] = before[:, :-1, fold : 2 * fold]
    after[:, 0, fold : 2 * fold] = 0
    after[:, :, 2 * fold :] = before[:, :, 2 * fold :]
    return out


def _by_clip(x: Tensor, frames: int) -> Tensor:
    """Return (N * T, C, H, W) as a view (N, T, C, H, W) of the same memory."""
    return x.view(-1, frames, *x.shape[1:])


class ShiftedConv2d(nn.Conv2d):
    """A convolution over temporally shifted features, with the parameters of a plain convolution.

    The backbone passes it all frames of a batch as one batch dimension, so the number of frames per clip has to be set
    before each forward pass: ``FrameModel.forward`` assigns ``num_frames``. It is a plain attribute and not part of the
    state dict.

    Args:
        conv: The convolution to replace; its parameters are reused.
        shift_div: 1/shift_div of the channels are shifted forward in time and as many backward.

    Attributes:
        num_frames: Frames per clip (T) of the next input (N * T, C, H, W).
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


def _image_model(name: str) -> tuple[nn.Module, int]:
    """Build a torchvision image model without its classifier; also return its number of features."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"model.backbone={name}: is not an image model of torchvision (torchvision.models)")
    # These two have auxiliary classifiers and would return tuples.
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(name, **options)
    linear = [path for path, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UserError(f"model.backbone={name}: has no linear classifier to replace")
    parent, _, last = linear[-1].rpartition(".")
    place = model.get_submodule(parent)
    channels = int(getattr(place, last).in_features)
    setattr(place, last, nn.Identity())
    if isinstance(place, nn.Sequential):  # the head has its own dropout
        before = len(place) - 2
        if before >= 0 and isinstance(place[before], nn.Dropout):
            place[before] = nn.Identity()
    return model, channels


def _insert_shifts(model: nn.Module, name: str, shift_div: int) -> None:
    """Replace the first convolution of the residual branches by a shifted one, in place.

    In ResNets of at least 101 layers only every second block is shifted, as in the paper's released models.
    """
    stages = [part for part in model.children() if isinstance(part, nn.Sequential)]
    every = 2 if hasattr(model, "layer3") and len(model.layer3) >= 23 else 1  # type: ignore[arg-type]
    count = 0
    for stage in stages:
        for place, (owner, key) in enumerate(_residual_convs(stage)):
            if place % every == 0:
                conv = getattr(owner, key)
                setattr(owner, key, ShiftedConv2d(conv, shift_div))
                count += 1
    if not count:
        raise UserError(
            f"model.backbone={name}: TSM supports ResNets (resnet, resnext, wide_resnet), RegNets, MobileNets, MNASNets and "
            "EfficientNets; choose one of these, or TSN (model=tsn_r50)"
        )


def _residual_convs(stage: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the first convolution of every residual branch as (parent module, attribute name)."""
    from torchvision.models import efficientnet, mnasnet, mobilenetv2, mobilenetv3, regnet, resnet

    for block in list(stage.modules()):
        if isinstance(block, resnet.BasicBlock | resnet.Bottleneck):
            yield block, "conv1"
        elif isinstance(block, mobilenetv2.InvertedResidual) and block.use_res_connect:
            yield block.conv[0], "0"
        elif (
            isinstance(block, mobilenetv3.InvertedResidual | efficientnet.MBConv | efficientnet.FusedMBConv)
            and block.use_res_connect
        ):
            yield block.block[0], "0"
        elif isinstance(block, mnasnet._InvertedResidual) and block.apply_residual:
            yield block.layers, "0"
        elif isinstance(block, regnet.ResBottleneckBlock):
            yield block.f.a, "0"
