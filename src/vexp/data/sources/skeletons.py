"""Skeletons as the samples of a run: joints of persons instead of frames (``data=skeleton``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.data.annotations.skeletons import Joints, Skeletons, read_joints, read_skeletons
from vexp.data.sources.base import Source
from vexp.data.sources.config import Data, absolute_path
from vexp.data.sources.splits import SPLITS, Split, TrainSplit
from vexp.data.storage import prefix

_SUBSET = "Name of the list in the file's own 'split' (xsub_train, train1 ...); null: all samples of the file."


class SkeletonReader:
    """The skeletons of one video: ``joints``, float (persons, frames, joints, 3), x, y and confidence."""

    fps = None

    def __init__(self, joints: Joints, width: int, height: int) -> None:
        self.joints, self.width, self.height = joints, width, height
        self.num_frames = joints.shape[1]

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return drawings of the skeletons, uint8 (len(indices), height, width, 3) RGB, for people to look at."""
        from vexp.data.transforms.pose import draw_joints
        from vexp.data.transforms.view import View

        joints = np.asarray(self.joints[:, np.asarray(indices)], np.float32)
        return draw_joints(joints, View.whole(self.width, self.height))


class SkeletonSource(Source):
    """The skeletons of a split."""

    def __init__(self, skeletons: Skeletons, classes: list[str], *, max_person: int, squeeze: bool) -> None:
        self.skeletons, self.labels, self.classes = skeletons, skeletons.labels, classes
        self.origin = skeletons.origin
        self.max_person, self.squeeze = max_person, squeeze

    def __len__(self) -> int:
        return len(self.skeletons)

    def name(self, index: int) -> str:
        return self.skeletons.names[index]

    def open(self, index: int) -> AbstractContextManager[SkeletonReader]:
        skeletons, joints = self.skeletons, self.skeletons.joints[index]
        if joints is None:
            joints = read_joints(
                skeletons.file(index), skeletons.rows[index], max_person=self.max_person, squeeze=self.squeeze
            )
        width, height = (int(side) for side in skeletons.sizes[index])
        return nullcontext(SkeletonReader(joints, width, height))


@dataclass(kw_only=True, slots=True)
class SkeletonSplit(Split):
    """A split of skeletons."""

    split: str | None = option(None, _SUBSET)


@dataclass(kw_only=True, slots=True)
class SkeletonTrainSplit(TrainSplit):
    """The training split of skeletons."""

    split: str | None = option(None, _SUBSET)


@dataclass(kw_only=True, slots=True)
class Skeleton(Data):
    """Joints of persons in pickles or JSON files (mmaction2's PoseDataset), for PoseC3D."""

    content: ClassVar[str] = "joints"

    joints: int = option(17, "Joints of a person: 17 in COCO.", unit="joints", ge=1)
    valid_ratio: float = option(
        0.0, "Leave out videos in fewer than this fraction of whose frames a person is detected (Kinetics).", ge=0, le=1
    )
    box_thr: float = option(
        0.5, "Confidence above which a detection counts, with a positive valid_ratio (Kinetics).", ge=0, le=1
    )
    max_person: int = option(10, "Persons of a frame that are used, those with the highest scores (Kinetics).", ge=1)
    squeeze: bool = option(True, "Leave out frames without a person (Kinetics).")
    train: SkeletonTrainSplit = option(SkeletonTrainSplit, "Training samples and their order.")
    val: SkeletonSplit = option(SkeletonSplit, "Samples of the evaluations during training.")
    test: SkeletonSplit = option(SkeletonSplit, "Samples of vexp evaluate split=test.")

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        for name in SPLITS:
            if isinstance(value := self.split(name).ann_file, list):
                raise ConfigError("must be one pickle or JSON file", key=f"{name}.ann_file", value=value)
        if error := self.missing_split_error("train"):
            raise error

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if options.ann_file is None and options.from_split is None and options.hold_out is None:
            return ConfigError(
                f"set it to the pickle or JSON file of the {split} split", key=f"{split}.ann_file", value=None
            )
        return None

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        files = {f"{name}.ann_file": self.split(name).ann_file for name in SPLITS} | {"classes": self.classes}
        for key, value in files.items():
            if value is not None and not absolute_path(value).is_file():
                yield "no such file", key, value

    def source(self, split: str) -> Source | None:
        if self.split(split).ann_file is None:
            return None
        classes = self._class_names()
        skeletons = self._listed(split, None if classes is None else len(classes))
        if classes is None and split != "train" and self.train.ann_file is not None:
            labels = self._listed("train", None).labels  # all splits have the classes of the training split
            classes = [str(label) for label in range(int(labels.max()) + 1)]
            if int(skeletons.labels.max()) >= len(classes):
                rule = f"has label {skeletons.labels.max()}, the training split only labels up to {len(classes) - 1}"
                raise ConfigError(rule, key=f"data.{split}.ann_file", hint="; set data.classes to a file of all names")
        classes = classes or [str(label) for label in range(int(skeletons.labels.max()) + 1)]
        return SkeletonSource(skeletons, classes, max_person=self.max_person, squeeze=self.squeeze)

    def _listed(self, split: str, class_count: int | None) -> Skeletons:
        options: Any = self.split(split)
        path = absolute_path(options.ann_file)
        folder = str(path.parent) if options.data_prefix is None else prefix(options.data_prefix)
        return self.read(path, options.split, class_count, folder=folder)

    def read(self, path: Path, subset: str | None, class_count: int | None, *, folder: str = "") -> Skeletons:
        """Read a list of skeletons with these options; see ``read_skeletons``."""
        skeletons = read_skeletons(
            path, subset=subset, folder=folder, box_thr=self.box_thr, valid_ratio=self.valid_ratio,
            class_count=class_count,
        )  # fmt: skip
        if (first := skeletons.joints[0]) is not None and first.shape[2] != self.joints:
            rule = f"the skeletons of {path} have {first.shape[2]} joints"
            raise ConfigError(rule, key="data.joints", value=self.joints)
        return skeletons
