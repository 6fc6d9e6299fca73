"""Features of whole videos for temporal localization: their files, their times, and the segments of ground truth.

Features are files ``VIDEO.npy`` (T, C) or ``VIDEO.csv`` with a header (mmaction2), or the output folder of ``vexp
features`` with windows. Each is read when it is needed.
"""

from __future__ import annotations

import copy
import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.packed import PackedLabels
from vexp.data.annotations.segments import Segment, VideoSegments
from vexp.data.sources.base import Source
from vexp.data.storage import exists, is_stored, read

Floats = NDArray[np.float32]
SUFFIXES = (".npy", ".csv")
_NAMED = 5  # videos in a message
_MAX_LATE = 0.01  # fraction of the segments that may start after their video
_TOLERANCE = 0.05  # difference of the time that features cover to the duration, relative to it, and one feature


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSequence:
    """Features of a video; feature t stands for the time from ``origin + t * step`` to ``origin + (t + 1) * step``."""

    values: Floats  # float32 (T, C)
    origin: float  # seconds
    step: float  # seconds

    def rescaled(self, length: int) -> FeatureSequence:
        """Return ``length`` features of the same time, by linear interpolation."""
        count = len(self.values)
        if count == length:
            return self
        positions = np.clip((np.arange(length) + 0.5) * (count / length) - 0.5, 0, count - 1)
        below = np.floor(positions).astype(np.int64)
        above, weight = np.minimum(below + 1, count - 1), (positions - below).astype(np.float32)[:, None]
        values = self.values[below] * (1 - weight) + self.values[above] * weight
        return FeatureSequence(values, self.origin, self.step * count / length)

    def part(self, start: int, stop: int) -> FeatureSequence:
        """Return features ``start`` to ``stop`` - 1."""
        return replace(self, values=self.values[start:stop], origin=self.origin + start * self.step)


@dataclass(frozen=True, slots=True)
class FeatureTimes:
    """The time of features by their distance in frames; None: they are spread evenly over the video."""

    stride: float | None = None  # frames from one feature to the next
    window: float | None = None  # frames that a feature is computed from; None: ``stride``
    fps: float | None = None  # frames per second; None: that of the annotation

    def sequence(self, values: Floats, video: VideoSegments) -> FeatureSequence:
        """Return the features with their times.

        Raises:
            UserError: If the times are unknown, or do not fit the duration of the video.
        """
        if self.stride is None:
            if not video.covered > 0:
                raise UserError("its annotation has no duration, so the times of its features are unknown; set "
                                "data.stride (frames from one feature to the next)")  # fmt: skip
            return FeatureSequence(values, 0.0, video.covered / len(values))
        fps = self.fps or video.fps
        if not fps > 0:
            raise UserError("its annotation has no frame rate (fps); set data.fps")
        step = self.stride / fps
        window = (self.window or self.stride) / fps
        covered = (len(values) - 1) * step + window
        if video.duration > 0 and abs(covered - video.duration) > _TOLERANCE * video.duration + max(step, window):
            raise UserError(
                f"its {len(values)} features cover {covered:.1f} s (data.stride={self.stride:g} frames at {fps:g} "
                f"fps), but its duration is {video.duration:.1f} s: features, stride or fps are those of other videos"
            )
        return FeatureSequence(values, (window - step) / 2, step)


class FeatureFolder(ABC):
    """Features of videos by their names."""

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)

    @abstractmethod
    def __contains__(self, name: object) -> bool: ...

    @abstractmethod
    def load(self, name: str, video: VideoSegments, times: FeatureTimes) -> FeatureSequence:
        """Read the features of a video.

        Raises:
            UserError: If they are missing or unusable.
        """


class FeatureFiles(FeatureFolder):
    """One file per video."""

    def __contains__(self, name: object) -> bool:
        return self._file(str(name)) is not None

    def _file(self, name: str) -> str | None:
        paths = (os.path.join(self.path, f"{name}{suffix}") for suffix in SUFFIXES)
        return next((path for path in paths if exists(path)), None)

    def load(self, name: str, video: VideoSegments, times: FeatureTimes) -> FeatureSequence:
        path = self._file(name)
        if path is None:
            raise UserError(f"no features: {self.path} has no {name}.npy or {name}.csv")
        return times.sequence(read_features(path), video)


class WindowFeatures(FeatureFolder):
    """The folder that ``vexp features window=SECONDS`` writes: features.npy and index.csv."""

    def __init__(self, path: Path) -> None:
        FeatureFolder.__init__(self, path)
        self._rows, self._errors = _read_index(path / "index.csv")
        self._values = _open_npy(path / "features.npy")
        last = max((row for rows in self._rows.values() for row, _, _ in rows), default=-1)
        if self._values.ndim != 2 or last >= len(self._values):
            raise UserError(f"{path}: features.npy has the shape {self._values.shape}, but index.csv names row {last}")

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def names(self) -> list[str]:
        """Return the names of the videos that have features."""
        return list(self._rows)

    def load(self, name: str, video: VideoSegments, times: FeatureTimes) -> FeatureSequence:
        if name not in self._rows:
            error = self._errors.get(name)
            reason = f"vexp features could not read it: {error}" if error else f"{self.path}/index.csv does not list it"
            raise UserError(f"no features: {reason}")
        rows, starts, ends = (np.array(column) for column in zip(*self._rows[name], strict=True))
        values = checked_features(np.asarray(self._values[rows.astype(np.int64)], np.float32), f"{self.path}/{name}")
        window = float(ends[0] - starts[0])
        step = float(np.median(np.diff(starts))) if len(starts) > 1 else window
        origin = float(starts[0]) + (window - step) / 2
        return FeatureSequence(values, origin, step)


def open_features(path: str | Path, names: Sequence[str] = (), origin: str = "") -> FeatureFiles | WindowFeatures:
    """Return the features in a folder.

    Args:
        path: Folder of feature files, also an archive or on a server; or a folder that ``vexp features`` wrote.
        names: Videos that must have features.
        origin: Where the videos are listed, for messages.

    Raises:
        UserError: If the folder does not exist, or videos have no features.
    """
    if is_stored(path):
        folder: FeatureFiles | WindowFeatures = FeatureFiles(path)
    else:
        path = Path(path)
        if not path.is_dir():
            raise MissingInputError("no such folder", key="data.features", value=str(path))
        is_output = (path / "index.csv").is_file() and (path / "features.npy").is_file()
        folder = WindowFeatures(path) if is_output else FeatureFiles(path)
    if missing := [name for name in names if name not in folder]:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UserError(
            f"{path}: {len(missing)} of {len(names)} videos of {origin} have no features: "
            f"{', '.join(missing[:_NAMED])}{more}; compute them, remove the videos from the annotation, or set "
            "data.on_error=skip"
        )
    return folder


def read_features(path: str | Path) -> Floats:
    """Read the features of a video, float32 (T, C), from .npy or .csv with a header.

    Raises:
        UserError: If the file is no table of finite numbers.
    """
    stored = read(str(path)) if is_stored(path) else None
    if str(path).lower().endswith(".npy"):
        values: Any = _open_npy(path, stored)
    else:
        try:
            values = np.loadtxt(
                path if stored is None else io.StringIO(stored.decode()), np.float32, delimiter=",", skiprows=1, ndmin=2
            )
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: is not a table of numbers with a header: {error}") from None
    return checked_features(values, path)


def checked_features(values: Any, path: object) -> Floats:
    """Return features as float32 (T, C); raise UserError if they are not a table of finite numbers."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: features must be numbers of shape (T, C), got {values.dtype} {values.shape}")
    features = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise UserError(f"{path}: feature {row} is not finite (NaN or infinity)")
    return features


def _open_npy(path: str | Path, content: bytes | None = None) -> NDArray[Any]:
    try:
        values: NDArray[Any] = (
            np.load(path, mmap_mode="r", allow_pickle=False)
            if content is None
            else np.load(io.BytesIO(content), allow_pickle=False)
        )
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: is not an array of numbers (.npy): {error}") from None
    if not isinstance(values, np.ndarray):
        raise UserError(f"{path}: is not an array of numbers (.npy)")
    return values


Rows = dict[str, list[tuple[int, float, float]]]


def _read_index(path: Path) -> tuple[Rows, dict[str, str]]:
    """Return (row, start, end) of the windows of each video by the name without suffix, and errors by name."""
    rows: Rows = {}
    errors: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for number, entry in enumerate(csv.DictReader(file), 2):
            name = Path(entry.get("path") or "").stem
            if entry.get("error"):
                errors.setdefault(name, str(entry["error"]))
                continue
            if entry.get("start") == "":
                raise UserError(f"{path}: has whole videos; run vexp features with window=SECONDS and stride=SECONDS")
            try:
                window = (int(entry["row"]), float(entry["start"]), float(entry["end"]))
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{path}:{number}: is not a row of vexp features") from None
            rows.setdefault(name, []).append(window)
    return rows, errors


class SegmentSource(Source):
    """Videos with labeled segments and features."""

    multi_label = True  # labels are the classes that occur in a video

    def __init__(
        self, videos: Mapping[str, VideoSegments], classes: Sequence[str], features: FeatureFolder,
        times: FeatureTimes, *, length: int | None, crop: int | None, feature_dim: int, origin: str,
    ) -> None:  # fmt: skip
        """Create the source.

        Args:
            videos: Ground truth by the name of the video.
            classes: Names of the classes.
            features: Where the features are.
            times: Times of the features.
            length: Features of every video after a linear rescale; None: as many as the file has.
            crop: Features of longer videos in training, a random part of them; None: all.
            feature_dim: Channels of the features.
            origin: Where the ground truth is, for messages.
        """
        self.names, self.videos, self.classes = list(videos), list(videos.values()), list(classes)
        self.features, self.times, self.length, self.feature_dim = features, times, length, feature_dim
        self.crop, self.origin = crop, origin
        self._set_labels()

    def _set_labels(self) -> None:
        index = {name: number for number, name in enumerate(self.classes)}
        sets = [sorted({index[label] for _, _, label, _ in video.segments}) for video in self.videos]
        ends = np.cumsum([len(labels) for labels in sets], dtype=np.int64)
        self.labels = PackedLabels(np.array([label for labels in sets for label in labels], np.int32), ends)
        self._index = index

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def take(self, rows: NDArray[np.int64]) -> SegmentSource:
        taken = copy.copy(self)
        taken.names, taken.videos = [self.names[row] for row in rows], [self.videos[row] for row in rows]
        taken._set_labels()
        return taken

    def truth(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the segments of a video, float64 (K, 2) in seconds, and their class indices, int64 (K,)."""
        rows = self.videos[index].segments
        segments = np.array([row[:2] for row in rows], np.float64).reshape(-1, 2)
        return segments, np.array([self._index[row[2]] for row in rows], np.int64)

    @contextmanager
    def open(self, index: int) -> Iterator[Any]:
        """Read the features of a video: a ``FeatureSequence``."""
        yield self.load(index)

    def load(self, index: int) -> FeatureSequence:
        """Read the features of a video.

        Raises:
            UserError: If they are missing or unusable.
        """
        sequence = self.features.load(self.names[index], self.videos[index], self.times)
        channels = sequence.values.shape[1]
        if channels != self.feature_dim:
            raise UserError(f"its features have {channels} channels, not data.feature_dim={self.feature_dim}")
        return sequence if self.length is None else sequence.rescaled(self.length)


def checked_videos(videos: Mapping[str, VideoSegments], origin: str) -> tuple[dict[str, VideoSegments], list[str]]:
    """Return the videos with segments that end within them, and notes on what was changed.

    Segments that end after the video are cut at its end, as many of ActivityNet do.

    Raises:
        UserError: If a segment starts before its video or has no label, if many start after it, or if there is none.
    """
    result: dict[str, VideoSegments] = {}
    problems, late, cut = [], [], 0
    for name, video in videos.items():
        rows: list[Segment] = []
        for number, (start, end, label, score) in enumerate(video.segments):
            place = f"{origin}: video {name}: segment {number}"
            if start < 0:
                problems.append(f"{place}: starts at {start:g} s, before the video")
            elif not label:
                problems.append(f"{place}: has no label")
            if start >= video.duration:
                late.append(f"{place}: starts at {start:g} s, but the video has {video.duration:g} s")
            elif end > video.duration:
                cut, end = cut + 1, video.duration
            rows.append((start, end, label, score))
        result[name] = replace(video, segments=rows)
    total, empty = sum(len(video.segments) for video in result.values()), sum(not v.segments for v in result.values())
    if len(late) > max(1, _MAX_LATE * total):
        problems += [f"{text}; are the times frames instead of seconds?" for text in late]
    if problems:
        more = [f"... and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        raise UserError("\n".join([*problems[:_NAMED], *more]))
    if not total:
        raise UserError(f"{origin}: none of its {len(result)} videos has a segment")
    counts = {
        "segments end after their video and are cut at its end": cut,
        "segments start after their video, so that nothing finds them": len(late),
        f"of {len(result)} videos have no segment": empty,
    }
    return result, [f"{origin}: {count} {text}" for text, count in counts.items() if count]


def collect_classes(videos: Mapping[str, VideoSegments]) -> list[str]:
    """Return the labels of all segments, sorted; numbers by their value."""
    labels = {label for video in videos.values() for _, _, label, _ in video.segments}
    return sorted(labels, key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label))
