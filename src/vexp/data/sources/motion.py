"""The embedded data set ``motion``: eight classes of real H.264 clips, told apart by motion alone.

Textured patches move over textured clutter that drifts slowly in a direction of its own. All patches of a clip do the
same: they turn, grow or travel, along one of their coordinates, and hold the others. Each coordinate begins anywhere in
its range and comes in again at the other end when it runs out of it: a travelling patch outside of the picture, a
growing one while it is too small or too large to be seen (it fades). So at every frame number a patch has one and the
same distribution of position, size, angle and colours in every class, wherever a sampler takes it: the label is in the
order of the frames. (What is left is what the codec does to moving edges: the recipe that reaches 0.99 on clips reaches
0.22 on single frames, 0.125 being chance.)

Nothing is downloaded; the clips are drawn with NumPy and OpenCV and encoded with PyAV (libx264) on first use.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from vexp.core.files import ensure_writable_dir

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "grow", "shrink")

FRAMES = 32
WIDTH, HEIGHT = 128, 96  # pixels
FPS = 16
SPLITS = ("train", "val")
FORMAT_VERSION = 2  # part of the folder's name: raise it whenever the clips of a seed change

# Columns of a trajectory, and for each class the one that moves and its sign. Image coordinates: y points down and a
# growing angle turns clockwise as seen on the screen.
X, Y, ANGLE, LOG_SIZE = range(4)
_MOTION = ((X, -1), (X, 1), (Y, -1), (Y, 1), (ANGLE, 1), (ANGLE, -1), (LOG_SIZE, 1), (LOG_SIZE, -1))
_RATES = np.array([(1.6, 2.4), (1.6, 2.4), np.radians((5, 9)), (0.03, 0.04)])  # per frame: pixels, radians, log
_REACH = 24  # pixels beyond the picture that a patch travels
_LOW = np.array([-_REACH, -_REACH, -np.pi, np.log(9)])
_HIGH = np.array([WIDTH + _REACH, HEIGHT + _REACH, np.pi, np.log(30)])
_FADE = 0.1  # share of the range of sizes over which a patch comes and goes, at either end

_DRIFT = (0.1, 0.3)  # speed of the clutter, pixels a frame
_MARGIN = 12  # pixels of clutter beyond the frame: more than the farthest drift from the middle of a clip
_TEXTURE = 64  # pixels a side of a patch's texture
_VIVID, _MUTED = (0, 255), (90, 150)  # range of the colours of the patches and of the clutter
_PATCHES = 12  # that do the class's motion
_DISTRACTORS = 3  # that lie still on the clutter


def ensure_motion(
    root: Path,
    *,
    seed: int,
    train_clips: int,
    val_clips: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of the data set under ``root``, made on first use.

    It holds ``train/*.mp4``, ``val/*.mp4``, the text lists ``train.txt`` and ``val.txt`` (a line a clip: path relative
    to the folder, a space, the class index), ``classes.txt`` (a name a line, in class order) and ``README.md``. The
    lists go round the classes, so that their first lines are balanced. Every clip depends on
    (seed, split, class, number) only; with the same library versions its file is the same byte for byte.

    The folder appears whole or not at all: it is made beside its place and renamed, so that several processes may
    call this at once and an interrupted call leaves nothing behind that a later one would take for data.

    Args:
        root: folder of data sets; made where it is missing.
        seed: >= 0.
        train_clips, val_clips: clips a class, >= 1.
        progress: called in the calling thread with (clips done, clips in all) after every clip.
    """
    for name, value, least in (("seed", seed, 0), ("train_clips", train_clips, 1), ("val_clips", val_clips, 1)):
        if value < least:
            raise ValueError(f"{name}={value}: the motion data set needs {name} >= {least}")
    folder = folder_of(root, seed=seed, train_clips=train_clips, val_clips=val_clips)
    if folder.is_dir():
        return folder
    ensure_writable_dir(root, "set data.cache_dir=FOLDER or VEXP_CACHE")
    unfinished = root / f".{folder.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        _make(unfinished, seed, {"train": train_clips, "val": val_clips}, progress)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first, and its folder holds the same clips
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def folder_of(root: Path, *, seed: int, train_clips: int, val_clips: int) -> Path:
    """Where ``ensure_motion`` puts the data set."""
    return root / f"motion_v{FORMAT_VERSION}_seed{seed}_train{train_clips}_val{val_clips}"


def listing(split: str, clips: int) -> list[tuple[str, int, int]]:
    """A split of ``clips`` clips a class in the order of its list: (path in the folder, class, number) of each."""
    return [
        (f"{split}/{name}_{number:03d}.mp4", label, number)
        for number in range(clips)
        for label, name in enumerate(CLASSES)
    ]


def trajectory(label: int, rng: np.random.Generator) -> Array:
    """A patch's state in every frame of a clip of class ``label``: float64 (FRAMES, 4).

    Columns: centre x and y in pixels, angle in radians (clockwise), logarithm of half the side in pixels. Every draw is
    made for every class, in the same order, which is what makes the distribution at a frame independent of the class.
    """
    start, rate = rng.uniform(_LOW, _HIGH), rng.uniform(*_RATES.T)
    states = np.tile(start, (FRAMES, 1))
    moving, sign = _MOTION[label]
    states[:, moving] += sign * rate[moving] * np.arange(FRAMES)
    wrapped: Array = _LOW + (states - _LOW) % (_HIGH - _LOW)
    return wrapped


def render_clip(seed: int, split: str, label: int, number: int) -> Array:
    """Clip ``number`` of a class in a split: uint8 (FRAMES, HEIGHT, WIDTH, 3) RGB."""
    import cv2

    rng = np.random.default_rng([seed, SPLITS.index(split), label, number])
    patches = [(_patch(rng, levels=_VIVID), trajectory(label, rng)) for _ in range(_PATCHES)]
    clutter = _clutter(rng)
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*_DRIFT)
    drift = speed * np.array([np.cos(heading), np.sin(heading)])
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        offset = _MARGIN - drift * (t - FRAMES / 2)
        inverse = np.array([[1, 0, offset[0]], [0, 1, offset[1]]])
        cv2.warpAffine(clutter, inverse, (WIDTH, HEIGHT), frames[t], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for patch, states in patches:
            _paste(patch, states[t], frames[t])
    return frames


def _clutter(rng: np.random.Generator) -> Array:
    """Background with resting patches on it: uint8 (HEIGHT + 2 margins, WIDTH + 2 margins, 3) RGB."""
    height, width = HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN
    canvas = _noise(rng, cells=9, height=height, width=width, levels=_MUTED).astype(np.uint8)
    for _ in range(_DISTRACTORS):
        position = rng.uniform(0, (width, height))
        state = np.array([*position, rng.uniform(-np.pi, np.pi), np.log(rng.uniform(5, 14))])
        _paste(_patch(rng, levels=_MUTED), state, canvas)
    return canvas


def _patch(rng: np.random.Generator, *, levels: tuple[int, int]) -> Array:
    """A square with soft edges: float32 (_TEXTURE, _TEXTURE, 4), RGB 0..255 times opacity, then opacity."""
    colour = _noise(rng, cells=5, height=_TEXTURE, width=_TEXTURE, levels=levels)
    edge = np.clip(10 - 10 * np.abs(np.linspace(-1, 1, _TEXTURE, dtype=np.float32)), 0, 1)
    opacity = np.outer(edge, edge)[..., None]  # nought at the border, so that warping extends it smoothly
    return np.concatenate([colour * opacity, opacity], axis=2)


def _noise(rng: np.random.Generator, *, cells: int, height: int, width: int, levels: tuple[int, int]) -> Array:
    """Smooth noise between two colours with channels within ``levels``: float32 (height, width, 3) RGB."""
    import cv2

    first, second = rng.uniform(*levels, size=(2, 3)).astype(np.float32)
    grid = rng.uniform(-0.3, 1.3, size=(cells, cells)).astype(np.float32)
    share = np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    noise: Array = first + (second - first) * share
    return noise


def _paste(patch: Array, state: Array, canvas: Array) -> None:
    """Lay ``patch`` over ``canvas``, uint8 (H, W, 3) RGB, in place, in the given state (a row of ``trajectory``)."""
    import cv2

    x, y, angle, log_size = state
    reach = np.sqrt(2) * np.exp(log_size)  # from the centre to a corner: nothing beyond it changes
    left, top = (max(0, int(centre - reach)) for centre in (x, y))
    box = canvas[top : max(0, int(y + reach + 2)), left : max(0, int(x + reach + 2))]
    if box.size == 0:
        return  # wholly outside
    scale = _TEXTURE / 2 / np.exp(log_size)  # texture pixels per canvas pixel
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    x, y, middle = x - left, y - top, (_TEXTURE - 1) / 2
    inverse = np.array([[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]])
    size = (box.shape[1], box.shape[0])
    warped = cv2.warpAffine(patch, inverse, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    seen = (log_size - _LOW[LOG_SIZE]) / (_HIGH[LOG_SIZE] - _LOW[LOG_SIZE])
    warped *= min(1.0, seen / _FADE, (1 - seen) / _FADE)
    box[:] = box * (1 - warped[..., 3:]) + warped[..., :3] + 0.5  # + 0.5: rounded to the nearest level


def _make(folder: Path, seed: int, clips: dict[str, int], progress: Callable[[int, int], None] | None) -> None:
    """Write the whole data set into an existing, empty folder."""
    jobs = [(split, label, number, path) for split in SPLITS for path, label, number in listing(split, clips[split])]
    for split in SPLITS:
        (folder / split).mkdir()
        lines = [f"{path} {label}\n" for of, label, _, path in jobs if of == split]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(seed=seed, **clips), encoding="utf-8")

    def make_clip(split: str, label: int, number: int, path: str) -> None:
        write_mp4(folder / path, render_clip(seed, split, label, number))

    _each(jobs, make_clip, progress)


def _each(
    jobs: list[tuple[str, int, int, str]],
    make_clip: Callable[[str, int, int, str], None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run every job on the available cores; the first failure cancels what has not begun."""
    import cv2

    # Threads, not processes: OpenCV and libx264 let the others run, and threads need neither a guarded main module nor
    # a second import, and may be started after torch, in a notebook and in daemonic workers.
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # its own would only get in the way of ours on frames this small
    try:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            futures = [pool.submit(make_clip, *job) for job in jobs]
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


def write_mp4(path: Path, frames: Array) -> None:
    """Encode uint8 (T, H, W, 3) RGB frames as H.264, yuv420p, a key frame every 12 frames or earlier."""
    import av

    # One encoder thread: the bytes must not depend on the number of cores.
    options = {"crf": "18", "preset": "superfast", "g": "12"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


_README = """\
# motion: a small data set of synthetic video clips

{train} training and {val} validation clips for each of eight classes, made by `vexp` (seed {seed}). The classes differ
in the motion of textured patches only; no single frame tells them apart. It is also a worked example of the file
formats that vexp reads:

- `train.txt`, `val.txt`: one clip a line, `<path> <class index>`, the path relative to this folder.
- `classes.txt`: one class name a line; the first is class 0.
- `train/`, `val/`: the clips, H.264 in mp4, 128x96 pixels, 32 frames at 16 frames a second.

Mirrored left to right, `left` becomes `right` and `clockwise` becomes `counter_clockwise`, and the other way round.
"""
