"""Time of the metrics of localization and detection, in the sizes of the validation splits of ActivityNet and AVA.

Usage: python scripts/bench/task_metrics.py

Needs about 400 MB of memory. Prints the CPU seconds of each metric and the largest memory of the process.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from vexp.evaluation.boxes import frame_average_precision
from vexp.evaluation.detections import Detections
from vexp.evaluation.temporal import average_precision, average_recall

_VIDEOS, _PROPOSALS, _CLASSES = 5_000, 100, 200
_KEY_FRAMES, _BOXES, _DETECTIONS, _ACTIONS = 57_000, 5, 1_500_000, 80


def localization(rng: np.random.Generator) -> tuple[Detections, Detections]:
    """Return annotations and proposals, half of which are near an annotation."""
    group = np.repeat(np.arange(_VIDEOS), rng.integers(1, 4, _VIDEOS))
    label = rng.integers(0, _CLASSES, _VIDEOS)
    truth = Detections(group, _segments(rng, len(group)), label[group], np.zeros(len(group)))
    proposed = np.repeat(np.arange(_VIDEOS), _PROPOSALS)
    nearest = truth.extent[np.searchsorted(group, proposed)] + rng.normal(size=(len(proposed), 2)) * 5
    is_near = rng.random((len(proposed), 1)) < 0.5
    extent = np.sort(np.where(is_near, nearest, _segments(rng, len(proposed))), axis=1)
    labels = np.where(rng.random(len(proposed)) < 0.7, label[proposed], rng.integers(0, _CLASSES, len(proposed)))
    return truth, Detections(proposed, extent, labels, rng.random(len(proposed)))


def _segments(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.sort(rng.random((count, 2)) * 100, axis=1)


def detection(rng: np.random.Generator) -> tuple[Detections, Detections]:
    """Return annotated boxes and detections near them."""
    group = np.repeat(np.arange(_KEY_FRAMES), _BOXES)
    box = np.sort(rng.random((len(group), 2, 2)), axis=1).reshape(-1, 4)
    truth = Detections(group, box, rng.integers(0, _ACTIONS, len(group)), np.zeros(len(group)))
    source = rng.integers(0, len(group), _DETECTIONS)
    extent = np.clip(box[source] + rng.normal(size=(_DETECTIONS, 4)) * 0.05, 0, 1)
    is_right = rng.random(_DETECTIONS) < 0.3
    label = np.where(is_right, truth.label[source], rng.integers(0, _ACTIONS, _DETECTIONS))
    return truth, Detections(group[source], extent, label, rng.random(_DETECTIONS))


def main() -> None:
    rng = np.random.default_rng(0)
    segments, boxes = localization(rng), detection(rng)
    for name, measure in (
        ("AR@AN, 5,000 videos x 100 proposals", lambda: average_recall(*segments)),
        ("mAP, the same with 200 classes", lambda: average_precision(*segments, num_classes=_CLASSES)),
        (
            "mAP@0.5IOU, 57,000 key frames, 1.5 M detections",
            lambda: frame_average_precision(*boxes, num_classes=_ACTIONS),
        ),
    ):
        start = time.process_time()
        measure()
        print(f"{name}: {time.process_time() - start:.2f} s")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
