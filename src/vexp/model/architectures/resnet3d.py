"""The 3D ResNet backbone shared by SlowOnly, SlowFast, I3D, CSN, R(2+1)D and X3D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vexp.model.architectures.blocks import NonLocal, Triple, conv3d, conv_norm_act, init_convolutions
from vexp.model.architectures.tokens import feature_map_tokens

#: Blocks of the four stages by depth (He et al., CVPR 2016): basic blocks for 18 and 34, bottlenecks otherwise.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

#: Builds block number ``place`` of a stage, both counted from 0: (stage, place, in_channels, stride) -> block.
MakeBlock = Callable[[int, int, int, Triple], "Residual"]


class Residual(nn.Module):
    """A residual block: convolutions named ``conv1``, ``conv2``, ... plus a shortcut, followed by ReLU.

    The last of ``convs`` has no ReLU. ``downsample`` is the shortcut, None for the identity; ``non_local`` follows the
    ReLU.
    """

    def __init__(
        self, *convs: nn.Module, out_channels: int, downsample: nn.Module | None, non_local: NonLocal | None = None
    ) -> None:
        super().__init__()
        self.names = tuple(f"conv{i}" for i in range(1, len(convs) + 1))
        for name, conv in zip(self.names, convs, strict=True):
            self.add_module(name, conv)
        self.out_channels, self.downsample, self.non_local = out_channels, downsample, non_local

    def forward(self, x: Tensor) -> Tensor:
        branch = x
        for name in self.names:
            branch = getattr(self, name)(branch)
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(branch + shortcut, inplace=True)
        return y if self.non_local is None else self.non_local(y)


def bottleneck(
    in_channels: int, mid: int, out: int, stride: Triple, conv2: nn.Module, *,
    conv1_length: int = 1, eps: float = 1e-5, non_local: str | None = None, non_local_scale: bool = False,
) -> Residual:  # fmt: skip
    """Build a bottleneck block: a 1x1x1 convolution, ``conv2`` with ``mid`` channels and the stride, and a 1x1x1 one.

    ``conv1_length`` is the temporal kernel size of the first convolution, 3 for the inflated blocks of I3D and
    SlowFast. ``eps`` is that of the batch norms; ``non_local`` and ``non_local_scale`` are the ``mode`` and ``scale``
    of a non-local block at the end.
    """
    downsample = None
    if in_channels != out or stride != (1, 1, 1):
        downsample = conv_norm_act(conv3d(in_channels, out, (1, 1, 1), stride), out, eps=eps, act=False)
    conv1 = conv_norm_act(conv3d(in_channels, mid, (conv1_length, 1, 1)), mid, eps=eps)
    conv3 = conv_norm_act(conv3d(mid, out, (1, 1, 1)), out, eps=eps, act=False)
    last = None if non_local is None else NonLocal(out, non_local, scale=non_local_scale)
    return Residual(conv1, conv2, conv3, out_channels=out, downsample=downsample, non_local=last)


class ResNet3d(nn.Module):
    """A stem ``conv1``, a max pooling, and stages ``layer1`` to ``layer4`` of residual blocks.

    Args:
        stem: The first convolution.
        make_block: Builds a block (``MakeBlock``).
        blocks: Number of blocks of each stage, whose first one has the temporal and spatial stride of the stage. There
            may be fewer than four stages.
        pool_stride: Stride of the 1x3x3 max pooling after the stem; None for no pooling.
        pool_padding: Padding of height and width in this pooling.
        pool2: Whether a 2x1x1 max pooling after ``layer1`` halves the number of frames.
        fused: Channels concatenated to the input of each stage (the lateral connections of SlowFast).
        zero_init_residual: Zero-initialize the last batch norm of every block (Goyal et al. 2017).
    """

    def __init__(
        self,
        stem: nn.Module,
        make_block: MakeBlock,
        blocks: Sequence[int],
        *,
        stem_channels: int = 64,
        temporal_strides: Sequence[int] = (1, 1, 1, 1),
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        pool_stride: Triple | None = (1, 2, 2),
        pool_padding: int = 1,
        pool2: bool = False,
        fused: Sequence[int] = (0, 0, 0, 0),
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = stem
        padding = (0, pool_padding, pool_padding)
        self.pool1 = nn.Identity() if pool_stride is None else nn.MaxPool3d((1, 3, 3), pool_stride, padding)
        self.pool2 = nn.MaxPool3d((2, 1, 1)) if pool2 else nn.Identity()
        channels, self.stages = stem_channels, len(blocks)
        for stage, (count, time, space) in enumerate(zip(blocks, temporal_strides, spatial_strides, strict=True)):
            channels += fused[stage]
            layer = nn.Sequential()
            for place in range(count):
                block = make_block(stage, place, channels, (time, space, space) if place == 0 else (1, 1, 1))
                layer.append(block)
                channels = block.out_channels
            self.add_module(f"layer{stage + 1}", layer)
        self.channels = channels
        init_convolutions(self)
        for module in self.modules():
            if isinstance(module, NonLocal):
                module.zero_init_last_bn()
            elif isinstance(module, Residual) and zero_init_residual:
                nn.init.zeros_(getattr(module, module.names[-1]).bn.weight)

    def stage(self, stage: int, x: Tensor) -> Tensor:
        """Run one stage, counted from 1."""
        y: Tensor = getattr(self, f"layer{stage}")(x)
        return self.pool2(y) if stage == 1 else y

    def forward(self, clips: Tensor) -> Tensor:
        x: Tensor = self.pool1(self.conv1(clips))
        for stage in range(1, self.stages + 1):
            x = self.stage(stage, x)
        return x

    def pathways(self, clips: Tensor) -> list[Tensor]:
        """Return the features of the only pathway, (N, C, T, H, W)."""
        return [self(clips)]

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the features of all positions, (N, L, C), for a probe."""
        return feature_map_tokens(self(clips))


def inflated_resnet(
    depth: int, inflate: Sequence[Sequence[int]], *, stem_length: int, stem_stride: int = 1,
    pool_stride: int | None = 1, base_channels: int = 64, non_local: str | None = None, non_local_scale: bool = False,
    non_local_places: Sequence[Sequence[int]] = ((), (), (), ()), **resnet: Any,
) -> ResNet3d:  # fmt: skip
    """Build an inflated 2D bottleneck ResNet (C2D, I3D, SlowOnly, the pathways of SlowFast).

    Args:
        depth: 50, 101 or 152.
        inflate: For each stage a pattern of 0 and 1, repeated over its blocks; 1 makes the first convolution of a block
            3x1x1 instead of 1x1x1.
        stem_length: Temporal kernel size of the stem.
        stem_stride: Temporal stride of the stem.
        pool_stride: Temporal stride of the pooling after the stem; None for no pooling.
        base_channels: Channels of the stem; the stages have 4, 8, 16 and 32 times as many.
        non_local: Mode of the non-local blocks; None for none.
        non_local_scale: Whether they scale their products (``NonLocal``).
        non_local_places: Where non-local blocks are added, as patterns like ``inflate``.
        resnet: Further arguments of ``ResNet3d``.
    """

    def make_block(stage: int, place: int, in_channels: int, stride: Triple) -> Residual:
        def at(patterns: Sequence[Sequence[int]]) -> bool:
            pattern = patterns[stage]
            return bool(pattern) and bool(pattern[place % len(pattern)])

        mid = base_channels * 2**stage
        conv2 = conv_norm_act(conv3d(mid, mid, (1, 3, 3), stride), mid)
        length, mode = 3 if at(inflate) else 1, non_local if at(non_local_places) else None
        return bottleneck(
            in_channels, mid, 4 * mid, stride, conv2, conv1_length=length, non_local=mode,
            non_local_scale=non_local_scale,
        )  # fmt: skip

    stem = conv_norm_act(conv3d(3, base_channels, (stem_length, 7, 7), (stem_stride, 2, 2)), base_channels)
    pool = None if pool_stride is None else (pool_stride, 2, 2)
    return ResNet3d(stem, make_block, STAGES[depth], stem_channels=base_channels, pool_stride=pool, **resnet)
