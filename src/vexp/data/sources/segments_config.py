"""Options of the ``data`` group for temporal localization: annotations of whole videos, and their features."""

from __future__ import annotations

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
from vexp.data.annotations.segments import VideoSegments, read_segments
from vexp.data.sources.base import Source
from vexp.data.sources.config import Data, absolute_path, cache_folder, log_first
from vexp.data.sources.segments import (
    FeatureFiles,
    FeatureFolder,
    FeatureSequence,
    FeatureTimes,
    SegmentSource,
    checked_videos,
    collect_classes,
    open_features,
)
from vexp.data.sources.splits import SPLITS
from vexp.data.storage import is_stored, prefix, prefix_rule

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class SegmentData(Data, ABC):
    """Base class of the data options of temporal localization."""

    task: ClassVar[Any] = "localization"
    content: ClassVar[str] = "features"

    feature_dim: int = option(400, "Channels of the features.", unit="channels", ge=1)
    length: int | None = option(
        None,
        "Features of every video, by linear rescale; null: as many as it has, padded in a batch.",
        unit="features", ge=2,
    )  # fmt: skip
    crop: int | None = option(
        None,
        "Features of longer training videos, a random part in every epoch (length=null); null: whole videos.",
        unit="features", ge=2,
    )  # fmt: skip
    stride: float | None = option(
        None, "Frames from one feature to the next; null: features are spread evenly over the video.", unit="frames",
        gt=0,
    )  # fmt: skip
    window: float | None = option(
        None, "Frames that a feature is computed from; null: stride.", unit="frames", gt=0, see=("data.stride",)
    )
    fps: float | None = option(
        None, "Frame rate that stride and window refer to; null: that of the annotation.", unit="frames per second",
        gt=0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        if self.crop is not None and self.length is not None:
            rule = f"needs data.length=null; with length={self.length} every video has that number of features"
            raise ConfigError(rule, key="crop", value=self.crop)
        if self.window is not None and self.stride is None:
            raise ConfigError("needs stride, the distance of the features", key="window", value=self.window)
        if self.cache_features:
            raise ConfigError("is for videos; these data are features", key="cache_features", value=True)

    def check_decoding(self) -> None:
        """Accept every backend: no video is decoded."""

    def source(self, split: str) -> Source | None:
        """Return the videos of a split, with their classes in the order of the training annotation."""
        videos = self.videos(split)
        if videos is None:
            return None
        classes = self._class_names()
        if classes is None:
            training = videos if split == "train" else self.videos("train")
            classes = collect_classes(training or videos)
        unknown = sorted({row[2] for video in videos.values() for row in video.segments} - set(classes))
        origin = self.origin(split)
        if unknown:
            rule = (
                f"{origin}: has labels that are no class: {', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}"
            )
            raise UserError(f"{rule}; the classes are those of {self.classes or 'the training annotation'}")
        return SegmentSource(
            videos, classes, self.feature_folder(list(videos), origin),
            FeatureTimes(self.stride, self.window, self.fps),
            length=self.length, crop=self.crop if split == "train" else None, feature_dim=self.feature_dim,
            origin=origin,
        )  # fmt: skip

    @abstractmethod
    def videos(self, split: str) -> dict[str, VideoSegments] | None:
        """Return the ground truth of a split by the name of the video; None if there is none."""

    @abstractmethod
    def feature_folder(self, names: Sequence[str], origin: str) -> FeatureFolder:
        """Return the features of the videos ``names``, which are listed in ``origin``.

        Raises:
            UserError: If the folder does not exist, or videos have no features and ``on_error`` is fail.
        """

    def features_of_video(self, path: str | Path) -> FeatureSequence:
        """Compute the features of a video file.

        Raises:
            UserError: If the option has no features of its own, or the file cannot be read.
        """
        raise UserError(
            f"{path}: is a video, but the model was trained on features; compute those of the video with vexp features "
            "(the run, window and stride of the training features), and give its output folder"
        )

    def origin(self, split: str) -> str:
        """Return where the ground truth of a split is, for messages."""
        return ", ".join(self.split(split).ann_files)


@dataclass(kw_only=True, slots=True)
class ActivityNet(SegmentData):
    """Features of videos and annotations in the format of ActivityNet, mmaction2 or THUMOS14."""

    features: str | None = option(
        None,
        "Folder of VIDEO.npy (T, C) or VIDEO.csv, also an archive or a URL of it; or the output of vexp features with "
        "window and stride.",
        check=prefix_rule,
    )
    subsets: dict[str, str] = option(
        {"train": "training", "val": "validation", "test": "testing"},
        "Subset of each split in an annotation that has several.",
    )

    def __post_init__(self) -> None:
        SegmentData.__post_init__(self)
        if unknown := sorted(self.subsets.keys() - set(SPLITS)):
            raise ConfigError(f"has no split {unknown[0]}; the splits are train, val, test", key="subsets")
        if self.features is None:
            raise ConfigError("set it to the folder of the features", key="features", value=None)
        if error := self.missing_split_error("train"):
            raise error

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if options.ann_file is None and options.from_split is None and options.hold_out is None:
            return ConfigError(f"set it to the annotation of the {split} split", key=f"{split}.ann_file", value=None)
        return None

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        for name in SPLITS:
            for ann_file in self.split(name).ann_files:
                if not absolute_path(ann_file).exists():
                    yield "no such file or folder", f"{name}.ann_file", ann_file
        if not is_stored(path := prefix(str(self.features))) and not os.path.isdir(path):
            yield "no such folder", "features", self.features
        if self.classes is not None and not absolute_path(self.classes).is_file():
            yield "no such file", "classes", self.classes

    def _prefixes(self) -> Iterator[tuple[str, str]]:
        yield from SegmentData._prefixes(self)
        yield "features", str(self.features)

    def feature_folder(self, names: Sequence[str], origin: str) -> FeatureFolder:
        return open_features(prefix(str(self.features)), names if self.on_error == "fail" else (), origin)

    def videos(self, split: str) -> dict[str, VideoSegments] | None:
        ann_files, listed = self.split(split).ann_files, dict[str, VideoSegments]()
        if not ann_files:
            return None
        for ann_file in ann_files:
            found = self._of_split(read_segments(absolute_path(ann_file)), split, ann_file)
            if again := sorted(found.keys() & listed.keys()):
                raise UserError(f"{ann_file}: lists the video {again[0]}, which another file of the split lists, too")
            listed |= found
        videos, notes = checked_videos(listed, self.origin(split))
        for note in notes:
            logger.warning(note)
        return videos

    def _of_split(self, videos: dict[str, VideoSegments], split: str, ann_file: str) -> dict[str, VideoSegments]:
        """Return the videos of the subset of a split, all if the file has one subset."""
        subsets = sorted({video.subset for video in videos.values()})
        if len(subsets) < 2:
            return videos
        chosen = self.subsets.get(split, split)
        if chosen not in subsets:
            rule = f"{ann_file} has no subset {chosen}; it has {', '.join(filter(None, subsets))}"
            raise ConfigError(rule, key=f"data.subsets.{split}", value=chosen)
        return {name: video for name, video in videos.items() if video.subset == chosen}


@dataclass(kw_only=True, slots=True)
class MotionSegments(SegmentData):
    """The built-in dataset of temporal localization: long videos of eight motions with pauses, created on first use."""

    cache_dir: str | None = option(None, "Folder in which the dataset is created; null: $VEXP_CACHE or ~/.cache/vexp.")
    motion_seed: int = option(0, "Seed of the videos.", ge=0)
    train_videos: int = option(80, "Training videos.", unit="videos", ge=1)
    val_videos: int = option(24, "Validation videos.", unit="videos", ge=1)
    features: str | None = option(
        None, "Folder of the features instead of the built-in ones: the output of vexp features on the videos."
    )

    def prepare(self) -> None:
        from vexp.data.sources import motion_segments

        motion_segments.ensure_motion_segments(**self._folder_args(), progress=log_first)

    def videos(self, split: str) -> dict[str, VideoSegments] | None:
        from vexp.data.sources import motion_segments

        if split == "test":
            return None
        count = self.train_videos if split == "train" else self.val_videos
        return motion_segments.ground_truth(self.motion_seed, split, count)

    def feature_folder(self, names: Sequence[str], origin: str) -> FeatureFolder:
        if self.features is not None:
            return open_features(absolute_path(self.features), names, origin)
        return FeatureFiles(self._folder() / "features")

    def origin(self, split: str) -> str:
        return str(self._folder() / "annotations.json")

    def features_of_video(self, path: str | Path) -> FeatureSequence:
        from vexp.data.decoding import open_video
        from vexp.data.sources import motion_segments
        from vexp.data.sources.motion import FPS

        if self.features is not None:
            return SegmentData.features_of_video(self, path)
        with open_video(path, "auto") as reader:
            if reader.num_frames < motion_segments.WINDOW:
                raise UserError(
                    f"{path}: has {reader.num_frames} frames, fewer than a window of {motion_segments.WINDOW}"
                )
            values = motion_segments.describe_motion(reader.frames(np.arange(reader.num_frames)))
            fps = reader.fps or FPS
        return FeatureTimes(motion_segments.STRIDE, motion_segments.WINDOW, fps).sequence(values, VideoSegments())

    def _folder(self) -> Path:
        from vexp.data.sources import motion_segments

        return motion_segments.folder_of(**self._folder_args())

    def _folder_args(self) -> dict[str, Any]:
        counts = {"train_videos": self.train_videos, "val_videos": self.val_videos}
        return {"root": cache_folder(self.cache_dir), "seed": self.motion_seed, **counts}
