"""TRN: an image model on every frame, and relations between the frames."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vexp.model.architectures.blocks import Head
from vexp.model.architectures.image_backbones import image_backbone
from vexp.model.architectures.tsn_tsm import FrameFeatures

#: Relations of each number of frames that are evaluated for a clip.
_SAMPLED = 3


class Relations(nn.Module):
    """Sum of relations between the frames of a clip: features (N, T, D) to logits (N, num_classes).

    A relation of n frames is an MLP on their concatenated features, in the order of time. ``multi_scale`` has relations
    of T, T - 1, ... and 2 frames, of each number (at most) three of all choices of frames; without it there is the one
    of all T frames.

    In training the choices are drawn for each batch, by torch's generator on the CPU: as with dropout, they depend on
    the seed of the run and on the steps before, and a resumed run draws the same. In evaluation they are constant:
    those that mmaction2, which draws them in its tests as well, draws first after ``numpy.random.seed(0)``.
    """

    def __init__(self, frames: int, width: int, num_classes: int, *, multi_scale: bool) -> None:
        super().__init__()
        lengths, hidden = (range(frames, 1, -1), 256) if multi_scale else ([frames], 512)
        self.scales = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(length * width, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
            for length in lengths
        )
        self._relations = [list(combinations(range(frames), length)) for length in lengths]
        rng = np.random.RandomState(0)
        self._constant = [[0], *(_draw(rng, len(relations)) for relations in self._relations[1:])]

    def forward(self, features: Tensor) -> Tensor:
        frames, logits = features.unbind(dim=1), []
        for scale, relations, constant in zip(self.scales, self._relations, self._constant, strict=True):
            drawn = torch.randperm(len(relations))[:_SAMPLED].tolist() if self.training else constant
            chosen = torch.stack([torch.cat([frames[t] for t in relations[i]], dim=1) for i in drawn], dim=1)
            logits.append(scale(chosen).sum(dim=1))  # (N, 3, n * D) to (N, num_classes)
        return torch.stack(logits).sum(dim=0)


def _draw(rng: np.random.RandomState, count: int) -> list[int]:
    drawn: list[int] = rng.choice(count, min(_SAMPLED, count), replace=False).tolist()
    return drawn


class RelationModel(FrameFeatures):
    """TRN (Zhou et al., "Temporal Relational Reasoning in Videos", ECCV 2018): relations instead of averaged logits.

    ``head`` maps the features of each frame to ``width`` channels, ``relations`` these of all frames to the logits.
    """

    def __init__(self, backbone: nn.Module, head: Head, relations: Relations, **frames: Any) -> None:
        super().__init__(backbone, **frames)
        self.head, self.relations = head, relations

    @property
    def head_paths(self) -> list[str]:
        """Paths of the modules after the encoder."""
        return ["head", "relations"]

    def forward(self, clips: Tensor) -> Tensor:
        features = self.head(self.features(clips))  # (N * T, D)
        logits: Tensor = self.relations(features.unflatten(0, (-1, clips.shape[2])))
        return logits


def trn(
    num_classes: int, *, backbone: str, in_channels: int, num_frames: int, width: int, multi_scale: bool, **head: float
) -> RelationModel:
    """Build TRN on an image model of torchvision or timm, for clips of ``num_frames``.

    Raises:
        ConfigError: If there is no such model.
    """
    model, features, side = image_backbone(backbone, in_channels)
    relations = Relations(num_frames, width, num_classes, multi_scale=multi_scale)
    return RelationModel(model, Head(features, width, **head), relations, side=side, num_frames=num_frames)
