"""Source of key frames with boxes: the clip around a time of a video, and the boxes in the frame shown at it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.annotations.folders import VIDEO_SUFFIXES
from vexp.data.annotations.key_frames import KeyFrames
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import Reader, SegmentReader, Source
from vexp.data.storage import exists, is_stored
from vexp.data.transforms.timeline import Timeline


class KeyFrameReader(SegmentReader):
    """Reader of a whole video with a key frame: the frame that is shown nearest to ``second`` after the first one."""

    def __init__(self, path: str, reader: Reader, second: float) -> None:
        super().__init__(path, reader, -np.inf, np.inf)
        line = Timeline.of_seconds(self.times, self.fps or 1.0)
        if not -line.slack <= second <= line.end + line.slack:
            raise UserError(
                f"{path}: the key frame {second:g} s after its first frame is not within its {line.end:.2f} s; "
                "data.timestamp_start is the time of the first frame (AVA: 900 for the cut videos, 0 for whole ones)"
            )
        self.key_frame = int(line.frames_at(np.array([second]))[0])


@dataclass(frozen=True, slots=True)
class FrameBoxes:
    """The boxes of a key frame, rows x1, y1, x2, y2 as shares of width and height.

    Attributes:
        truth: Labeled boxes, float64 (G, 4).
        targets: Their labels, float32 (G, classes) of 0 and 1.
        persons: Detected persons with their scores, float64 (M, 5); None without detection.
    """

    truth: NDArray[np.float64]
    targets: NDArray[np.float32]
    persons: NDArray[np.float64] | None


class KeyFrameSource(Source):
    """Key frames of videos.

    Args:
        frames: The key frames and their boxes.
        classes: Names of the classes.
        paths: Path of each video of ``frames.videos``.
        opened: Opens the video at a path.
        start: Time of the first frame of each video, in seconds.
        assign_iou: Least overlap at which a detected person has the labels of a labeled box.
        origin: Where the key frames are listed.
        backend: Name of the decoding backend.
    """

    multi_label = True

    def __init__(
        self, frames: KeyFrames, classes: Sequence[str], paths: Sequence[str], opened: Any, *, start: float = 0.0,
        assign_iou: float = 0.9, origin: str = "", backend: str = "",
    ) -> None:  # fmt: skip
        self.frames, self.classes, self.paths, self.opened = frames, list(classes), list(paths), opened
        self.start, self.assign_iou, self.origin, self.backend = start, assign_iou, origin, backend
        self.labels = frames.labels_of_frames()
        self.groups: PackedStrings = PackedStrings.pack([frames.videos[video] for video in frames.video])

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        return self.frames.name(index)

    def boxes(self, index: int) -> FrameBoxes:
        """Return the boxes of a key frame."""
        persons = None if self.frames.persons is None else self.frames.persons[index]
        return FrameBoxes(self.frames.truth[index], self.frames.targets(index, len(self.classes)), persons)

    def open(self, index: int) -> AbstractContextManager[Reader]:
        path = self.paths[self.frames.video[index]]
        return _at_key_frame(path, self.opened(path), float(self.frames.second[index]) - self.start)

    def take(self, rows: NDArray[np.int64]) -> KeyFrameSource:
        taken = copy.copy(self)
        taken.frames = self.frames.take(rows)
        taken.labels, taken.groups = self.labels.take(rows), self.groups.take(rows)
        return taken


class UnlabeledKeyFrames(Source):
    """Key frames of videos with detected persons, without labels.

    Args:
        places: Path and name of the video of each key frame, and its time in seconds after the first frame.
        persons: Detected persons of each key frame, float64 (M, 5): shares of width and height, and the score.
        classes: Names of the classes.
        opened: Opens the video at a path.
        backend: Name of the decoding backend.
    """

    multi_label = True
    assign_iou = 1.0

    def __init__(
        self, places: Sequence[tuple[str | Path, str, float]], persons: Sequence[NDArray[np.float64]],
        classes: Sequence[str], opened: Any, *, backend: str = "",
    ) -> None:  # fmt: skip
        self.places, self.persons, self.classes = list(places), list(persons), list(classes)
        self.opened, self.backend = opened, backend
        self.labels = [np.empty(0, np.int64)] * len(places)

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        _, name, second = self.places[index]
        return f"{name},{second:04.0f}" if second.is_integer() else f"{name},{second:g}"

    def boxes(self, index: int) -> FrameBoxes:
        """Return the boxes of a key frame."""
        return FrameBoxes(np.empty((0, 4)), np.empty((0, len(self.classes)), np.float32), self.persons[index])

    def open(self, index: int) -> AbstractContextManager[Reader]:
        path, _, second = self.places[index]
        return _at_key_frame(str(path), self.opened(path), second)


@contextmanager
def _at_key_frame(path: str, video: AbstractContextManager[Any], second: float) -> Iterator[Reader]:
    with video as reader:
        yield KeyFrameReader(path, reader, second)


def video_paths(names: Sequence[str], folder: str, *, folders: bool = False) -> tuple[list[str], list[str]]:
    """Return the path of each video in a folder, by its name with or without an ending, and the names without one.

    With ``folders``, each name is that of a folder of frames.
    """
    paths, missing = [], []
    for name in names:
        whole = os.path.join(folder, name)
        candidates = [whole] if folders else [whole, *(f"{whole}{ending}" for ending in sorted(VIDEO_SUFFIXES))]
        found = next((path for path in candidates if _is_there(path, folders)), None)
        if found is None:
            missing.append(name)
        paths.append(found or whole)
    return paths, missing


def _is_there(path: str, folder: bool) -> bool:
    """Return whether a path is a file, or a folder; of folders in archives and on servers nothing is known."""
    if is_stored(path):
        return folder or exists(path)
    return os.path.isdir(path) if folder else os.path.isfile(path)
