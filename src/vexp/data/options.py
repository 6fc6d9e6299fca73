"""The ``data`` group: which videos, in which splits, in batches of what size."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vexp.data.source import Source, VideoSource
from vexp.errors import UserError
from vexp.fields import Checked, option

SPLITS = ("train", "val", "test")


def _int_or_ints(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers) or value == 0:
        return "must be a number of samples (not 0; negative: the last ones) or a list of sample numbers"
    return None


@dataclass(kw_only=True, slots=True)
class Split(Checked):
    """Where one split's samples are listed."""

    ann_file: str | None = option(None, "list file of the split")
    data_prefix: str | None = option(None, "folder that paths of the list are relative to; null: the list's own folder")
    from_split: str | None = option(None, "take the samples of this split instead, with its indices", choices=SPLITS)
    indices: Any = option(None, "only these samples: n = the first n, -n = the last n, a list", check=_int_or_ints)


@dataclass(kw_only=True, slots=True)
class TrainSplit(Split):
    shuffle: bool = option(True, "a new random order every epoch (a function of seed and epoch)")
    drop_last: bool = option(False, "leave out an epoch's last optimizer step if it has fewer samples")


@dataclass(kw_only=True, slots=True)
class Data(Checked, ABC):
    """Base of every data option. One's own data set subclasses it and defines ``source``."""

    batch_size: int = option(8, "samples in a batch on each device", unit="samples", ge=1)
    eval_batch_size: int | None = option(None, "the same for evaluation; null: batch_size", unit="samples", ge=1)
    num_workers: int | None = option(
        None, "processes that make samples (0: none); null: one a core, at most 8. Never changes a result", ge=0
    )
    decoding_backend: str = option("auto", "what decodes videos", choices=("auto", "av"))
    on_error: str = option("fail", "what a sample that cannot be read does: end the run", choices=("fail",))
    default_epochs: int = option(30, "length of training unless epochs or max_steps is set", unit="epochs", ge=1)
    classes: str | None = option(None, "file with one class name a line")
    directional: bool = option(False, "left and right differ in meaning: mirroring is refused")
    flip_label_map: dict[str, str] = option({}, "what a class becomes when mirrored, by name: {left: right}")
    train: TrainSplit = field(default_factory=TrainSplit)
    val: Split = field(default_factory=Split)
    test: Split = field(default_factory=Split)

    def split(self, name: str) -> Split:
        """The options of a split by its name."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def check_files(self) -> None:
        """Look whether the lists and folders that ``source`` reads are there, before anything slow begins.

        Raises:
            UserError: one is not.
        """

    @abstractmethod
    def source(self, split: str) -> Source | None:
        """The samples of ``split`` ("train", "val", "test"); None where the split is not there.

        Raises:
            UserError: a list or folder that cannot be read, or a bad line in it.
        """


@dataclass(kw_only=True, slots=True)
class VideoList(Data):
    """Video files listed in text files, ``path label`` a line (mmaction2's VideoDataset)."""

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for name in ("train", "val"):
            if self.split(name).ann_file is None and self.split(name).from_split is None:
                raise ValueError(f"{name}.ann_file=null: name the list file of the {name} split")

    def check_files(self) -> None:
        for name in SPLITS:
            ann_file = self.split(name).ann_file
            if ann_file is not None and not _path(ann_file).is_file():
                raise UserError(f"data.{name}.ann_file={ann_file}: no such file")

    def source(self, split: str) -> Source | None:
        from vexp.data import annotation

        options = self.split(split)
        if options.ann_file is None:
            return None
        names = annotation.read_classes(_path(self.classes)) if self.classes else None
        if names is None and split != "train" and self.train.ann_file is not None:
            names = annotation.read_video_list(_path(self.train.ann_file), "", None).classes  # one numbering for all
        prefix = str(_path(options.data_prefix)) if options.data_prefix else ""
        rows = annotation.read_video_list(_path(options.ann_file), prefix, names)
        return VideoSource(annotation.pick(rows, options.indices, f"data.{split}.indices"))


@dataclass(kw_only=True, slots=True)
class Folder(Data):
    """A folder per split with a folder per class in it: ``root/train/CLASS/*.mp4``, ``root/val/CLASS/*.mp4``."""

    root: str | None = option(None, "folder that holds train/, val/ and maybe test/; or name each by data_prefix")

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.root is None and self.train.data_prefix is None:
            raise ValueError("root=null: name the folder that holds train/ and val/")
        if self.root is None and self.val.data_prefix is None and self.val.from_split is None:
            raise ValueError("val.data_prefix=null: name the folder of the val split, or root for both")

    def check_files(self) -> None:
        for name in SPLITS:
            folder = self._folder(name) if self.split(name).from_split is None else None
            if folder is not None and not folder.is_dir():
                raise UserError(f"data.{name}: no folder {folder}; it must hold a folder of videos for each class")

    def source(self, split: str) -> Source | None:
        from vexp.data import annotation

        folder, train = self._folder(split), self._folder("train")
        if folder is None:
            return None
        names = annotation.read_classes(_path(self.classes)) if self.classes else None
        if names is None and split != "train" and train is not None:
            names = annotation.read_folder(train, None).classes  # one numbering for all
        rows = annotation.read_folder(folder, names)
        return VideoSource(annotation.pick(rows, self.split(split).indices, f"data.{split}.indices"))

    def _folder(self, split: str) -> Path | None:
        prefix = self.split(split).data_prefix
        if prefix is not None:
            return _path(prefix)
        folder = _path(self.root) / split if self.root is not None else None
        if split == "test" and folder is not None and not folder.is_dir():
            return None  # a test split is optional
        return folder


@dataclass(kw_only=True, slots=True)
class Motion(Data):
    """The embedded set: eight classes that differ only in motion, made on first use as real H.264 files."""

    cache_dir: str | None = option(None, "where it is made; null: $VEXP_CACHE or ~/.cache/vexp")
    motion_seed: int = option(0, "another number is another set", ge=0)
    train_clips: int = option(60, "training clips a class", ge=1)
    val_clips: int = option(16, "validation clips a class", ge=1)

    def source(self, split: str) -> Source | None:
        from vexp.data import annotation, motion

        if split == "test":
            return None
        cache = _path(self.cache_dir or os.environ.get("VEXP_CACHE") or "~/.cache/vexp")
        root = motion.ensure_motion(
            cache, seed=self.motion_seed, train_clips=self.train_clips, val_clips=self.val_clips, progress=_say_first
        )
        rows = annotation.read_video_list(root / f"{split}.txt", "", annotation.read_classes(root / "classes.txt"))
        return VideoSource(annotation.pick(rows, self.split(split).indices, f"data.{split}.indices"))


def _say_first(done: int, total: int) -> None:
    if done == 1:
        print(f"making the {total} videos of the embedded set, once ...", file=sys.stderr, flush=True)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
