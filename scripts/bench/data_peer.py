"""The eager path that scripts/bench/data.py compares with.

It is written from the documentation of mmaction2 0.24 for current libraries; scripts/bench/data_mmaction2.py is
mmaction2 itself, with the libraries of its time:

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_timing import Figures, emptied, one_thread, timed
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, default_collate

from vexp.data.transforms.view import View

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SHORT_SIDE = 256

Frame = NDArray[np.uint8]
Drawn = dict[str, Any]
"""A sample without its pixels.

Keys: path, frames (numbers, flat), clips, clip_len, total_frames, first (number of the first file), box (x, y, width,
height) after the resize to the short side, mirrored.
"""


def decord_frames(path: Path) -> Any:
    """Read frames by number from a video, which is first read into memory."""
    import decord

    container = decord.VideoReader(io.BytesIO(path.read_bytes()), num_threads=1)
    return lambda numbers: list(container.get_batch(numbers).asnumpy())


def jpeg_frames(folder: Path, decode: Callable[[bytes], Frame]) -> Any:
    """Read frames of a folder of images; a repeated frame is decoded once."""

    def frames(numbers: Sequence[int]) -> list[Frame]:
        known: dict[int, Frame] = {}
        for number in numbers:
            if number not in known:
                known[number] = decode((folder / f"img_{number + 1:05}.jpg").read_bytes())
        return [known[number].copy() for number in numbers]

    return frames


def _with_simplejpeg(content: bytes) -> Frame:
    import simplejpeg

    image: Frame = simplejpeg.decode_jpeg(content, "RGB")
    return image


def _with_opencv(content: bytes) -> Frame:
    import cv2

    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


#: What reads the frames: of videos; of images with the library that vexp uses, and with mmaction2's default.
READERS: dict[str, Callable[[Path], Any]] = {
    "decord": decord_frames,
    "turbojpeg": lambda folder: jpeg_frames(folder, _with_simplejpeg),
    "cv2": lambda folder: jpeg_frames(folder, _with_opencv),
}


def spatial(frames: list[Frame], steps: Mapping[str, Any], sample: Drawn) -> list[Frame]:
    """Apply the transforms after sampling one after the other to every frame."""
    frames = _resize_short_side(frames)
    height, width = frames[0].shape[:2]
    if "three_crop" in steps:
        views = steps["three_crop"].plan([View.whole(width, height)], np.random.default_rng(0))  # nothing is random
        return [crop for view in views for crop in _crop(frames, [round(edge) for edge in view.box])]
    frames = [_resize(frame, tuple(steps["resize"].scale)) for frame in _crop(frames, sample["box"])]
    if sample["mirrored"]:
        _mirror(frames)
    return frames


def normalised(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """float32 (N, H, W, 3), each frame normalized in place."""
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


def drawn(path: Path, num_frames: int, size: tuple[int, int], steps: Mapping[str, Any], key: Sequence[int]) -> Drawn:
    """Draw the random values of a sample as vexp does; ``size`` is (width, height) of the frames."""
    rng = np.random.default_rng([0, *key])
    numbers = steps["sample"].indices(num_frames, rng)
    found = {
        "path": str(path), "frames": numbers.reshape(-1).tolist(), "clips": len(numbers), "clip_len": numbers.shape[1],
        "total_frames": num_frames, "first": int(path.is_dir()), "box": None, "mirrored": False,
    }  # fmt: skip
    if "crop" in steps:
        (view,) = steps["crop"].plan([View.whole(*_short_side(*size))], rng)
        (mirrored,) = steps["flip"].plan([View.whole(*steps["resize"].scale)], rng)
        found |= {"box": [round(edge) for edge in view.box], "mirrored": mirrored.mirrored}
    return found


class EagerDataset(Dataset[Any]):
    """Samples with given random values."""

    def __init__(self, groups: Sequence[Sequence[Drawn]], steps: Mapping[str, Any], reader: str) -> None:
        self.samples, self.steps, self.open = [each for group in groups for each in group], steps, READERS[reader]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        sample = self.samples[number]
        frames = spatial(self.open(Path(sample["path"]))(sample["frames"]), self.steps, sample)
        return formatted(normalised(frames), sample["clip_len"]), 0


class Eager:
    """The path, with the methods of ``data_mmaction2.Mmaction2``."""

    def __init__(self, steps: Mapping[str, Any], *, reader: str, workers: int) -> None:
        """``reader``: one of ``READERS``."""
        self.steps, self.reader, self.workers = dict(steps), reader, workers

    def samples(self, drawn: Sequence[Drawn]) -> tuple[torch.Tensor, Figures]:
        """Return a batch, float32 (N, views, 3, T, H, W), and the seconds per sample."""
        dataset = EagerDataset([drawn], self.steps, self.reader)
        return _seconds(len(drawn), lambda: default_collate([dataset[at] for at in range(len(drawn))])[0])

    def spatial(self, drawn: Sequence[Drawn]) -> tuple[torch.Tensor, Figures]:
        """Return the same, measured from the decoded frames on."""
        decoded = [READERS[self.reader](Path(sample["path"]))(sample["frames"]) for sample in drawn]

        def batch() -> torch.Tensor:
            pairs = zip(decoded, drawn, strict=True)
            made = [normalised(spatial(frames, self.steps, sample)) for frames, sample in pairs]
            stacked: torch.Tensor = default_collate([formatted(clip, drawn[0]["clip_len"]) for clip in made])
            return stacked

        return _seconds(len(drawn), batch)

    def loader(self, groups: Sequence[Sequence[Drawn]]) -> Figures:
        """Return the seconds per clip of a loader with worker processes."""
        loader: Any = DataLoader(
            EagerDataset(groups, self.steps, self.reader), batch_size=len(groups[0]), num_workers=self.workers,
            multiprocessing_context="fork", worker_init_fn=one_thread,
        )  # fmt: skip
        cpu, wall = emptied(loader, list(groups))
        return {"cpu": cpu, "wall": wall}

    def close(self) -> None:
        """Do nothing: no file is open."""


def _seconds(count: int, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Figures]:
    batch, cpu, wall = timed(work)
    return batch, {"cpu": cpu / count, "wall": wall / count}


def _resize(frame: Frame, size: tuple[int, ...]) -> Frame:
    import cv2

    resized: Frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return resized


def _resize_short_side(frames: list[Frame]) -> list[Frame]:
    height, width = frames[0].shape[:2]
    return [_resize(frame, _short_side(width, height)) for frame in frames]


def _short_side(width: int, height: int) -> tuple[int, int]:
    factor = SHORT_SIDE / min(height, width)
    return int(width * factor + 0.5), int(height * factor + 0.5)


def _crop(frames: list[Frame], box: Sequence[int]) -> list[Frame]:
    left, top, width, height = box
    return [frame[top : top + height, left : left + width] for frame in frames]


def _mirror(frames: list[Frame]) -> None:
    import cv2

    for frame in frames:
        cv2.flip(frame, 1, frame)
