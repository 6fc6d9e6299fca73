"""Data set of clips around key frames, with the boxes carried through the crops, resizes and flips of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.annotations.key_frames import assign, box_iou
from vexp.data.batch.boxes import BoxSample
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.key_frames import FrameBoxes, KeyFrameSource
from vexp.data.transforms.pipeline import Clips, make_repeats
from vexp.data.transforms.view import View

#: Least share of a box within the clip; a box of which less is left is dropped.
LEAST_SHARE = 0.1


class BoxDataset(ClipDataset):
    """Samples of a ``KeyFrameSource``, which are ``BoxSample``.

    In training, the boxes are those of the annotation, and the detected persons that overlap one of them by
    ``source.assign_iou``, with its labels. In evaluation, they are the detected persons, or without detection those of
    the annotation.
    """

    source: KeyFrameSource

    def samples(self, reader: Any, index: int, rngs: Sequence[np.random.Generator]) -> list[BoxSample]:
        """Make a sample of a key frame for each generator."""
        size, boxes = (reader.width, reader.height), self.source.boxes(index)
        repeats = make_repeats(reader, self.steps, rngs, lazy=self.lazy)
        return [self._sample(clips, boxes, size, index) for clips in repeats]

    def _sample(self, clips: Clips, boxes: FrameBoxes, size: tuple[int, int], index: int) -> BoxSample:
        if clips.layout.views != 1:
            raise UserError(f"boxes need one view of each key frame, but the pipeline makes {clips.layout.views}")
        view = clips.crops[0]
        persons, targets = _candidates(boxes, training=self.training, assign_iou=self.source.assign_iou)
        truth, truth_targets = boxes.truth, boxes.targets
        if self.flip_labels is not None and view.is_mirror_image:
            targets, truth_targets = _mirrored(targets, self.flip_labels), _mirrored(truth_targets, self.flip_labels)
        measured = 0 if self.training else len(truth)
        pixels, is_inside = boxes_in_view(view, persons[:, :4] * (size * 2))
        return BoxSample(
            clips=clips,
            labels=torch.from_numpy(truth_targets.max(axis=0, initial=0)),
            id=index,
            boxes=torch.from_numpy(pixels[is_inside].astype(np.float32)),
            targets=torch.from_numpy(targets[is_inside]),
            persons=torch.from_numpy(persons[is_inside]),
            truth=torch.from_numpy(truth[:measured]),
            truth_targets=torch.from_numpy(truth_targets[:measured]),
            dropped=int((~is_inside).sum()),
        )


def _candidates(
    boxes: FrameBoxes, *, training: bool, assign_iou: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the boxes that are trained on or classified, with scores, (M, 5), and their labels, (M, classes)."""
    truth = np.column_stack([boxes.truth, np.ones(len(boxes.truth))])
    if boxes.persons is None:
        return truth, boxes.targets
    assigned = assign(box_iou(boxes.truth[:, None], boxes.persons[:, :4]), assign_iou)
    labels = np.concatenate([boxes.targets, np.zeros_like(boxes.targets, shape=(1, boxes.targets.shape[1]))])[assigned]
    if not training:
        return boxes.persons, labels
    has_label = assigned >= 0
    return np.concatenate([truth, boxes.persons[has_label]]), np.concatenate([boxes.targets, labels[has_label]])


def _mirrored(targets: NDArray[np.float32], flip_labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the labels of the mirror image; ``flip_labels`` is the class that each class becomes."""
    result = np.zeros_like(targets)
    result[:, flip_labels] = targets
    return result


def boxes_in_view(view: View, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Map boxes (M, 4) in source pixels to a view and clip them to it.

    Returns:
        The clipped boxes in pixels of the view, and which of them remain: those with an area of which at least
        ``LEAST_SHARE`` lies within the view.
    """
    mapped = view.map_boxes(boxes)
    clipped = mapped.clip(0, np.array(view.size * 2, np.float64))
    area, left = (np.prod(rows[:, 2:] - rows[:, :2], axis=1) for rows in (mapped, clipped))
    return clipped, (left > 0) & (left >= LEAST_SHARE * area)
