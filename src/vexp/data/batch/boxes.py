"""Samples and batches with boxes: the clip around a key frame, and the boxes in its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from vexp.data.batch.batch import Batch, Sample


@dataclass(frozen=True, slots=True)
class BoxSample(Sample):
    """A clip with boxes. Its ``labels`` are those of the key frame, float32 (classes,) of 0 and 1.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the clip, float32 (M, 4).
        targets: Labels of the boxes, float32 (M, classes) of 0 and 1; all 0 for a box without a label.
        persons: The boxes as shares of width and height of the frame, with the score of the person, float64 (M, 5).
        truth: Labeled boxes of the key frame as shares, float64 (G, 4); empty in training.
        truth_targets: Their labels, float32 (G, classes).
        dropped: Number of boxes that lie outside of the clip.
    """

    equal_shapes: ClassVar[bool] = False  # views of a batch may differ in size: see ``BoxBatch.by_shape``

    boxes: Tensor
    targets: Tensor
    persons: Tensor
    truth: Tensor
    truth_targets: Tensor
    dropped: int

    @staticmethod
    def batch(samples: Sequence[Any], **fields: Any) -> BoxBatch:
        """Return the batch with the given fields and those of the boxes."""
        rows = [torch.full((len(sample.boxes), 1), float(number)) for number, sample in enumerate(samples)]
        return BoxBatch(
            **fields,
            boxes=torch.cat([torch.cat([row, sample.boxes], 1) for row, sample in zip(rows, samples, strict=True)]),
            targets=torch.cat([sample.targets for sample in samples]),
            persons=torch.cat([sample.persons for sample in samples]),
            truth=torch.cat([sample.truth for sample in samples]),
            truth_targets=torch.cat([sample.truth_targets for sample in samples]),
            counts=tuple(len(sample.boxes) for sample in samples),
            truth_counts=tuple(len(sample.truth) for sample in samples),
            dropped=tuple(sample.dropped for sample in samples),
        )


@dataclass(frozen=True, slots=True)
class BoxBatch(Batch):
    """N clips with M boxes in all and G labeled boxes in their key frames.

    Attributes:
        boxes: Index of the clip, then x1, y1, x2, y2 in its pixels, float32 (M, 5).
        targets: Labels of the boxes, float32 (M, classes).
        persons: The boxes as shares of the frame, with the score of the person, float64 (M, 5).
        truth: Labeled boxes as shares of the frame, float64 (G, 4).
        truth_targets: Their labels, float32 (G, classes).
        counts: Boxes of each clip.
        truth_counts: Labeled boxes of each key frame.
        dropped: Boxes of each key frame that lie outside of the clip.
    """

    boxes: Tensor = field(default_factory=lambda: torch.empty(0, 5))
    targets: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    persons: Tensor = field(default_factory=lambda: torch.empty(0, 5))
    truth: Tensor = field(default_factory=lambda: torch.empty(0, 4))
    truth_targets: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    counts: tuple[int, ...] = ()
    truth_counts: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()

    def by_shape(self) -> Iterator[BoxBatch]:
        """Yield the clips of each size as a batch: videos may differ in size, and one forward pass has one size."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, layout in enumerate(self.layouts):
            groups.setdefault((layout.views, *layout.view_shape), []).append(index)
        if len(groups) == 1:
            yield self
            return
        yield from (self.take(indices) for indices in groups.values())

    def take(self, indices: Sequence[int]) -> BoxBatch:
        """Return the clips with these indices, in that order."""

        def rows(values: Tensor, sizes: Sequence[int]) -> Tensor:
            parts = torch.split(values, list(sizes))
            return torch.cat([parts[index] for index in indices])

        layouts = self.layouts
        boxes = rows(self.boxes, self.counts)
        counts = tuple(self.counts[index] for index in indices)
        numbers = torch.repeat_interleave(torch.arange(len(indices)), torch.tensor(counts)).to(boxes)
        chosen = torch.tensor(indices, device=self.ids.device)
        return replace(
            self,
            pixels=rows(self.pixels, [layout.num_bytes for layout in layouts]),
            positions=rows(self.positions, [layout.clips * layout.clip_len for layout in layouts]),
            layouts=tuple(layouts[index] for index in indices),
            labels=self.labels[chosen],
            ids=self.ids[chosen],
            scale=None,
            boxes=torch.cat([numbers[:, None], boxes[:, 1:]], 1),
            targets=rows(self.targets, self.counts),
            persons=rows(self.persons, self.counts),
            truth=rows(self.truth, self.truth_counts),
            truth_targets=rows(self.truth_targets, self.truth_counts),
            counts=counts,
            truth_counts=tuple(self.truth_counts[index] for index in indices),
            dropped=tuple(self.dropped[index] for index in indices),
        )
