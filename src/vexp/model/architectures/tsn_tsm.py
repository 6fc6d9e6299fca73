"""2D nets over the frames of a clip: TSN, and TSM, whose frames exchange channels on the way."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import Head


class FrameModel(nn.Module):
    """A 2D net on every frame; the clip's logits are the mean of its frames' ("average consensus").

    TSN: Wang et al., "Temporal Segment Networks", ECCV 2016. TSM: Lin et al., "TSM: Temporal Shift Module for
    Efficient Video Understanding", ICCV 2019 (section 4: bi-directional shift on the residual branch).

    With ``stacked`` = S so many neighbouring frames are one image, their channels one behind another: TSN's nets of
    optical flow see x1, y1, x2, y2 ... of five frames. T below is then T / S, and an image has S times the channels.

    =========== ====================================================
    input       (N, 3, T, H, W), any T
    frames      (N * T, 3, H, W)
    features    (N * T, C), C = 2048 for a resnet50
    logits      (N * T, num_classes), averaged to (N, num_classes)
    =========== ====================================================

    Args:
        backbone: (M, 3, H, W) to features (M, C).
        head: features to logits.
        stacked: frames of an image.
    """

    def __init__(self, backbone: nn.Module, head: Head, *, stacked: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stacked = stacked
        self._shifted = [part for part in backbone.modules() if isinstance(part, ShiftedConv2d)]

    def forward(self, clips: Tensor) -> Tensor:
        n, channels, frames, height, width = clips.shape
        if frames % self.stacked:
            raise UserError(
                f"a clip of {frames} frames: model.stacked={self.stacked} makes one image of so many, and none may be "
                "left over; set the sampler's segment_len to it"
            )
        for conv in self._shifted:
            conv.frames = frames
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
    """TSN over a torchvision image net of any name, or, with ``shift_div``, TSM.

    Raises:
        UserError: torchvision has no such net, its classifier is no linear layer, or TSM has no place in it.
    """
    net, channels = _image_net(backbone)
    if shift_div is not None:
        _insert_shifts(net, backbone, shift_div)
    return FrameModel(net, Head(channels, num_classes, dropout=dropout, init_std=init_std), stacked=stacked)


def temporal_shift(x: Tensor, frames: int, shift_div: int) -> Tensor:
    """Move a share of the channels by a frame: float (N * T, C, H, W) to the same shape.

    With F = C // shift_div: channels 0..F-1 come from the next frame, F..2F-1 from the one before, the others stay.
    Beyond the clip's ends there are zeros. ``x`` is left alone: the shortcut beside the shifted branch reads it, too.
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
    """(N * T, C, H, W) as a view (N, T, C, H, W) of the same memory."""
    return x.view(-1, frames, *x.shape[1:])


class ShiftedConv2d(nn.Conv2d):
    """A convolution over temporally shifted features. Its weights have the names and shapes of the plain one's.

    Args:
        conv: the plain convolution, whose weights it takes over.
        shift_div: one channel in ``shift_div`` moves forward, one back.
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
            device="meta",  # no memory and no random numbers for weights that are replaced at once
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.shift_div = shift_div
        self.frames = 1  # of each clip in the batch: set by FrameNet

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(temporal_shift(x, self.frames, self.shift_div))


def _image_net(name: str) -> tuple[nn.Module, int]:
    """A torchvision image net without its classifier, and how many features it gives."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"model.backbone={name}: torchvision has no image net of that name (torchvision.models)")
    # Two of them have side exits for training, which answer with tuples.
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    net: nn.Module = models.get_model(name, **options)
    linear = [path for path, part in net.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UserError(f"model.backbone={name}: its classifier is no linear layer, so it cannot be replaced")
    parent, _, last = linear[-1].rpartition(".")
    place = net.get_submodule(parent)
    channels = int(getattr(place, last).in_features)
    setattr(place, last, nn.Identity())
    if isinstance(place, nn.Sequential):  # the dropout in front of the classifier is the head's now
        before = len(place) - 2
        if before >= 0 and isinstance(place[before], nn.Dropout):
            place[before] = nn.Identity()
    return net, channels


def _insert_shifts(net: nn.Module, name: str, shift_div: int) -> None:
    """Shift in front of the first convolution of the residual branches.

    Of ResNets as deep as ResNet-101 only every second block is shifted, as in the paper's released nets.
    """
    stages = [part for part in net.children() if isinstance(part, nn.Sequential)]
    every = 2 if hasattr(net, "layer3") and len(net.layer3) >= 23 else 1  # type: ignore[arg-type]
    count = 0
    for stage in stages:
        for place, (owner, key) in enumerate(_residual_convs(stage)):
            if place % every == 0:
                conv = getattr(owner, key)
                setattr(owner, key, ShiftedConv2d(conv, shift_div))
                count += 1
    if not count:
        raise UserError(
            f"model.backbone={name}: TSM shifts the residual branches of ResNets (resnet, resnext, wide_resnet), "
            "RegNets, MobileNets, MNASNets and EfficientNets; take one of those, or TSN (model=tsn_r50)"
        )


def _residual_convs(stage: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Where the residual branches of a torchvision net begin: (module, name of its first convolution)."""
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
