"""The eager path that scripts/bench_data.py measures against, written from the documentation of mmaction2 0.24:

    DecordInit, DecordDecode  or  RawFrameDecode        every frame whole, in the order of the sample
    Resize, RandomResizedCrop, Resize, Flip             OpenCV, each step on each frame
    Resize, ThreeCrop                                   the test protocol
    Normalize                                           float32, in the worker
    FormatShape NCTHW, ToTensor, default collate        float32 to the device

The random numbers (which frames, which box, mirrored or not) are those that vexp draws, so that both paths make the
same sample and can be compared pixel by pixel.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vexp.data.geometry import View

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SHORT_SIDE = 256

Frame = NDArray[np.uint8]


def decord_frames(path: Path) -> tuple[int, Any]:
    """(number of frames, the opened reader) of a video, read into memory first."""
    import decord

    container = decord.VideoReader(io.BytesIO(path.read_bytes()), num_threads=1)
    return len(container), lambda numbers: list(container.get_batch(numbers.reshape(-1)).asnumpy())


def jpeg_frames(folder: Path) -> tuple[int, Any]:
    """The same of a folder of images; a repeated frame is decoded once. The JPEG library is the one that vexp uses."""
    import simplejpeg

    def frames(numbers: NDArray[np.int64]) -> list[Frame]:
        known: dict[int, Frame] = {}
        for number in numbers.reshape(-1).tolist():
            if number not in known:
                content = (folder / f"img_{number + 1:05}.jpg").read_bytes()
                known[number] = simplejpeg.decode_jpeg(content, "RGB")
        return [known[number].copy() for number in numbers.reshape(-1).tolist()]

    return int(folder.resolve().name.split("_")[-2]), frames


def spatial(frames: list[Frame], steps: Mapping[str, Any], rng: np.random.Generator) -> list[Frame]:
    """The steps after sampling, one after the other, on every frame."""
    frames = _resize_short_side(frames)
    height, width = frames[0].shape[:2]
    if "three_crop" in steps:
        views = steps["three_crop"].plan([View.whole(width, height)], rng)
        return [crop for view in views for crop in _crop(frames, view)]
    (view,) = steps["crop"].plan([View.whole(width, height)], rng)
    size = tuple(steps["resize"].scale)
    frames = [_resize(frame, size) for frame in _crop(frames, view)]
    if steps["flip"].plan([View.whole(*size)], rng)[0].mirrored:
        _mirror(frames)
    return frames


def normalised(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """float32 (N, H, W, 3), each frame normalised in place."""
    import cv2

    out = np.empty((len(frames), *frames[0].shape), np.float32)
    mean, scale = np.array([[*MEAN]]), 1 / np.array([[*STD]])
    for target, frame in zip(out, frames, strict=True):
        target[...] = frame
        cv2.subtract(target, mean, target)
        cv2.multiply(target, scale, target)
    return out


def formatted(frames: NDArray[np.float32], clip_len: int) -> torch.Tensor:
    """(views, 3, T, H, W), crop-major; not contiguous until it is collated."""
    clips = frames.reshape(-1, clip_len, *frames.shape[1:])
    return torch.from_numpy(clips.transpose(0, 4, 1, 2, 3))


class EagerDataset(Dataset[Any]):
    """Samples of files or folders; keys as in `vexp.data.dataset.ClipDataset`."""

    def __init__(self, paths: Sequence[Path], steps: Mapping[str, Any], *, raw: bool) -> None:
        self.paths, self.steps, self.open = list(paths), dict(steps), jpeg_frames if raw else decord_frames

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        rng = np.random.default_rng([0, *key])
        num_frames, read = self.open(self.paths[key[1]])
        numbers = self.steps["sample"].indices(num_frames, rng)
        frames = spatial(read(numbers), self.steps, rng)
        return formatted(normalised(frames), numbers.shape[1]), 0


def _resize(frame: Frame, size: tuple[int, ...]) -> Frame:
    import cv2

    resized: Frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return resized


def _resize_short_side(frames: list[Frame]) -> list[Frame]:
    height, width = frames[0].shape[:2]
    factor = SHORT_SIDE / min(height, width)
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    return [_resize(frame, size) for frame in frames]


def _crop(frames: list[Frame], view: View) -> list[Frame]:
    left, top, width, height = (round(edge) for edge in view.box)
    return [frame[top : top + height, left : left + width] for frame in frames]


def _mirror(frames: list[Frame]) -> None:
    import cv2

    for frame in frames:
        cv2.flip(frame, 1, frame)
