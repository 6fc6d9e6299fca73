"""The built-in dataset ``motion_boxes``: videos of several patches, each of which moves in its own way.

The classes are those of ``vexp.data.sources.motion``. In the key frame, which is the middle one, position, size and
angle of a patch have the same distribution in all classes: only the frames around it show how the patch moves. The
files have the formats of AVA: labeled boxes, a label map, and detected persons (here: patches) with scores.

Nothing is downloaded: the videos are drawn with NumPy and OpenCV and encoded with PyAV (libx264) on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vexp.data.annotations.key_frames import box_iou
from vexp.data.sources.motion import (
    ANGLE,
    CLASSES,
    FPS,
    FRAMES,
    HEIGHT,
    LOG_SIZE,
    MOTION,
    RATES,
    SPLITS,
    VIVID,
    WIDTH,
    Array,
    X,
    Y,
    create_folder,
    draw_texture,
    render,
    run_in_threads,
    write_mp4,
)  # fmt: skip

FORMAT_VERSION = 1  # part of the folder's name; to be raised whenever the videos of a seed change
KEY_FRAME = FRAMES // 2
SECOND = KEY_FRAME // FPS  # time of the key frame

_PATCHES = (3, 5)  # fewest and most in a video
_HALF_SIDES = (10.0, 15.0)  # of a patch in the key frame, pixels
_TRIES = 40  # positions that are tried for a patch
_JITTER = 0.04  # standard deviation of the edges of a detected box, as a share of its sides
_FALSE_BOXES = 2  # detected boxes without a patch in each video, whose scores are low


def ensure_motion_boxes(
    root: Path, *, seed: int, train_videos: int, val_videos: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the folder of the dataset under ``root``; create it if it does not exist.

    It contains ``train/*.mp4`` and ``val/*.mp4``, for each split SPLIT.csv (labeled boxes) and SPLIT_persons.csv
    (detected boxes), ``label_map.pbtxt`` and ``README.md``. A video is a function of (seed, split, number).
    """
    videos = {"train": train_videos, "val": val_videos}
    folder = folder_of(root, seed=seed, train_videos=train_videos, val_videos=val_videos)
    return create_folder(folder, lambda unfinished: _make(unfinished, seed, videos, progress))


def folder_of(root: Path, *, seed: int, train_videos: int, val_videos: int) -> Path:
    """Return the folder in which ``ensure_motion_boxes`` creates the dataset."""
    return root / f"motion_boxes_v{FORMAT_VERSION}_seed{seed}_train{train_videos}_val{val_videos}"


def render_video(seed: int, split: str, number: int) -> tuple[Array, Array, Array, Array]:
    """Render video ``number`` of a split.

    Returns:
        The frames, uint8 (FRAMES, HEIGHT, WIDTH, 3) RGB; the boxes in the key frame as shares of width and height,
        float64 (N, 4); their class indices, int64 (N,); and the detected boxes with scores, float64 (M, 5).
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    patches, boxes, labels = [], np.empty((0, 4)), []
    for _ in range(rng.integers(_PATCHES[0], _PATCHES[1], endpoint=True)):
        label = int(rng.integers(len(CLASSES)))
        for _ in range(_TRIES):
            states = trajectory(label, rng)
            box = outline(states[KEY_FRAME])
            if box.min() >= 0 and box.max() <= 1 and not np.any(box_iou(box, boxes) > 0):
                patches.append((draw_texture(rng, levels=VIVID), states))
                boxes = np.concatenate([boxes, box[None]])
                labels.append(label)
                break
    frames = render(patches, rng, fades=False)
    return frames, boxes, np.array(labels, np.int64), _detected(boxes, rng)


def trajectory(label: int, rng: np.random.Generator) -> Array:
    """Draw the state of a patch in every frame of a video, float64 (FRAMES, 4), columns as in ``motion.trajectory``.

    The same random numbers are drawn for every class, so that the distribution in the key frame is the same.
    """
    low = np.array([0, 0, -np.pi, np.log(_HALF_SIDES[0])])
    high = np.array([WIDTH, HEIGHT, np.pi, np.log(_HALF_SIDES[1])])
    key, rate = rng.uniform(low, high), rng.uniform(*RATES.T)
    states = np.tile(key, (FRAMES, 1))
    moving, sign = MOTION[label]
    states[:, moving] += sign * rate[moving] * (np.arange(FRAMES) - KEY_FRAME)
    return states


def outline(state: Array) -> Array:
    """Return the upright box around a patch as shares of width and height, x1, y1, x2, y2."""
    reach = np.exp(state[LOG_SIZE]) * (abs(np.cos(state[ANGLE])) + abs(np.sin(state[ANGLE])))
    x, y = state[X], state[Y]
    box: Array = np.array([x - reach, y - reach, x + reach, y + reach]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return box


def _detected(boxes: Array, rng: np.random.Generator) -> Array:
    """Draw what a detector may find: the boxes with moved edges and high scores, and others with low scores."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    found = np.column_stack(
        [boxes + rng.normal(scale=_JITTER, size=boxes.shape) * sides, rng.uniform(0.9, 1, len(boxes))]
    )
    corner, side = rng.uniform(0, 0.7, (_FALSE_BOXES, 2)), rng.uniform(0.15, 0.3, (_FALSE_BOXES, 2))
    wrong = np.column_stack([corner, corner + side, rng.uniform(0.1, 0.8, _FALSE_BOXES)])
    joined = np.concatenate([found, wrong])
    joined[:, :4] = joined[:, :4].clip(0, 1)
    return joined


def _make(folder: Path, seed: int, videos: dict[str, int], progress: Callable[[int, int], None] | None) -> None:
    """Write the dataset into an existing, empty folder."""
    jobs = [(split, number) for split in SPLITS for number in range(videos[split])]
    lines: dict[tuple[str, int], tuple[list[str], list[str]]] = {}
    for split in SPLITS:
        (folder / split).mkdir()

    def make_video(split: str, number: int) -> None:
        frames, boxes, labels, detected = render_video(seed, split, number)
        name = f"{split}_{number:04d}"
        write_mp4(folder / split / f"{name}.mp4", frames)
        place = f"{name},{SECOND:04d},"
        truth = [
            f"{place}{_text(box)},{label + 1},{i}\n" for i, (box, label) in enumerate(zip(boxes, labels, strict=True))
        ]
        persons = [f"{place}{_text(row[:4])},,{row[4]:.3f}\n" for row in detected]
        lines[split, number] = truth, persons

    run_in_threads(make_video, jobs, progress)
    for split in SPLITS:
        parts = [lines[split, number] for number in range(videos[split])]
        for name, column in ((f"{split}.csv", 0), (f"{split}_persons.csv", 1)):
            (folder / name).write_text("".join("".join(part[column]) for part in parts), encoding="utf-8")
    items = (f'item {{\n  name: "{name}"\n  id: {number}\n}}\n' for number, name in enumerate(CLASSES, 1))
    (folder / "label_map.pbtxt").write_text("".join(items), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(seed=seed, **videos), encoding="utf-8")


def _text(box: Any) -> str:
    return ",".join(f"{value:.4f}" for value in box)


_README = """\
# motion_boxes: a small synthetic dataset of spatio-temporal detection

{train} training and {val} validation videos, created by `vexp` (seed {seed}). In each, three to five patches move, each
in its own way: left, right, up, down, clockwise, counter-clockwise, growing or shrinking. The boxes are those in the
frame at second 1; that frame alone does not show the classes. The files have the formats of AVA:

- `train.csv`, `val.csv`: labeled boxes, `video,second,x1,y1,x2,y2,class,person` per line, coordinates as shares of the
  width and height, classes from 1.
- `train_persons.csv`, `val_persons.csv`: detected boxes, `video,second,x1,y1,x2,y2,,score` per line.
- `label_map.pbtxt`: class names by number.
- `train/`, `val/`: the videos, H.264 in mp4, 128x96 pixels, 32 frames at 16 frames per second.
"""
