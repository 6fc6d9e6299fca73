"""The built-in dataset ``motion_segments``: long videos in which the motions of ``motion`` follow one another.

Textured patches stand still, and in each segment all of them move in the same way, as in a clip of the class of
``vexp.data.sources.motion``. Between two segments there is a pause. Beside every video are its features: motion
descriptors of short windows, computed with NumPy from the frames, so that one command trains a localizer.

Nothing is downloaded: the videos are drawn with NumPy and OpenCV and encoded with PyAV (libx264) on first use.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from vexp.core.files import ensure_writable_dir
from vexp.data.sources import motion
from vexp.data.sources.motion import CLASSES, FPS, HEIGHT, WIDTH, Array

FORMAT_VERSION = 1  # part of the folder's name; to be raised whenever the videos of a seed change
SUBSETS = {"train": "training", "val": "validation"}

FRAMES = 320  # 20 seconds
_SEGMENT = (24, 64)  # length in frames: 1.5 to 4 seconds
_PAUSE = (10, 36)
_DRIFT = 9.0  # amplitude of the background's motion in pixels, less than its margin
_DRIFT_PERIODS = (220.0, 400.0)  # frames

#: Features stand for ``WINDOW`` frames and start every ``STRIDE`` frames.
WINDOW, STRIDE = 8, 4
_CELL = 12  # pixels; the motion of blocks of two by two cells is measured
_BLOCK = 2 * _CELL
_RIDGE = (30.0, 30.0, 3000.0, 3000.0)  # added to the diagonal of the fit: a block without contrast does not move
_CHUNK = 64  # pairs of frames computed at once
#: Largest value that counts, of translation in pixels per frame, and of rotation (radians) and growth per frame.
_LIMITS = np.array([4.0, 4.0, 0.25, 0.12])
_DESCRIPTORS = 20  # features of a window


def ensure_motion_segments(
    root: Path, *, seed: int, train_videos: int, val_videos: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the folder of the dataset under ``root``; create it if it does not exist.

    It contains ``videos/*.mp4``, ``features/*.npy`` (float32 (T, 20)), ``annotations.json`` in ActivityNet's format and
    ``README.md``. A video is a function of (seed, split, number). As ``motion.ensure_motion``, it may be called by
    several processes, and leaves no incomplete dataset.
    """
    folder = folder_of(root, seed=seed, train_videos=train_videos, val_videos=val_videos)
    if folder.is_dir():
        return folder
    ensure_writable_dir(root, "set data.cache_dir=FOLDER or VEXP_CACHE")
    unfinished = root / f".{folder.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        _make(unfinished, seed, {"train": train_videos, "val": val_videos}, progress)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has created the same dataset
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def folder_of(root: Path, *, seed: int, train_videos: int, val_videos: int) -> Path:
    """Return the folder in which ``ensure_motion_segments`` creates the dataset."""
    return root / f"motion_segments_v{FORMAT_VERSION}_seed{seed}_train{train_videos}_val{val_videos}"


def draw_segments(rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Draw (first frame, end frame, class index) of the segments of a video, with pauses around them."""
    segments, frame = [], int(rng.integers(*_PAUSE, endpoint=True))
    while True:
        end = frame + int(rng.integers(*_SEGMENT, endpoint=True))
        if end > FRAMES - _PAUSE[0] // 2:
            return segments
        segments.append((frame, end, int(rng.integers(len(CLASSES)))))
        frame = end + int(rng.integers(*_PAUSE, endpoint=True))


def render_video(seed: int, split: str, number: int) -> tuple[Array, list[tuple[int, int, int]]]:
    """Render a video, uint8 (FRAMES, HEIGHT, WIDTH, 3) RGB, and return its segments, too."""
    rng = np.random.default_rng([seed, motion.SPLITS.index(split), len(CLASSES), number])  # of no clip of motion
    segments = draw_segments(rng)
    speeds = np.zeros((FRAMES, 4))
    for first, end, label in segments:
        speeds[first:end] += motion.direction(label)
    return motion.render(rng, speeds, _drift(rng)), segments


def _drift(rng: np.random.Generator) -> Array:
    """Draw the slow motion of the background around its place: float64 (FRAMES, 2), x and y in pixels."""
    period, phase = rng.uniform(*_DRIFT_PERIODS, size=2), rng.uniform(0, 2 * np.pi, size=2)
    drift: Array = _DRIFT * np.sin(2 * np.pi * np.arange(FRAMES)[:, None] / period + phase)
    return drift


def describe_motion(frames: Array) -> Array:
    """Return motion descriptors of windows of ``WINDOW`` frames every ``STRIDE`` frames: float32 (T, 20).

    In blocks of neighboring frames, the affine motion that explains the differences of gray values best is computed
    (Lucas & Kanade 1981). A descriptor has the positive and the negative part of translation in x and y, rotation and
    growth, averaged over the moving blocks of the window and over all of them, and the amount of motion.

    Args:
        frames: uint8 (F, H, W, 3) RGB, F >= WINDOW.
    """
    gray = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    per_pair = np.concatenate([_block_motion(gray[i : i + _CHUNK + 1]) for i in range(0, len(gray) - 1, _CHUNK)])
    starts = range(0, len(frames) - WINDOW + 1, STRIDE)
    return np.stack([_pool(per_pair[start : start + WINDOW - 1]) for start in starts]).astype(np.float32)


def _block_motion(gray: Array) -> Array:
    """Return the motion between neighboring frames, gray (F, H, W): float64 (F - 1, blocks, 5).

    The columns are translation in x and y, rotation, growth, and the mean absolute difference of gray values.
    """
    mean, gt = (gray[:-1] + gray[1:]) / 2, gray[1:] - gray[:-1]
    gy, gx = np.gradient(mean, axis=(1, 2))
    y, x = np.mgrid[: gray.shape[1], : gray.shape[2]].astype(np.float32)
    # The motion (u, v) = (a - r y + g x, b + r x + g y) explains a difference of -(gx u + gy v).
    columns = [gx, gy, gy * x - gx * y, gx * x + gy * y]
    normal = np.empty((*_block_sums(gt).shape, 4, 4))
    for i, first in enumerate(columns):
        for j in range(i, 4):
            normal[..., i, j] = normal[..., j, i] = _block_sums(first * columns[j])
    right = np.stack([_block_sums(column * gt) for column in columns], axis=-1)[..., None]
    to_center = _to_block_centers(*gray.shape[1:])  # so that a and b are the translation of the center
    normal, right = to_center.transpose(0, 2, 1) @ normal @ to_center, to_center.transpose(0, 2, 1) @ right
    fit = -np.linalg.solve(normal + np.diag(_RIDGE), right)[..., 0]
    return np.concatenate((fit, _block_sums(np.abs(gt))[..., None] / _BLOCK**2), axis=-1)


def _block_sums(values: Array) -> Array:
    """Sum (F, H, W) over blocks of two by two cells: float64 (F, blocks)."""
    rows, columns = (size // _CELL for size in values.shape[1:])
    cells = values[:, : rows * _CELL, : columns * _CELL].reshape(-1, rows, _CELL, columns, _CELL)
    sums = cells.sum(axis=4).sum(axis=2, dtype=np.float64)
    blocks: Array = sums[:, :-1, :-1] + sums[:, 1:, :-1] + sums[:, :-1, 1:] + sums[:, 1:, 1:]
    return blocks.reshape(len(values), -1)


def _to_block_centers(height: int, width: int) -> Array:
    """Return the change of the four columns of the fit from the corner of the frame to each center: (blocks, 4, 4)."""
    y, x = np.mgrid[1 : height // _CELL, 1 : width // _CELL] * _CELL - 0.5
    change = np.tile(np.eye(4), (x.size, 1, 1))
    change[:, 0, 2], change[:, 1, 2] = y.ravel(), -x.ravel()
    change[:, 0, 3], change[:, 1, 3] = -x.ravel(), -y.ravel()
    return change


def _pool(values: Array) -> Array:
    """Pool the motion of the blocks of a window, (pairs, blocks, 5), to a descriptor, (20,)."""
    parts = np.clip(values[..., :4] / _LIMITS, -1, 1)
    parts = np.concatenate((np.maximum(parts, 0), np.maximum(-parts, 0)), axis=-1).reshape(-1, 8)
    change = values[..., 4].ravel()
    moving = change / (change.sum() + 1e-6)
    amount = [np.log1p(change.mean()), np.log1p(change.std()), np.log1p(change.max()), np.log1p(np.median(change))]
    return np.concatenate((10 * moving @ parts, 10 * parts.mean(axis=0), amount))


def annotations(seed: int, videos: dict[str, int]) -> dict[str, Any]:
    """Return the ground truth in ActivityNet's format."""
    database = {}
    for split, count in videos.items():
        for number in range(count):
            rng = np.random.default_rng([seed, motion.SPLITS.index(split), len(CLASSES), number])
            database[f"{split}_{number:03d}"] = {
                "subset": SUBSETS[split], "duration": FRAMES / FPS, "fps": FPS,
                "annotations": [
                    {"segment": [first / FPS, end / FPS], "label": CLASSES[label]}
                    for first, end, label in draw_segments(rng)
                ],
            }  # fmt: skip
    return {"version": f"motion_segments {FORMAT_VERSION}", "database": database}


def _make(folder: Path, seed: int, videos: dict[str, int], progress: Callable[[int, int], None] | None) -> None:
    """Write the dataset into an existing, empty folder; the first failure cancels the videos that are not begun."""
    import cv2

    for name in ("videos", "features"):
        (folder / name).mkdir()
    text = json.dumps(annotations(seed, videos), indent=1) + "\n"
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_README.format(seed=seed, window=WINDOW, stride=STRIDE, **videos), encoding="utf-8")
    jobs = [(split, number) for split, count in videos.items() for number in range(count)]

    def make_video(split: str, number: int) -> None:
        frames, _ = render_video(seed, split, number)
        motion.write_mp4(folder / "videos" / f"{split}_{number:03d}.mp4", frames)
        np.save(folder / "features" / f"{split}_{number:03d}.npy", describe_motion(frames))

    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            futures = [pool.submit(make_video, *job) for job in jobs]
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    if progress is not None:
                        progress(done, len(jobs))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        cv2.setNumThreads(opencv_threads)


_README = """\
# motion_segments: a small dataset for temporal localization

{train} training and {val} validation videos, created by `vexp` (seed {seed}): 20 seconds in which the eight motions of
the dataset `motion` follow one another with pauses. The folder is also an example of the file formats that vexp reads:

- `annotations.json`: ActivityNet's format, segments in seconds, the subsets training and validation.
- `features/NAME.npy`: float32 (T, 20), one row for each window of {window} frames, every {stride} frames.
- `videos/NAME.mp4`: H.264, 128x96 pixels, 320 frames at 16 frames per second.
"""
