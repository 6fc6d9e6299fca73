"""The built-in dataset ``motion_segments``: long videos in which the motions of ``motion`` follow one another.

Textured patches stand still, and in each segment all of them move in the same way, as in a clip of the class of
``vexp.data.sources.motion``. Between two segments there is a pause. Beside every video are its features: motion
descriptors of short windows, computed with NumPy from the frames, so that one command trains a localizer.

Nothing is downloaded: the videos are drawn with NumPy and OpenCV and encoded with PyAV (libx264) on first use.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vexp.data.annotations.segments import VideoSegments
from vexp.data.sources import motion
from vexp.data.sources.motion import CLASSES, FPS, Array

FORMAT_VERSION = 1  # part of the folder's name; to be raised whenever the videos of a seed change
SUBSETS = {"train": "training", "val": "validation"}

FRAMES = 320  # 20 seconds
_SEGMENT = (24, 64)  # length in frames: 1.5 to 4 seconds
_PAUSE = (10, 36)

#: Features stand for ``WINDOW`` frames and start every ``STRIDE`` frames.
WINDOW, STRIDE = 8, 4
_CELL = 12  # pixels; the motion of blocks of two by two cells is measured
_BLOCK = 2 * _CELL
_RIDGE = (30.0, 30.0, 3000.0, 3000.0)  # added to the diagonal of the fit: a block without contrast does not move
_CHUNK = 64  # pairs of frames computed at once
#: Largest value that counts, of translation in pixels per frame, and of rotation (radians) and growth per frame.
_LIMITS = np.array([4.0, 4.0, 0.25, 0.12])


def ensure_motion_segments(
    root: Path, *, seed: int, train_videos: int, val_videos: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the folder of the dataset under ``root``; create it if it does not exist.

    It contains ``videos/*.mp4``, ``features/*.npy`` (float32 (T, 20)), ``annotations.json`` in ActivityNet's format and
    ``README.md``. A video is a function of (seed, split, number).
    """
    folder = folder_of(root, seed=seed, train_videos=train_videos, val_videos=val_videos)
    videos = {"train": train_videos, "val": val_videos}
    return motion.create_folder(folder, lambda unfinished: _make(unfinished, seed, videos, progress))


def folder_of(root: Path, *, seed: int, train_videos: int, val_videos: int) -> Path:
    """Return the folder in which ``ensure_motion_segments`` creates the dataset."""
    return root / f"motion_segments_v{FORMAT_VERSION}_seed{seed}_train{train_videos}_val{val_videos}"


def draw_segments(seed: int, split: str, number: int) -> tuple[Array, np.random.Generator]:
    """Draw the segments of a video, int64 (K, 3): first frame, end frame, class index; with pauses around them.

    Returns:
        The segments, and the generator for its frames.
    """
    rng = np.random.default_rng([seed, motion.SPLITS.index(split), len(CLASSES), number])  # of no clip of motion
    segments, frame = [], int(rng.integers(*_PAUSE, endpoint=True))
    while (end := frame + int(rng.integers(*_SEGMENT, endpoint=True))) <= FRAMES - _PAUSE[0]:
        segments.append((frame, end, int(rng.integers(len(CLASSES)))))
        frame = end + int(rng.integers(*_PAUSE, endpoint=True))
    return np.array(segments, np.int64), rng


def render_video(seed: int, split: str, number: int) -> Array:
    """Render a video: uint8 (FRAMES, HEIGHT, WIDTH, 3) RGB."""
    segments, rng = draw_segments(seed, split, number)
    labels = np.full(FRAMES, -1)
    for first, end, label in segments:
        labels[first:end] = label
    patches = [
        (motion.draw_texture(rng, levels=motion.VIVID), motion.alternating_trajectory(labels, rng))
        for _ in range(motion.PATCHES)
    ]
    return motion.render(patches, rng)


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


def ground_truth(seed: int, split: str, count: int) -> dict[str, VideoSegments]:
    """Return the segments of the videos of a split by their names."""
    videos = {}
    for number in range(count):
        rows = draw_segments(seed, split, number)[0].tolist()
        segments = [(first / FPS, end / FPS, CLASSES[label], 0.0) for first, end, label in rows]
        duration = FRAMES / FPS
        videos[f"{split}_{number:03d}"] = VideoSegments(segments, SUBSETS[split], duration, FPS, duration)
    return videos


def _make(folder: Path, seed: int, videos: dict[str, int], progress: Callable[[int, int], None] | None) -> None:
    """Write the dataset into an existing, empty folder."""
    for name in ("videos", "features"):
        (folder / name).mkdir()
    truth = {name: video for split, count in videos.items() for name, video in ground_truth(seed, split, count).items()}
    database = {
        name: {
            "subset": video.subset, "duration": video.duration, "fps": video.fps,
            "annotations": [{"segment": [start, end], "label": label} for start, end, label, _ in video.segments],
        }
        for name, video in truth.items()
    }  # fmt: skip
    text = json.dumps({"version": f"motion_segments {FORMAT_VERSION}", "database": database}, indent=1) + "\n"
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    readme = _README.format(seed=seed, window=WINDOW, stride=STRIDE, **videos)
    (folder / "README.md").write_text(readme, encoding="utf-8")

    def make_video(split: str, number: int) -> None:
        frames, name = render_video(seed, split, number), f"{split}_{number:03d}"
        motion.write_mp4(folder / "videos" / f"{name}.mp4", frames)
        np.save(folder / "features" / f"{name}.npy", describe_motion(frames))

    jobs = [(split, number) for split, count in videos.items() for number in range(count)]
    motion.run_in_threads(make_video, jobs, progress)


_README = """\
# motion_segments: a small dataset for temporal localization

{train} training and {val} validation videos, created by `vexp` (seed {seed}): 20 seconds in which the eight motions of
the dataset `motion` follow one another with pauses. The folder is also an example of the file formats that vexp reads:

- `annotations.json`: ActivityNet's format, segments in seconds, the subsets training and validation.
- `features/NAME.npy`: float32 (T, 20), one row for each window of {window} frames, every {stride} frames.
- `videos/NAME.mp4`: H.264, 128x96 pixels, 320 frames at 16 frames per second.
"""
