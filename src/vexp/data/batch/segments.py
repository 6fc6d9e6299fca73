"""Samples and batches of temporal localization: features of whole videos and their labeled segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class SegmentSample:
    """Features of a video on a regular grid of times, and its segments.

    Feature t stands for the time from ``origin + t * step`` to ``origin + (t + 1) * step``.
    """

    features: Tensor  # float32 (C, T)
    segments: Tensor  # float64 (K, 2), start and end in seconds
    labels: Tensor  # int64 (K,), class indices
    id: int  # index in the source
    origin: float  # seconds
    step: float  # seconds
    duration: float  # of the video in seconds
    seed: int = 0  # of the random numbers that the loss draws for this sample

    @staticmethod
    def collate(samples: Sequence[SegmentSample]) -> SegmentBatch:
        """Make a batch, padded to the longest sample."""
        features = pad_sequence([sample.features.T for sample in samples], batch_first=True).transpose(1, 2)
        lengths = torch.tensor([sample.features.shape[1] for sample in samples])
        times = torch.tensor([(sample.origin, sample.step, sample.duration) for sample in samples], dtype=torch.float64)
        return SegmentBatch(
            features=features.contiguous(),
            valid=torch.arange(features.shape[2]) < lengths[:, None],
            times=times,
            segments=torch.cat([sample.segments for sample in samples]),
            labels=torch.cat([sample.labels for sample in samples]),
            counts=torch.tensor([len(sample.labels) for sample in samples]),
            ids=torch.tensor([sample.id for sample in samples]),
            seeds=torch.tensor([sample.seed for sample in samples]),
        )


@dataclass(frozen=True, slots=True)
class SegmentBatch:
    """N samples, padded to T features; the segments of all samples follow each other."""

    features: Tensor  # float32 (N, C, T), 0 where padded
    valid: Tensor  # bool (N, T), False where padded
    times: Tensor  # float64 (N, 3), ``SegmentSample.origin``, ``step`` and ``duration`` in seconds
    segments: Tensor  # float64 (K, 2), start and end in seconds
    labels: Tensor  # int64 (K,)
    counts: Tensor  # int64 (N,), segments of each sample
    ids: Tensor  # int64 (N,), indices of the samples in their source
    seeds: Tensor  # int64 (N,), ``SegmentSample.seed``

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def views(self) -> int:
        """1: a video is one sample."""
        return 1

    def positions(self) -> tuple[Tensor, ...]:
        """Return the segments of each sample in units of features, float32 (K, 2) each, limited to the features."""
        origin, step, _ = self.times.T
        sample = torch.repeat_interleave(torch.arange(len(self), device=self.counts.device), self.counts)
        scaled = (self.segments.double() - origin[sample, None]) / step[sample, None]
        limit = self.valid.sum(1)[sample, None].double()
        return torch.split(scaled.clamp(min=0).minimum(limit).float(), self.counts.tolist())

    def split_labels(self) -> tuple[Tensor, ...]:
        """Return the labels of each sample."""
        return torch.split(self.labels, self.counts.tolist())

    def to(self, device: torch.device) -> SegmentBatch:
        """Return the batch on ``device``; the copy is asynchronous from pinned memory."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> SegmentBatch:
        """Return the batch in pinned memory; called by ``torch.utils.data.DataLoader``."""
        return self._moved(torch.Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> SegmentBatch:
        values: dict[str, Any] = {entry.name: move(getattr(self, entry.name)) for entry in fields(self)}
        return SegmentBatch(**values)
