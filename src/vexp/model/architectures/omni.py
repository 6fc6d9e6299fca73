"""OmniResNet: one inflated ResNet for videos and for images, with a classifier for each."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model.architectures.blocks import global_average_pool
from vexp.model.architectures.resnet3d import ResNet3d
from vexp.model.architectures.slowfast_i3d import slow_only_trunk

_NORM_MOMENTUM = 0.01  # of the backbone's running means, as in mmaction2


class OmniNet(nn.Module):
    """A backbone with a classifier of videos, ``head``, and one of images, ``image_head``.

    An image is a clip of one frame. Images and videos therefore come in batches of their own.
    """

    def __init__(self, backbone: ResNet3d, head: nn.Module, image_head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.image_head, self.head = backbone, image_head, head  # the last one is the classifier

    def forward(self, clips: Tensor) -> Tensor:
        """Map videos, float (N, 3, T > 1, H, W), or images, (N, 3, 1, H, W), to the logits of their own classes.

        Raises:
            ConfigError: If the batch norms are synchronized: their running means would be those of images, too.
        """
        if isinstance(self.backbone.conv1.bn, nn.SyncBatchNorm):
            raise ConfigError("is not supported by model=omni_r50", key="dist.sync_bn", value=True)
        classify = self.image_head if clips.shape[2] == 1 else self.head
        logits: Tensor = classify(self.backbone(clips))
        return logits


class _Conv3d(nn.Conv3d):
    """A convolution of clips that takes an image as a clip without beginning and end, whose frames are equal."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] > 1 or self.kernel_size[0] == 1:
            return super().forward(x)
        return F.conv3d(x, self.weight.sum(2, keepdim=True), None, self.stride, (0, *self.padding[1:]))  # type: ignore[arg-type]


class _BatchNorm3d(nn.BatchNorm3d):
    """A batch norm whose running means, for evaluation, are those of videos; images in training have their own."""

    def forward(self, x: Tensor) -> Tensor:
        self.track_running_stats = x.shape[2] > 1
        return super().forward(x)


class VideoHead(nn.Module):
    """Average pooling, a hidden layer of twice as many units as classes, and the classifier ``fc``."""

    def __init__(self, channels: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, 2 * num_classes)
        self.norm = nn.BatchNorm1d(2 * num_classes)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2 * num_classes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.hidden(global_average_pool(x))).relu()
        logits: Tensor = self.fc(self.dropout(x))
        return logits


class ImageHead(nn.Module):
    """Average pooling, batch norm, dropout and the classifier ``fc``."""

    def __init__(self, channels: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.norm(global_average_pool(x))))
        return logits


def omni_resnet(num_classes: int, *, image_classes: int, dropout: float, image_dropout: float) -> OmniNet:
    """Build mmaction2's OmniResNet with its head, for joint training on images and videos.

    The backbone is SlowOnly (``vexp.model.architectures.slowfast_i3d.slow_only``). After Duan et al., "Omni-sourced
    Webly-supervised Learning for Video Recognition", ECCV 2020. All layers have torch's own initialization.
    """
    trunk = slow_only_trunk(50, with_pool1=True, zero_init_residual=False)
    for module in trunk.modules():
        if isinstance(module, nn.Conv3d):
            module.__class__ = _Conv3d  # the same layer, with the rule for images
            module.reset_parameters()
        elif isinstance(module, nn.BatchNorm3d):
            module.__class__ = _BatchNorm3d
            module.momentum = _NORM_MOMENTUM
    head = VideoHead(trunk.channels, num_classes, dropout=dropout)
    return OmniNet(trunk, head, ImageHead(trunk.channels, image_classes, dropout=image_dropout))
