"""Repeated augmentation against decoding twice: CPU time of two samples of a video.

    python scripts/bench/repeat_augment.py            some two minutes
    python scripts/bench/repeat_augment.py --quick    a short test; its figures are meaningless

The video has 340x256 pixels, 300 frames and a key frame every 250; a clip is 16 frames, 4 apart. (a) loads two samples,
each of which is decoded, and (b) one video with ``data.train.repeat_augment=2``. Both are collated to a uint8 batch.
Rounds take turns between (a) and (b); the table gives medians over the rounds in milliseconds for two samples, and the
ratio is the median of the ratios of the rounds. A ratio of 0.5 would be augmentation at no cost.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import cv2
import data_media as media
import torch
from data_timing import timed
from rich.console import Console
from rich.table import Table

from vexp.data.annotations.annotation import Annotation
from vexp.data.batch.batch import Collate
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.outcomes import SkipFailuresCollate
from vexp.data.sources.base import VideoSource
from vexp.data.transforms.crops import RandomResizedCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.rand_augment import RandAugment
from vexp.data.transforms.random_erasing import RandomErasing
from vexp.data.transforms.resize import Flip, Resize

SIZE, GOP, FRAMES = (340, 256), 250, 300
_PER_ROUND = 8  # videos
_SAMPLE = {"sample": SampleFrames(clip_len=16, frame_interval=4)}
_CROP = {"crop": RandomResizedCrop(), "resize": Resize(scale=[224, 224], keep_ratio=False), "flip": Flip()}
PIPELINES: dict[str, dict[str, Any]] = {
    "crop, resize, flip": _SAMPLE | _CROP,
    "RandAugment and erasing after the flip": _SAMPLE | _CROP | {"augment": RandAugment(), "erase": RandomErasing()},
    "RandAugment before the crop, erasing": _SAMPLE | {"augment": RandAugment()} | _CROP | {"erase": RandomErasing()},
}


def measure(steps: dict[str, Any], video: Path, rounds: int) -> tuple[float, float, float]:
    """Return the CPU milliseconds of two samples of a video, decoded twice and once, and their ratio."""
    names = [str(video)] * _PER_ROUND
    source = VideoSource(Annotation.pack(names, [0] * len(names), ["class"], prefix=""))
    alone = ClipDataset(source, steps, seed=0, lazy=True)
    repeated = ClipDataset(source, steps, seed=0, lazy=True, repeats=2)
    collate = SkipFailuresCollate(Collate())

    def twice(number: int) -> float:
        # Two epochs, so that both samples have other frames.
        keys = [(2 * number + sample, index) for index in range(_PER_ROUND) for sample in (0, 1)]
        return timed(lambda: [collate([alone[key]]) for key in keys])[1]

    def once(number: int) -> float:
        # The first of the two epochs in even rounds, the second in odd ones: the same clips on average.
        keys = [(2 * number + number % 2, index) for index in range(_PER_ROUND)]
        return timed(lambda: [collate([repeated[key]]) for key in keys])[1]

    pairs = []
    for number in range(-1, rounds):  # the first one warms up
        a, b = (twice(number + 1), once(number + 1)) if number % 2 else (once(number + 1), twice(number + 1))[::-1]
        pairs += [(a, b)] if number >= 0 else []
    first, second = (statistics.median(values) * 1000 / _PER_ROUND for values in zip(*pairs, strict=True))
    return first, second, statistics.median(b / a for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    table = Table("pipeline", "(a) decoded twice", "(b) decoded once", "b/a")
    with tempfile.TemporaryDirectory() as folder:
        video = media.video(Path(folder), SIZE, GOP, 80 if arguments.quick else FRAMES, None)
        for name, steps in PIPELINES.items():
            twice, once, ratio = measure(steps, video, 1 if arguments.quick else arguments.rounds)
            table.add_row(name, f"{twice:.1f} ms", f"{once:.1f} ms", f"{ratio:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
