"""Layers that mix the frames of a clip between the layers of an image model: TSM, TIN, TANet and non-local blocks.

The image model receives all frames of a batch as one batch dimension, (N * T, C, H, W), from which T cannot be
inferred: ``FrameModel`` sets ``num_frames`` before each forward pass. It is a plain attribute, not part of the state
dict.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vexp.model.architectures.blocks import NonLocal, sequential


class FrameLayer(nn.Module):
    """Base class of the layers. ``time_stride`` is 2 behind a ``TemporalPool``, where a clip has half its frames."""

    num_frames: int = 1
    time_stride: int = 1


def clips_of(x: Tensor, frames: int) -> Tensor:
    """View all frames of a batch, (N * T, C, H, W), as clips, (N, T, C, H, W)."""
    return x.view(-1, frames, *x.shape[1:])


class TemporalConv2d(nn.Conv2d):
    """A convolution whose input is mixed over time first, by ``temporal``; it reuses the parameters of ``conv``."""

    def __init__(self, conv: nn.Conv2d, temporal: FrameLayer) -> None:
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
        self.temporal = temporal

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.temporal(x))


class TemporalShift(FrameLayer):
    """The shift of TSM (Lin et al., ICCV 2019, section 3): see ``temporal_shift``."""

    def __init__(self, shift_div: int) -> None:
        super().__init__()
        self.shift_div = shift_div

    def forward(self, x: Tensor) -> Tensor:
        return temporal_shift(x, self.num_frames, self.shift_div)


def temporal_shift(x: Tensor, frames: int, shift_div: int) -> Tensor:
    """Shift some channels by one frame: float (N * T, C, H, W) to the same shape.

    With F = C // shift_div, channels 0..F-1 are taken from the next frame, F..2F-1 from the previous one, and the
    others are unchanged. Positions beyond the ends of the clip are zero. ``x`` is not modified, since the shortcut uses
    it.
    """
    fold = x.shape[1] // shift_div
    out = torch.empty_like(x)  # keeps the memory format
    before, after = clips_of(x, frames), clips_of(out, frames)  # (N, T, C, H, W)
    after[:, :-1, :fold] = before[:, 1:, :fold]
    after[:, -1, :fold] = 0
    after[:, 1:, fold : 2 * fold] = before[:, :-1, fold : 2 * fold]
    after[:, 0, fold : 2 * fold] = 0
    after[:, :, 2 * fold :] = before[:, :, 2 * fold :]
    return out


class TemporalInterlace(FrameLayer):
    """Temporal interlacing (Shao, Qian and Liu, "Temporal Interlacing Network", AAAI 2020).

    The first ``channels // shift_div`` channels are moved in time, in four groups, by o1, o2, -o1 and -o2 frames. The
    offsets, between -2 and 2, are computed from the clip; values between two frames are interpolated, those beyond the
    ends of the clip are zero. Each frame of a group is then weighted by a factor between 0 and 2.
    """

    GROUPS = 4

    def __init__(self, channels: int, frames: int, shift_div: int) -> None:
        super().__init__()
        self.moved = channels // shift_div
        self.offset_net = sequential(
            conv=nn.Conv1d(self.moved, 1, 3, padding=1), flatten=nn.Flatten(),
            fc1=nn.Linear(frames, frames), relu=nn.ReLU(), fc2=nn.Linear(frames, self.GROUPS // 2),
        )  # fmt: skip
        self.weight_net = sequential(conv=nn.Conv1d(self.moved, self.GROUPS // 2, 3, padding=1))
        nn.init.constant_(self.offset_net.fc2.bias, 0.5108)  # type: ignore[union-attr, arg-type]  # offsets of 0.5
        nn.init.zeros_(self.weight_net.conv.bias)  # type: ignore[union-attr, arg-type]  # weights of 1

    def forward(self, x: Tensor) -> Tensor:
        frames = self.num_frames
        clips = clips_of(x[:, : self.moved], frames)  # (N, T, C', H, W)
        pooled = clips.mean(dim=(3, 4)).transpose(1, 2)  # (N, C', T)
        offsets = 4 * (self.offset_net(pooled).sigmoid() - 0.5)
        offsets = torch.cat([offsets, -offsets], dim=1)[..., None, None]  # (N, 4, 1, 1)
        weights = (2 * self.weight_net(pooled).sigmoid()).repeat(1, 2, 1)[..., None]  # (N, 4, T, 1)
        # Frame t of the output is the input at the time t - offset: row t of a linear interpolation.
        times = torch.arange(frames, device=x.device, dtype=offsets.dtype)
        rows = (1 - (times[:, None] - offsets - times).abs()).clamp(min=0) * weights  # (N, 4, T, T)
        groups = clips.reshape(*clips.shape[:2], self.GROUPS, -1, *clips.shape[3:])
        moved = torch.einsum("ngts,nsgchw->ntgchw", rows, groups)
        return torch.cat([moved.flatten(2, 3).flatten(0, 1), x[:, self.moved :]], dim=1)


class TemporalAdaptive(FrameLayer):
    """The module of TANet (Liu et al., "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021, section 3).

    A gate for every channel and frame (the local branch), then a depthwise convolution over three frames whose kernel
    is computed for every clip and channel from all its frames (the global branch).
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(
            nn.Linear(frames, 2 * frames, bias=False), nn.BatchNorm1d(2 * frames), nn.ReLU(inplace=True),
            nn.Linear(2 * frames, 3, bias=False), nn.Softmax(-1),
        )  # fmt: skip
        self.gate = nn.Sequential(
            nn.Conv1d(channels, channels // 4, 3, padding=1, bias=False), nn.BatchNorm1d(channels // 4),
            nn.ReLU(inplace=True), nn.Conv1d(channels // 4, channels, 1, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        frames = self.num_frames
        clips = clips_of(x, frames)  # (N, T, C, H, W)
        pooled = clips.mean(dim=(3, 4)).transpose(1, 2)  # (N, C, T)
        kernel = self.kernel(pooled.flatten(0, 1)).unflatten(0, pooled.shape[:2])  # (N, C, 3)
        gated = clips * self.gate(pooled).transpose(1, 2)[..., None, None]
        padded = functional.pad(gated, (0, 0, 0, 0, 0, 0, 1, 1))  # a frame of zeros at both ends
        weights = kernel[:, None, :, :, None, None]  # (N, 1, C, 3, 1, 1)
        taps = [weights[:, :, :, i] * padded[:, i : i + frames] for i in range(3)]
        y: Tensor = taps[0] + taps[1] + taps[2]
        return y.flatten(0, 1)


class FrameNonLocal(FrameLayer, NonLocal):
    """A non-local block over all positions of all frames of a clip; it starts as the identity."""

    def __init__(self, channels: int, mode: str, *, scale: bool = False) -> None:
        super().__init__(channels, mode, scale=scale)
        for conv in (module for module in self.modules() if isinstance(module, nn.Conv3d)):
            if conv.bias is not None:  # as in mmcv; the last convolution has no bias
                nn.init.normal_(conv.weight, std=0.01)
                nn.init.zeros_(conv.bias)
        self.zero_init_last_bn()

    def forward(self, x: Tensor) -> Tensor:
        clips = clips_of(x, self.num_frames).transpose(1, 2)  # (N, C, T, H, W)
        return NonLocal.forward(self, clips).transpose(1, 2).flatten(0, 1)


class TemporalPool(FrameLayer):
    """Max pooling over three frames with a stride of two: (N * T, C, H, W) to (N * ceil(T / 2), C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        clips = clips_of(x, self.num_frames).transpose(1, 2)  # (N, C, T, H, W)
        pooled = functional.max_pool3d(clips, (3, 1, 1), (2, 1, 1), (1, 0, 0))
        return pooled.transpose(1, 2).flatten(0, 1)
