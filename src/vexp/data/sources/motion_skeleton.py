"""The built-in dataset ``motion_skeleton``: eight actions of stick figures, COCO's 17 joints.

A figure stands anywhere in the frame, seen from the front, at any size, and moves slowly. One limb or the whole body
performs the action; its phase, speed and extent are random, and the joints are noisy. The first use writes one JSON
file, which is also an example of the format that ``data=skeleton`` reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.core.files import ensure_writable_dir, write_text
from vexp.data.sources.base import Source
from vexp.data.sources.config import cache_folder
from vexp.data.sources.skeletons import Skeleton, SkeletonSource

CLASSES = (
    "wave_left", "wave_right", "kick_left", "kick_right", "squat", "jump", "raise_arms", "lower_arms",
)  # fmt: skip
FORMAT_VERSION = 1  # part of the file's name; to be raised whenever the skeletons of a seed change
WIDTH, HEIGHT = 320, 240  # pixels
_FRAMES = (24, 60)  # of a video, shortest and longest
#: Joints of a figure at rest, in units of its height; x to the right of the image, y down, origin between the hips. The
#: left side of the body is on the right of the image.
_REST = np.array([
    (0, -0.42), (0.03, -0.45), (-0.03, -0.45), (0.06, -0.43), (-0.06, -0.43),  # nose, eyes, ears
    (0.12, -0.3), (-0.12, -0.3), (0.17, -0.15), (-0.17, -0.15), (0.19, 0), (-0.19, 0),  # shoulders, elbows, wrists
    (0.08, 0), (-0.08, 0), (0.09, 0.24), (-0.09, 0.24), (0.09, 0.48), (-0.09, 0.48),  # hips, knees, ankles
])  # fmt: skip
_ARMS, _LEGS = {"left": (5, 7, 9), "right": (6, 8, 10)}, {"left": (11, 13, 15), "right": (12, 14, 16)}


@dataclass(kw_only=True, slots=True)
class MotionSkeleton(Skeleton):
    """The built-in dataset of skeletons: eight actions of stick figures, created on first use."""

    cache_dir: str | None = option(None, "Folder in which the dataset is created; null: $VEXP_CACHE or ~/.cache/vexp.")
    motion_seed: int = option(0, "Seed of the skeletons.", ge=0)
    train_clips: int = option(40, "Training samples per class.", unit="clips", ge=1)
    val_clips: int = option(12, "Validation samples per class.", unit="clips", ge=1)

    def missing_split_error(self, split: str) -> ConfigError | None:
        return None

    def prepare(self) -> None:
        path = self._path()
        if not path.is_file():
            ensure_writable_dir(path.parent, "set data.cache_dir=FOLDER or VEXP_CACHE")
            write_text(path, json.dumps(make(self.motion_seed, train=self.train_clips, val=self.val_clips)))

    def source(self, split: str) -> Source | None:
        if split == "test":
            return None
        if not self._path().is_file():  # without prepare, for vexp plan
            self.prepare()
        skeletons = self.read(self._path(), split, len(CLASSES))
        return SkeletonSource(skeletons, list(CLASSES), max_person=self.max_person, squeeze=self.squeeze)

    def _path(self) -> Path:
        counts = f"train{self.train_clips}_val{self.val_clips}"
        return cache_folder(self.cache_dir) / f"motion_skeleton_v{FORMAT_VERSION}_seed{self.motion_seed}_{counts}.json"


def make(seed: int, *, train: int, val: int) -> dict[str, Any]:
    """Return the content of the file: ``train`` and ``val`` samples of each class, in turn."""
    splits: dict[str, list[str]] = {"train": [], "val": []}
    annotations = []
    for place, (split, count) in enumerate((("train", train), ("val", val))):
        for number in range(count):
            for label, name in enumerate(CLASSES):
                joints = figure(label, np.random.default_rng([seed, place, label, number]))
                splits[split].append(f"{split}/{name}_{number:03d}")
                annotations.append({
                    "frame_dir": splits[split][-1], "label": label, "img_shape": [HEIGHT, WIDTH],
                    "total_frames": joints.shape[1], "keypoint": joints[..., :2].round(1).tolist(),
                    "keypoint_score": joints[..., 2].round(2).tolist(),
                })  # fmt: skip
    return {"split": splits, "annotations": annotations}


def figure(label: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the joints of one sample: (1, frames, 17, 3), x and y in pixels, and confidence."""
    frames = int(rng.integers(*_FRAMES, endpoint=True))
    turns, phase, extent = rng.uniform(1.5, 3), rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1)
    swing = extent * np.sin(phase + 2 * np.pi * turns * np.arange(frames) / frames)  # -1..1
    rise = extent * np.linspace(0, 1, frames)
    joints = np.tile(_REST, (frames, 1, 1))
    name = CLASSES[label]
    action, _, side = name.partition("_")
    outward = 1 if side == "left" else -1
    if action == "wave":
        _turn(joints, _ARMS[side], outward * (2.4 + 0.5 * swing))
    elif action == "kick":
        _turn(joints, _LEGS[side], outward * 0.9 * (swing + 1) / 2)
    elif action == "squat":
        _sink(joints, 0.16 * (swing + 1) / 2)
    elif action == "jump":
        joints[..., 1] -= 0.25 * np.maximum(swing, 0)[:, None]
    else:
        angle = 2.8 * (rise if action == "raise" else extent - rise)
        _turn(joints, _ARMS["left"], angle)
        _turn(joints, _ARMS["right"], -angle)
    height = rng.uniform(0.45, 0.8) * HEIGHT
    place = rng.uniform((0.3 * WIDTH, 0.4 * HEIGHT), (0.7 * WIDTH, 0.5 * HEIGHT))
    drift = rng.uniform(-0.1, 0.1, 2) * height * np.linspace(0, 1, frames)[:, None]
    pixels = joints * height + (place + drift)[:, None]
    pixels += rng.normal(0, 0.008 * height, pixels.shape)
    scores = rng.uniform(0.6, 1, (*pixels.shape[:2], 1))
    return np.concatenate([pixels, scores], axis=2)[None]


def _turn(joints: NDArray[np.float64], chain: tuple[int, ...], angle: NDArray[np.float64]) -> None:
    """Rotate a limb about its first joint, by radians toward the right of the image for a hanging limb."""
    pivot = joints[:, chain[0], None]
    x, y = np.moveaxis(joints[:, chain[1:]] - pivot, 2, 0)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    joints[:, chain[1:]] = pivot + np.stack([cos * x + sin * y, cos * y - sin * x], axis=2)


def _sink(joints: NDArray[np.float64], depth: NDArray[np.float64]) -> None:
    """Lower the body; the knees move outward, the feet stay."""
    joints[:, :13, 1] += depth[:, None]
    joints[:, 13:15, 1] += depth[:, None] / 2
    joints[:, 13, 0] += depth
    joints[:, 14, 0] -= depth
