"""The 3D residual trunk that SlowOnly, SlowFast, I3D, CSN, R(2+1)D and X3D share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vexp.model.architectures.blocks import NonLocal, Triple, conv3d, conv_norm_act, init_convolutions

#: depth -> blocks of the four stages (He et al., CVPR 2016); 18 and 34 are basic blocks, the others bottlenecks
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

#: Makes a block of stage 0..3 at a place 0.. in it: (stage, place, in_channels, stride) -> block.
MakeBlock = Callable[[int, int, int, Triple], "Residual"]


class Residual(nn.Module):
    """Convolutions named ``conv1``, ``conv2`` ... beside a shortcut, then ReLU.

    Args:
        convs: the branch, in order; the last ends without ReLU.
        out_channels: of the branch.
        downsample: the shortcut; None passes the input on.
        non_local: a non-local block behind the ReLU.
    """

    def __init__(
        self,
        *convs: nn.Module,
        out_channels: int,
        downsample: nn.Module | None = None,
        non_local: NonLocal | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(f"conv{i}" for i in range(1, len(convs) + 1))
        for name, conv in zip(self.names, convs, strict=True):
            self.add_module(name, conv)
        self.out_channels = out_channels
        self.downsample = downsample
        self.non_local = non_local

    def forward(self, x: Tensor) -> Tensor:
        branch = x
        for name in self.names:
            branch = getattr(self, name)(branch)
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(branch + shortcut, inplace=True)
        return y if self.non_local is None else self.non_local(y)


def bottleneck(
    in_channels: int,
    mid: int,
    out: int,
    stride: Triple,
    conv2: nn.Module,
    *,
    conv1_length: int = 1,
    eps: float = 1e-5,
    non_local: str | None = None,
) -> Residual:
    """1 x 1 x 1 convolution, ``conv2`` (which has the stride), 1 x 1 x 1 convolution.

    Args:
        conv1_length: 3 makes the first one 3 x 1 x 1: the "inflated" bottleneck of I3D and SlowFast.
        non_local: the ``mode`` of a non-local block at the end; None for none.
    """
    downsample = None
    if in_channels != out or stride != (1, 1, 1):
        downsample = conv_norm_act(conv3d(in_channels, out, (1, 1, 1), stride), out, eps=eps, act=False)
    return Residual(
        conv_norm_act(conv3d(in_channels, mid, (conv1_length, 1, 1)), mid, eps=eps),
        conv2,
        conv_norm_act(conv3d(mid, out, (1, 1, 1)), out, eps=eps, act=False),
        out_channels=out,
        downsample=downsample,
        non_local=None if non_local is None else NonLocal(out, non_local),
    )


class ResNet3d(nn.Module):
    """A stem ``conv1``, a max pooling, four stages ``layer1`` .. ``layer4`` of residual blocks.

    Args:
        stem: first convolution.
        make_block: makes a block (``MakeBlock``).
        blocks: how many of them a stage has.
        stem_channels: of the stem.
        temporal_strides: of the stages' first blocks; their spatial strides are ``spatial_strides``.
        pool_stride: of the 1 x 3 x 3 max pooling behind the stem; None for no pooling.
        pool2: halve the frames behind ``layer1`` by a 2 x 1 x 1 max pooling.
        fused: channels that are concatenated to the input of each stage (SlowFast's lateral connections).
        zero_init_residual: start every block as its shortcut (the last batch norm's weight is 0: Goyal et al. 2017).
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
        pool2: bool = False,
        fused: Sequence[int] = (0, 0, 0, 0),
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = stem
        self.pool1 = nn.Identity() if pool_stride is None else nn.MaxPool3d((1, 3, 3), pool_stride, (0, 1, 1))
        self.pool2 = nn.MaxPool3d((2, 1, 1)) if pool2 else nn.Identity()
        self.stage_channels: list[int] = []
        channels = stem_channels
        for stage, count in enumerate(blocks):
            channels += fused[stage]
            layer = nn.Sequential()
            for place in range(count):
                space = spatial_strides[stage]
                stride = (temporal_strides[stage], space, space) if place == 0 else (1, 1, 1)
                block = make_block(stage, place, channels, stride)
                layer.append(block)
                channels = block.out_channels
            self.add_module(f"layer{stage + 1}", layer)
            self.stage_channels.append(channels)
        init_convolutions(self)
        for module in self.modules():
            if isinstance(module, NonLocal):
                module.silence()
            elif isinstance(module, Residual) and zero_init_residual:
                nn.init.zeros_(getattr(module, module.names[-1]).bn.weight)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Run one stage, 1 to 4."""
        y: Tensor = getattr(self, f"layer{number}")(x)
        if number == 1:
            y = self.pool2(y)
        return y

    def forward(self, clips: Tensor) -> Tensor:
        x: Tensor = self.pool1(self.conv1(clips))
        for number in range(1, len(self.stage_channels) + 1):
            x = self.stage(number, x)
        return x


def inflated_resnet(
    depth: int,
    inflate: Sequence[Sequence[int]],
    *,
    stem_length: int,
    stem_stride: int = 1,
    pool_stride: int = 1,
    pool2: bool = False,
    base_channels: int = 64,
    fused: Sequence[int] = (0, 0, 0, 0),
    non_local: str | None = None,
    non_local_places: Sequence[Sequence[int]] = ((), (), (), ()),
    zero_init_residual: bool = False,
) -> ResNet3d:
    """A 2D bottleneck ResNet with time added (I3D, SlowOnly, the paths of SlowFast).

    Args:
        depth: 50, 101 or 152.
        inflate: for every stage a pattern of 0 and 1, repeated over its blocks: 1 makes a block's first convolution
            3 x 1 x 1 where 0 leaves it 1 x 1 x 1.
        stem_length: frames of the stem's kernel, ``stem_stride`` its stride in time, ``pool_stride`` the
            pooling's.
        base_channels: of the stem; the stages have 4, 8, 16 and 32 times as many.
        non_local: mode of the non-local blocks; ``non_local_places`` the same kind of pattern as ``inflate``.
    """

    def make_block(stage: int, place: int, in_channels: int, stride: Triple) -> Residual:
        mid = base_channels * 2**stage
        conv2 = conv_norm_act(conv3d(mid, mid, (1, 3, 3), stride), mid)
        return bottleneck(
            in_channels,
            mid,
            4 * mid,
            stride,
            conv2,
            conv1_length=3 if _at(inflate[stage], place) else 1,
            non_local=non_local if _at(non_local_places[stage], place) else None,
        )

    stem = conv_norm_act(conv3d(3, base_channels, (stem_length, 7, 7), (stem_stride, 2, 2)), base_channels)
    return ResNet3d(
        stem,
        make_block,
        STAGES[depth],
        stem_channels=base_channels,
        pool_stride=(pool_stride, 2, 2),
        pool2=pool2,
        fused=fused,
        zero_init_residual=zero_init_residual,
    )


def _at(pattern: Sequence[int], place: int) -> bool:
    return bool(pattern) and bool(pattern[place % len(pattern)])
