"""TPN: a pyramid over the last two stages of a ResNet, on the frames of TSM or of SlowOnly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vexp.model.architectures.blocks import Head, conv3d, conv_norm_act
from vexp.model.architectures.image_backbones import image_backbone
from vexp.model.architectures.resnet3d import ResNet3d, inflated_resnet
from vexp.model.architectures.slowfast_i3d import SLOW
from vexp.model.architectures.tsn_tsm import frame_layers, images_of, insert_shifts, resnet_stages
from vexp.model.auxiliary import AuxiliaryLogits

#: Temporal stride of the pooling of each level; a shorter clip is pooled to one frame.
_TEMPORAL_STRIDE = 8


class TemporalPyramid(nn.Module):
    """The neck of TPN (Yang et al., "Temporal Pyramid Network for Action Recognition", CVPR 2020, section 3).

    Spatial modulation brings the third stage to the size and channels of the fourth one, temporal modulation pools both
    over time. Their top-down flow, then their bottom-up flow (the "cascade" of the paper) is fused, and both together.
    As in the released models, neither flow changes the size of a level.

    =================== ================================
    stages 3 and 4      (N, C, T, 2H, 2W), (N, 2C, T, H, W)
    spatial modulation  (N, 2C, T, H, W) each
    temporal modulation (N, C, T/8, H, W) each, rounded up
    each fused flow     (N, 2C, T/8, H, W)
    output              (N, 2C, T/8, H, W)
    =================== ================================
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        double = 2 * channels
        self.spatial_modulation = conv_norm_act(conv3d(channels, double, (1, 3, 3), (1, 2, 2)), double)
        self.temporal_modulation = nn.ModuleList(conv3d(double, channels, (3, 1, 1), groups=32) for _ in range(2))
        self.pool = nn.MaxPool3d((_TEMPORAL_STRIDE, 1, 1), ceil_mode=True)
        self.downsample = conv3d(channels, channels, (3, 1, 1))
        self.top_down, self.bottom_up = LevelFusion(channels), LevelFusion(channels)
        self.fusion = conv_norm_act(conv3d(2 * double, double, (1, 1, 1)), double)
        _init(self)

    def forward(self, third: Tensor, fourth: Tensor) -> Tensor:
        stages = zip(self.temporal_modulation, (self.spatial_modulation(third), fourth), strict=True)
        low, high = (self.pool(conv(stage)) for conv, stage in stages)
        low = low + high
        top_down = self.top_down(low, high)
        bottom_up = self.bottom_up(low, high + self.downsample(low))
        fused: Tensor = self.fusion(torch.cat([top_down, bottom_up], dim=1))
        return fused


class LevelFusion(nn.Module):
    """Fuse both levels of a flow: twice (N, C, T, H, W) to (N, 2C, T, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            conv_norm_act(conv3d(channels, channels, (1, 1, 1), groups=32), channels) for _ in range(2)
        )
        self.fusion = conv_norm_act(conv3d(2 * channels, 2 * channels, (1, 1, 1)), 2 * channels)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        fused: Tensor = self.fusion(torch.cat([self.levels[0](low), self.levels[1](high)], dim=1))
        return fused


class AuxiliaryHead(nn.Module):
    """The classifier on the third stage, (N, C, T, H, W) to logits (N, num_classes), which is used in training only."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = conv_norm_act(conv3d(channels, 2 * channels, (1, 3, 3), (1, 2, 2)), 2 * channels)
        self.head = Head(2 * channels, num_classes, dropout=0.5, init_std=0.01)
        _init(self)

    def forward(self, third: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(third))
        return logits


def _init(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.xavier_uniform_(layer.weight)


class PyramidModel(nn.Module):
    """A ResNet, TPN's neck and a classifier: float (N, 3, T, H, W) to logits (N, num_classes).

    In training the output are ``AuxiliaryLogits``, unless ``auxiliary_weight`` is 0.
    """

    def __init__(
        self, backbone: nn.Module, channels: int, num_classes: int, *, auxiliary_weight: float, **head: float
    ) -> None:
        super().__init__()
        self.backbone, self.auxiliary_weight = backbone, auxiliary_weight
        self.neck = TemporalPyramid(channels)
        self.auxiliary = AuxiliaryHead(channels, num_classes) if auxiliary_weight else None
        self.head = Head(2 * channels, num_classes, **head)

    @property
    def head_paths(self) -> list[str]:
        """Paths of the modules after the encoder."""
        return ["neck", *(["auxiliary"] if self.auxiliary is not None else []), "head.fc"]

    def forward(self, clips: Tensor) -> Tensor | AuxiliaryLogits:
        third, fourth = self.stages(clips)
        logits: Tensor = self.head(self.neck(third, fourth))
        if self.auxiliary is None or not self.training:
            return logits
        return AuxiliaryLogits(logits, self.auxiliary(third), self.auxiliary_weight)

    def stages(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps of the third and the fourth stage, (N, C, T, 2H, 2W) and (N, 2C, T, H, W)."""
        raise NotImplementedError


class SlowOnlyPyramid(PyramidModel):
    """TPN on SlowOnly, a ``ResNet3d``."""

    backbone: ResNet3d

    def stages(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone.pool1(self.backbone.conv1(clips))
        for stage in (1, 2, 3):
            x = self.backbone.stage(stage, x)
        return x, self.backbone.stage(4, x)


class FramePyramid(PyramidModel):
    """TPN on TSM: a ResNet of torchvision or timm on every frame."""

    def __init__(self, backbone: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone, *args, **kwargs)
        self._layers = frame_layers(backbone)

    def stages(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        shape = (clips.shape[0], clips.shape[2])
        x, maps = images_of(clips, self._layers), {}
        for name, layer in self.backbone.named_children():
            maps[name] = x = layer(x)
            if name == "layer4":
                break
        third, fourth = (maps[name].unflatten(0, shape).transpose(1, 2) for name in ("layer3", "layer4"))
        return third, fourth


def tsm_tpn(
    num_classes: int, *, backbone: str, in_channels: int, shift_div: int, auxiliary_weight: float, **head: float
) -> FramePyramid:
    """Build TPN on TSM on a ResNet of torchvision or timm.

    Raises:
        ConfigError: If ``backbone`` is not a ResNet.
    """
    model, width, _ = image_backbone(backbone, in_channels)
    resnet_stages(model, backbone)  # checks it
    insert_shifts(model, backbone, shift_div)
    return FramePyramid(model, width // 2, num_classes, auxiliary_weight=auxiliary_weight, **head)


def slow_only_tpn(
    num_classes: int, *, depth: int, zero_init_residual: bool, auxiliary_weight: float, **head: float
) -> SlowOnlyPyramid:
    """Build TPN on SlowOnly (``vexp.model.architectures.slowfast_i3d``)."""
    trunk = inflated_resnet(depth, SLOW, stem_length=1, zero_init_residual=zero_init_residual)
    return SlowOnlyPyramid(trunk, trunk.channels // 2, num_classes, auxiliary_weight=auxiliary_weight, **head)
