"""The built-in dataset ``motion``: eight classes of H.264 clips that differ only in motion.

Textured patches move over a textured background, which drifts slowly in a random direction. All patches of a clip move
in the same way: they rotate, grow or translate along one coordinate, while the others are constant. Each coordinate
starts anywhere in its range and wraps around at its end: for translation outside of the frame, for size where the patch
is too small or too large to be visible (it fades). At every frame, position, size, angle and colors of a patch
therefore have the same distribution in all classes; only the order of the frames contains the label. (The codec leaves
a trace on moving edges: the recipe that reaches 0.99 on clips reaches 0.22 on single frames; chance is 0.125.)

Nothing is downloaded: the clips are drawn with NumPy and OpenCV and encoded with PyAV (libx264) on first use.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vexp.core.errors import ConfigError
from vexp.core.files import ensure_writable_dir

Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "grow", "shrink")

FRAMES = 32
WIDTH, HEIGHT = 128, 96  # pixels
FPS = 16
SPLITS = ("train", "val")
FORMAT_VERSION = 2  # part of the folder's name; to be raised whenever the clips of a seed change

# Columns of a trajectory, and for each class the moving column and its sign. In image coordinates y points down and a
# growing angle is a clockwise rotation.
X, Y, ANGLE, LOG_SIZE = range(4)
MOTION = ((X, -1), (X, 1), (Y, -1), (Y, 1), (ANGLE, 1), (ANGLE, -1), (LOG_SIZE, 1), (LOG_SIZE, -1))
RATES = np.array([(1.6, 2.4), (1.6, 2.4), np.radians((5, 9)), (0.03, 0.04)])  # per frame: pixels, radians, log
_REACH = 24  # pixels that a patch moves beyond the frame
_LOW = np.array([-_REACH, -_REACH, -np.pi, np.log(9)])
_HIGH = np.array([WIDTH + _REACH, HEIGHT + _REACH, np.pi, np.log(30)])
_FADE = 0.1  # fraction of the range of sizes over which a patch fades, at either end

_DRIFT = (0.1, 0.3)  # speed of the background, pixels per frame
_MARGIN = 12  # pixels of background beyond the frame, more than the drift from the middle of a clip to its ends
_TEXTURE = 64  # side of a patch's texture in pixels
VIVID, _MUTED = (0, 255), (90, 150)  # range of the colors of patches and background
PATCHES = 12  # with the motion of the class
_DISTRACTORS = 3  # fixed to the background


def ensure_motion(
    root: Path, *, seed: int, train_clips: int, val_clips: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the folder of the dataset under ``root``; create it if it does not exist.

    It contains ``train/*.mp4``, ``val/*.mp4``, the lists ``train.txt`` and ``val.txt`` (one clip per line: path
    relative to the folder, a space, the class index), ``classes.txt`` (one name per line, in class order) and
    ``README.md``. The lists cycle through the classes, so that their first lines are balanced. A clip is a function of
    (seed, split, class, number); with the same library versions its file is identical.

    ``seed`` is >= 0; ``train_clips`` and ``val_clips`` are clips per class, >= 1. ``progress`` is called in the calling
    thread with (clips done, total clips) after every clip.
    """
    for name, value, minimum in (("seed", seed, 0), ("train_clips", train_clips, 1), ("val_clips", val_clips, 1)):
        if value < minimum:
            raise ConfigError(f"must be >= {minimum}", key=name, value=value)
    clips = {"train": train_clips, "val": val_clips}
    folder = folder_of(root, seed=seed, train_clips=train_clips, val_clips=val_clips)
    return create_folder(folder, lambda unfinished: _make(unfinished, seed, clips, progress))


def create_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return ``folder``; if it does not exist, create it with what ``fill`` writes into an empty folder.

    It is filled under a temporary name and renamed, so that several processes may call this function at the same time,
    and an interrupted call leaves no incomplete folder.
    """
    if folder.is_dir():
        return folder
    root = folder.parent
    ensure_writable_dir(root, "set data.cache_dir=FOLDER or VEXP_CACHE")
    unfinished = root / f".{folder.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        fill(unfinished)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has created the same dataset
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def folder_of(root: Path, *, seed: int, train_clips: int, val_clips: int) -> Path:
    """Return the folder in which ``ensure_motion`` creates the dataset."""
    return root / f"motion_v{FORMAT_VERSION}_seed{seed}_train{train_clips}_val{val_clips}"


def listing(split: str, clips: int) -> list[tuple[str, int, int]]:
    """Return (path in the folder, class index, number) of every clip of a split, in list order."""
    classes = list(enumerate(CLASSES))
    return [(f"{split}/{name}_{n:03d}.mp4", label, n) for n in range(clips) for label, name in classes]


def trajectory(label: int, rng: np.random.Generator) -> Array:
    """Draw the state of a patch in every frame of a clip of class ``label``: float64 (FRAMES, 4).

    The columns are center x and y in pixels, angle in radians (clockwise), and logarithm of half the side in pixels.
    The same random numbers are drawn for every class, so that the distribution in a frame does not depend on the class.
    """
    start, rate = rng.uniform(_LOW, _HIGH), rng.uniform(*RATES.T)
    states = np.tile(start, (FRAMES, 1))
    moving, sign = MOTION[label]
    states[:, moving] += sign * rate[moving] * np.arange(FRAMES)
    wrapped: Array = _LOW + (states - _LOW) % (_HIGH - _LOW)
    return wrapped


def alternating_trajectory(labels: Array, rng: np.random.Generator) -> Array:
    """Draw the state of a patch that moves in frame t as in a clip of class ``labels[t]``, or stands still (-1).

    ``labels`` is int64 (T,); the result is float64 (T, 4), with the columns of ``trajectory``.
    """
    start, rate = rng.uniform(_LOW, _HIGH), rng.uniform(*RATES.T)
    changes = np.zeros((len(labels), 4))
    for label, (moving, sign) in enumerate(MOTION):
        changes[labels == label, moving] = sign * rate[moving]
    states = start + np.concatenate((np.zeros((1, 4)), changes[:-1])).cumsum(axis=0)
    wrapped: Array = _LOW + (states - _LOW) % (_HIGH - _LOW)
    return wrapped


def render_clip(seed: int, split: str, label: int, number: int) -> Array:
    """Render clip ``number`` of a class in a split: uint8 (FRAMES, HEIGHT, WIDTH, 3) RGB."""
    rng = np.random.default_rng([seed, SPLITS.index(split), label, number])
    return render([(draw_texture(rng, levels=VIVID), trajectory(label, rng)) for _ in range(PATCHES)], rng)


def render(patches: Sequence[tuple[Array, Array]], rng: np.random.Generator, *, fades: bool = True) -> Array:
    """Render patches, each with its states in every frame, over a drifting background: uint8 (T, H, W, 3) RGB.

    With ``fades``, a patch is invisible at the ends of the range of sizes.
    """
    import cv2

    length = len(patches[0][1])
    background = _background(rng)
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*_DRIFT)
    drift = speed * np.array([np.cos(heading), np.sin(heading)])
    frames = np.empty((length, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(length):
        offset = _MARGIN - drift * ((t - length / 2) * (FRAMES / length))  # in all, as in a clip
        inverse = np.array([[1, 0, offset[0]], [0, 1, offset[1]]])
        cv2.warpAffine(background, inverse, (WIDTH, HEIGHT), frames[t], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for patch, states in patches:
            _paste(patch, states[t], frames[t], fades=fades)
    return frames


def _background(rng: np.random.Generator) -> Array:
    """Draw a background with fixed patches: uint8 (HEIGHT + 2 margins, WIDTH + 2 margins, 3) RGB."""
    height, width = HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN
    canvas = _noise(rng, cells=9, height=height, width=width, levels=_MUTED).astype(np.uint8)
    for _ in range(_DISTRACTORS):
        position = rng.uniform(0, (width, height))
        state = np.array([*position, rng.uniform(-np.pi, np.pi), np.log(rng.uniform(5, 14))])
        _paste(draw_texture(rng, levels=_MUTED), state, canvas)
    return canvas


def draw_texture(rng: np.random.Generator, *, levels: tuple[int, int]) -> Array:
    """Draw a square with soft edges: float32 (_TEXTURE, _TEXTURE, 4), RGB 0..255 times opacity, then opacity."""
    color = _noise(rng, cells=5, height=_TEXTURE, width=_TEXTURE, levels=levels)
    edge = np.clip(10 - 10 * np.abs(np.linspace(-1, 1, _TEXTURE, dtype=np.float32)), 0, 1)
    opacity = np.outer(edge, edge)[..., None]  # 0 at the border, so that warping extends it smoothly
    return np.concatenate([color * opacity, opacity], axis=2)


def _noise(rng: np.random.Generator, *, cells: int, height: int, width: int, levels: tuple[int, int]) -> Array:
    """Draw smooth noise between two colors with channels within ``levels``: float32 (height, width, 3) RGB."""
    import cv2

    first, second = rng.uniform(*levels, size=(2, 3)).astype(np.float32)
    grid = rng.uniform(-0.3, 1.3, size=(cells, cells)).astype(np.float32)
    ratio = np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    noise: Array = first + (second - first) * ratio
    return noise


def _paste(patch: Array, state: Array, canvas: Array, *, fades: bool = True) -> None:
    """Draw ``patch`` onto ``canvas``, uint8 (H, W, 3) RGB, in the given state (a row of ``trajectory``)."""
    import cv2

    x, y, angle, log_size = state
    reach = np.sqrt(2) * np.exp(log_size)  # from the center to a corner
    left, top = (max(0, int(center - reach)) for center in (x, y))
    box = canvas[top : max(0, int(y + reach + 2)), left : max(0, int(x + reach + 2))]
    if box.size == 0:
        return  # outside of the frame
    scale = _TEXTURE / 2 / np.exp(log_size)  # texture pixels per canvas pixel
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    x, y, middle = x - left, y - top, (_TEXTURE - 1) / 2
    inverse = np.array([[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]])
    size = (box.shape[1], box.shape[0])
    warped = cv2.warpAffine(patch, inverse, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    if fades:
        size_ratio = (log_size - _LOW[LOG_SIZE]) / (_HIGH[LOG_SIZE] - _LOW[LOG_SIZE])
        warped *= min(1.0, size_ratio / _FADE, (1 - size_ratio) / _FADE)
    box[:] = box * (1 - warped[..., 3:]) + warped[..., :3] + 0.5  # + 0.5: round to the nearest level


def _make(folder: Path, seed: int, clips: dict[str, int], progress: Callable[[int, int], None] | None) -> None:
    """Write the dataset into an existing, empty folder."""
    jobs = [(split, label, number, path) for split in SPLITS for path, label, number in listing(split, clips[split])]
    for split in SPLITS:
        (folder / split).mkdir()
        lines = [f"{path} {label}\n" for job_split, label, _, path in jobs if job_split == split]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(seed=seed, **clips), encoding="utf-8")

    def make_clip(split: str, label: int, number: int, path: str) -> None:
        write_mp4(folder / path, render_clip(seed, split, label, number))

    run_in_threads(make_clip, jobs, progress)


def run_in_threads(
    make: Callable[..., None], jobs: Sequence[tuple[Any, ...]], progress: Callable[[int, int], None] | None
) -> None:
    """Call ``make`` with the arguments of each job; the first failure cancels the jobs that are not begun.

    Threads, not processes: OpenCV and libx264 release the GIL, and threads need neither a guarded main module nor a
    second import, and may be started after torch, in a notebook and in daemonic workers.
    """
    import cv2

    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # on small frames, OpenCV's own threads would only compete with these
    try:
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            futures = [pool.submit(make, *job) for job in jobs]
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


def write_mp4(path: Path, frames: Iterable[Array], fps: Fraction | int = FPS) -> None:
    """Encode uint8 (H, W, 3) RGB frames of even size as H.264, yuv420p, a key frame every 12 frames or earlier."""
    import av

    # One encoder thread, so that the bytes do not depend on the number of cores.
    options = {"crf": "18", "preset": "superfast", "g": "12"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        for number, frame in enumerate(frames):
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "yuv420p"
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


_README = """\
# motion: a small dataset of synthetic video clips

{train} training and {val} validation clips for each of eight classes, created by `vexp` (seed {seed}). The classes
differ only in the motion of textured patches; a single frame does not show the class. The folder is also an example of
the file formats that vexp reads:

- `train.txt`, `val.txt`: one clip per line, `<path> <class index>`, the path relative to this folder.
- `classes.txt`: one class name per line; the first is class 0.
- `train/`, `val/`: the clips, H.264 in mp4, 128x96 pixels, 32 frames at 16 frames per second.

Mirrored left to right, `left` becomes `right` and `clockwise` becomes `counter_clockwise`, and the other way round.
"""
