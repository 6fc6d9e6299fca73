"""The ``data`` options of spatio-temporal detection: key frames with boxes, in the formats of AVA."""

from __future__ import annotations

import functools
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import option
from vexp.core.log import plural
from vexp.data import storage
from vexp.data.annotations.ava import BoxTable, read_boxes, read_key_frames, read_label_map
from vexp.data.annotations.builder import Problems
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.key_frames import pack_key_frames
from vexp.data.annotations.person_boxes import PersonBoxes, read_person_boxes
from vexp.data.sources.config import Data, absolute_path, cache_folder, log_first
from vexp.data.sources.key_frames import KeyFrameSource, video_paths
from vexp.data.sources.splits import SPLITS, Split, TrainSplit

logger = logging.getLogger(__name__)
_NAMED = 5  # videos in a message


def _numbers_rule(value: Any) -> str | None:
    if value and all(isinstance(number, int) and number >= 1 for number in value) and len(set(value)) == len(value):
        return None
    return "must be null or a list of different class numbers, from 1"


@dataclass(frozen=True, slots=True)
class BoxFiles:
    """The files of a split."""

    truth: Path
    videos: str  # folder, or a stored one
    excluded: Path | None = None
    persons: Path | None = None


@dataclass(kw_only=True, slots=True)
class BoxData(Data, ABC):
    """Base class of the data options whose samples are key frames with labeled boxes."""

    task: ClassVar[str] = "detection"

    custom_classes: list[int] | None = option(
        None, "Class numbers that are learned, in the order of the model's outputs; null: all.", check=_numbers_rule
    )
    person_det_score_thr: float = option(
        0.9, "Least score of a detected person; the best ones are kept if a key frame has none.", ge=0, le=1
    )
    num_max_proposals: int = option(1000, "Detected persons of a key frame, the first ones of the file.", ge=1)
    assign_iou: float = option(
        0.9,
        "Least overlap (IoU) with a labeled box at which a detected person gets its labels in training.",
        gt=0,
        le=1,
    )

    @abstractmethod
    def box_files(self, split: str) -> BoxFiles | None:
        """Return the files of a split; None if it has none."""

    @abstractmethod
    def label_names(self) -> dict[int, str] | None:
        """Return the class names by number; None if there is no file of them. Only named classes are measured."""

    def numbers(self, num_classes: int) -> list[int]:
        """Return the number of each class, as in the annotations."""
        return list(range(1, num_classes + 1)) if self.custom_classes is None else list(self.custom_classes)

    def measured(self, num_classes: int) -> list[bool]:
        """Return whether each class is measured: those that the label map names."""
        names = self.label_names()
        return [names is None or number in names for number in self.numbers(num_classes)]

    def source(self, split: str) -> KeyFrameSource | None:
        files = self.box_files(split)
        if files is None:
            return None
        table = read_boxes(files.truth, scores=False)
        classes = self._class_list(table, split)
        class_of = {number: index for index, number in enumerate(self.numbers(len(classes)))}
        if self.custom_classes is None:
            _check_labels(files.truth, table, len(classes))
        frames = pack_key_frames(
            table,
            class_of,
            excluded=set() if files.excluded is None else read_key_frames(files.excluded),
            labeled_only=split == "train",
            persons=None if files.persons is None else self._persons(files.persons, table),
            min_score=self.person_det_score_thr,
            max_persons=self.num_max_proposals,
        )
        if not len(frames):
            raise UserError(f"{files.truth}: has no key frame with a box of the {len(classes)} classes")
        paths, missing = self.find_videos(frames.videos, files.videos)
        if missing and self.on_error != "skip":
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise UserError(
                f"{files.videos}: {len(missing)} of {len(paths)} videos of {files.truth.name} are missing: "
                f"{', '.join(missing[:_NAMED])}{more}; data.on_error=skip leaves them out"
            )
        return KeyFrameSource(
            frames, classes, paths, self.open_function(), start=self.first_second, assign_iou=self.assign_iou,
            origin=f"{files.truth}: {plural(len(frames), 'key frame')} of {plural(len(frames.videos), 'video')}, "
            f"{len(frames.truth.data)} boxes",
            backend=self.decoding_backend,
        )  # fmt: skip

    @property
    def first_second(self) -> float:
        """Time of the first frame of a video, in seconds."""
        return 0.0

    def find_videos(self, names: Sequence[str], folder: str) -> tuple[list[str], list[str]]:
        """Return the path of each video, and the names of those that are missing."""
        return video_paths(names, folder)

    def open_function(self) -> Any:
        """Return the function that opens the video at a path."""
        from vexp.data.decoding import open_video

        return functools.partial(open_video, backend=self.decoding_backend, strict=self.strict)

    def _class_list(self, table: BoxTable, split: str) -> list[str]:
        """Return the names of the classes: the number of those without a name."""
        names = self.label_names()
        if self.custom_classes is None:
            if names is None:
                train = self.box_files("train")
                if split != "train" and train is not None:
                    table = read_boxes(train.truth, scores=False)
                last = int(table.label.max(initial=1))
            else:
                last = max(names)
            return [(names or {}).get(number, str(number)) for number in range(1, last + 1)]
        if names is not None and (unknown := [number for number in self.custom_classes if number not in names]):
            raise ConfigError(
                f"{unknown[0]} is not in the label map", key="data.custom_classes", value=self.custom_classes
            )
        return [(names or {}).get(number, str(number)) for number in self.custom_classes]

    def _persons(self, path: Path, table: BoxTable) -> PersonBoxes:
        persons = read_person_boxes(path)
        known = set(persons.key_frames)
        missing = [frame for frame in table.key_frames if frame not in known]
        if len(missing) == len(table.key_frames) and missing:
            video, second = missing[0]
            raise UserError(f"{path}: has none of the key frames of the annotation, such as {video},{second:04d}")
        if missing:
            logger.warning(f"{path}: has no person for {len(missing)} of {len(table.key_frames)} key frames")
        return persons


def _check_labels(path: Path, table: BoxTable, num_classes: int) -> None:
    problems = Problems(path)
    for row in np.flatnonzero(table.label > num_classes).tolist():
        video, second = table.key_frames[table.key_frame[row]]
        problems.add(f"{video},{second}", f"the class {table.label[row]} is not one of the {num_classes} classes")
    problems.raise_any()


@dataclass(kw_only=True, slots=True)
class BoxSplit(Split):
    """Key frames of a split, and the persons detected in them."""

    exclude_file: str | None = option(None, "List of key frames that are left out, 'video,second' per line.")
    proposal_file: str | None = option(
        None, "Detected persons by key frame (.csv, .json, .npz, .pkl); null: the labeled boxes are classified."
    )


@dataclass(kw_only=True, slots=True)
class TrainBoxSplit(TrainSplit):
    """Key frames of the training split, and the persons detected in them."""

    exclude_file: str | None = option(None, "List of key frames that are left out, 'video,second' per line.")
    proposal_file: str | None = option(
        None, "Detected persons by key frame (.csv, .json, .npz, .pkl), trained on besides the labeled boxes."
    )


@dataclass(kw_only=True, slots=True)
class Ava(BoxData):
    """Key frames with boxes in the format of AVA: ``video,second,x1,y1,x2,y2,class,person`` per line.

    Coordinates are shares of width and height, classes are numbered from 1. A video is a file named as in the list,
    with any ending of a video, or a folder of frames.
    """

    label_map: str | None = option(
        None,
        "Class names (.pbtxt, or one name per line from class 1); classes without a name are trained, not measured.",
    )
    timestamp_start: float = option(
        900.0, "Time of the first frame of each video: 900 for AVA's cut videos, 0 for whole ones.", unit="seconds"
    )
    raw_frames: bool = option(False, "Videos are folders of images instead of files.")
    filename_tmpl: str = option("img_{:05}.jpg", "File name of a frame by its number (raw_frames).")
    start_index: int = option(1, "Number in the name of the first frame (raw_frames).", ge=0)
    fps: float = option(30.0, "Rate at which frames were extracted (raw_frames).", unit="frames per second", gt=0)
    train: TrainBoxSplit = option(TrainBoxSplit, "Training samples and their order.")
    val: BoxSplit = option(BoxSplit, "Samples of the evaluations during training.")
    test: BoxSplit = option(BoxSplit, "Samples of vexp evaluate split=test.")

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        if self.raw_frames and self.decoding_backend not in ("auto",):
            raise ConfigError("decodes videos; with raw_frames=true set it to auto", key="decoding_backend")
        if error := self.missing_split_error("train"):
            raise error

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if options.ann_file is None and options.from_split is None and options.hold_out is None:
            return ConfigError(f"set it to the CSV of the {split} split", key=f"{split}.ann_file", value=None)
        return None

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        for name in SPLITS:
            for key in ("ann_file", "exclude_file", "proposal_file"):
                value = getattr(self.split(name), key)
                if value is not None and not absolute_path(value).is_file():
                    yield "no such file", f"{name}.{key}", value
            prefix = self.split(name).data_prefix
            if prefix is not None and not storage.is_stored(path := storage.prefix(prefix)) and not os.path.isdir(path):
                yield "no such folder", f"{name}.data_prefix", prefix
        if self.label_map is not None and not absolute_path(self.label_map).is_file():
            yield "no such file", "label_map", self.label_map

    def box_files(self, split: str) -> BoxFiles | None:
        options: Any = self.split(split)
        if options.ann_file is None:
            return None
        truth = absolute_path(options.ann_file)
        folder = storage.prefix(options.data_prefix) if options.data_prefix else str(truth.parent)
        excluded, persons = options.exclude_file, options.proposal_file
        return BoxFiles(
            truth,
            folder,
            None if excluded is None else absolute_path(excluded),
            None if persons is None else absolute_path(persons),
        )

    def label_names(self) -> dict[int, str] | None:
        if self.label_map is None:
            return None
        path = absolute_path(self.label_map)
        if path.suffix.lower() == ".pbtxt":
            return read_label_map(path)
        return dict(enumerate(read_classes(path), 1))

    @property
    def first_second(self) -> float:
        return self.timestamp_start

    def find_videos(self, names: Sequence[str], folder: str) -> tuple[list[str], list[str]]:
        return video_paths(names, folder, folders=self.raw_frames)

    def open_function(self) -> Any:
        if not self.raw_frames:
            return BoxData.open_function(self)
        from vexp.data.decoding.frame_folder import RawFrameReader

        return functools.partial(RawFrameReader, filename_tmpl=self.filename_tmpl, first=self.start_index, fps=self.fps)


@dataclass(kw_only=True, slots=True)
class MotionBoxes(BoxData):
    """The built-in dataset of detection: patches that move each in its own way, created as H.264 files on first use."""

    cache_dir: str | None = option(None, "Folder in which the dataset is created; null: $VEXP_CACHE or ~/.cache/vexp.")
    motion_seed: int = option(0, "Seed of the videos.", ge=0)
    train_videos: int = option(480, "Training videos.", unit="videos", ge=1)
    val_videos: int = option(96, "Validation videos.", unit="videos", ge=1)

    def prepare(self) -> None:
        from vexp.data.sources import motion_boxes

        motion_boxes.ensure_motion_boxes(**self._folder_args(), progress=log_first)

    def box_files(self, split: str) -> BoxFiles | None:
        from vexp.data.sources import motion_boxes

        if split == "test":
            return None
        folder = motion_boxes.folder_of(**self._folder_args())
        persons = folder / f"{split}_persons.csv"
        return BoxFiles(folder / f"{split}.csv", str(folder / split), persons=persons)

    def label_names(self) -> dict[int, str] | None:
        from vexp.data.sources.motion import CLASSES

        return dict(enumerate(CLASSES, 1))

    def _folder_args(self) -> dict[str, Any]:
        videos = {"train_videos": self.train_videos, "val_videos": self.val_videos}
        return {"root": cache_folder(self.cache_dir), "seed": self.motion_seed, **videos}
