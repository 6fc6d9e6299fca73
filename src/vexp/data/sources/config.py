"""The ``data`` group: which videos, in which splits, in batches of what size."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from vexp.core.errors import ConfigError, MissingInputError, UserError, raise_all
from vexp.core.fields import ValidatedConfig, option
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.folders import read_folder
from vexp.data.annotations.list_files import FORMATS, find_lists, read_list
from vexp.data.decoding import OWN_COLOR, VIDEO_BACKENDS, check_installed
from vexp.data.sources.base import Source, VideoSource
from vexp.data.sources.splits import SPLITS, Split, TrainSplit


@dataclass(kw_only=True, slots=True)
class Data(ValidatedConfig, ABC):
    """Base of every data option. One's own data set subclasses it and defines ``source``."""

    batch_size: int = option(
        8,
        "samples in a batch on each device",
        unit="samples",
        ge=1,
        see=("grad.accumulate", "optimizer.base_batch_size"),
    )
    eval_batch_size: int | None = option(
        None, "samples in a batch of evaluation; null: batch_size", unit="samples", ge=1
    )
    num_workers: int | None = option(
        None,
        "processes that make samples (0: none); null: one a core, at most 8. Never changes a result",
        unit="processes",
        ge=0,
    )
    mp_context: str | None = option(
        None,
        "how the processes of num_workers start; null: fork, where there is one",
        choices=("fork", "spawn", "forkserver"),
    )
    decoding_backend: str = option(
        "auto",
        "what decodes; auto: av, the fastest. All give the same frames, or refuse a file",
        choices=VIDEO_BACKENDS,
    )
    exact_color: bool = option(False, "only backends whose pixels are equal to the bit: auto, av (at no cost)")
    strict: bool = option(False, "the codec looks for damage that it would pass over (auto, av); finds more, not all")
    on_error: str = option(
        "fail", "a sample that cannot be read ends the run, or is replaced and noted", choices=("fail", "skip")
    )
    max_bad_fraction: float = option(0.05, "part of a split that on_error=skip goes on without", ge=0, le=1)
    sample_timeout: float | None = option(
        300.0, "a worker that is longer at a sample hangs and is killed (null: never)", unit="seconds", gt=0
    )
    default_epochs: int = option(
        30, "length of training unless epochs or max_steps is set", unit="epochs", ge=1, see=("epochs", "max_steps")
    )
    classes: str | None = option(
        None, "file with one class name a line, in the order of the labels; null: from the lists or folders"
    )
    directional: bool = option(
        False, "left and right differ in meaning: steps that mirror are refused; or give flip_label_map"
    )
    flip_label_map: dict[str, str] = option({}, "what a class becomes when a clip is mirrored, by name: {left: right}")
    split_seed: int = option(
        0, "seed of hold_out and of a fraction in indices; apart from the run's seed, so that runs compare", ge=0
    )
    train: TrainSplit = option(TrainSplit, "the samples that are trained on, and their order")
    val: Split = option(Split, "the samples of every evaluation during training")
    test: Split = option(Split, "the samples of python -m vexp.cli.evaluate split=test")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        for name in SPLITS:
            if self.split(name).from_split == name:
                raise ValueError(f"{name}.from_split={name}: takes the samples of another split; set it to null")
        self.check_decoding()

    def check_decoding(self) -> None:
        """Whether the backend can do what is asked of it.

        Raises:
            ValueError: it cannot.
        """
        if self.decoding_backend not in OWN_COLOR:
            for name, asked in (("exact_color", self.exact_color), ("strict", self.strict)):
                if asked:
                    raise ValueError(
                        f"{name}=true and decoding_backend={self.decoding_backend}: it hands over the pixels that its "
                        "own FFmpeg made; set decoding_backend to av (or auto)"
                    )

    def split(self, name: str) -> Split:
        """The options of a split by its name."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def check_files(self) -> None:
        """Look whether the lists and folders that ``source`` reads are there, before anything slow begins.

        Raises:
            UserError: one is not; or the package of the decoding backend is not installed.
        """
        check_installed(self.decoding_backend)

    def prepare(self) -> None:
        """Make what the option makes by itself; after it the samples of every ``source`` can be read."""

    def missing_split_error(self, split: str) -> ConfigError | None:
        """The error of a split whose samples no key names; None if one does."""
        return None

    @abstractmethod
    def source(self, split: str) -> Source | None:
        """All samples that ``split`` ("train", "val", "test") lists; None where it lists none.

        Raises:
            UserError: a list or folder that cannot be read, or a bad line in it.
        """

    def videos(self, rows: Annotation) -> VideoSource:
        """The source of video files, decoded as the options say."""
        return VideoSource(rows, backend=self.decoding_backend, strict=self.strict)

    def samples(self, split: str) -> Source | None:
        """The samples that ``split`` trains or evaluates on: ``source``, less what is held out, and of that what its
        ``indices`` and then its ``per_class`` choose; None where the split is not there.

        Raises:
            UserError: as ``source``; indices outside, or nothing left.
        """
        from vexp.data.sources import subsets

        return subsets.samples(self, split)


@dataclass(kw_only=True, slots=True)
class ListData(Data, ABC):
    """Base of the data options whose splits are list files."""

    format: str = option(
        "auto", "format of the lists; auto: recognised from the file, and said in the log", choices=("auto", *FORMATS)
    )
    separator: str | None = option(
        None,
        "what stands between path and label or between columns; null: as format has it (blank, comma, tab)",
        check=lambda value: None if value else "must not be empty; null: as format has it",
    )
    multi_label: bool | None = option(None, "a sample may have several labels; null: if one of the training list has")
    file_name: str | None = option(
        None, "file of a sample, from the row's columns: '{label}/{youtube_id}.mp4'; null: as the data set is published"
    )
    verify_files: bool = option(False, "look for every listed file before training, and name all that are missing")

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        if error := self.missing_split_error("train"):
            raise error

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if options.ann_file is None and options.from_split is None and options.hold_out is None:
            return ConfigError(f"name the list file of the {split} split", key=f"{split}.ann_file", value=None)
        return None

    def check_files(self) -> None:
        Data.check_files(self)
        missing: list[ConfigError] = []
        for name in SPLITS:
            ann_file = self.split(name).ann_file
            if ann_file is not None and not find_lists(_path(ann_file)):
                missing.append(MissingInputError("no such file", key=f"data.{name}.ann_file", value=ann_file))
        if self.classes is not None and not _path(self.classes).is_file():
            missing.append(MissingInputError("no such file", key="data.classes", value=self.classes))
        raise_all(missing)

    def annotation(self, split: str) -> Annotation | None:
        """The rows of a split's list; classes are numbered as in the training list, or as ``classes`` says."""
        if self.split(split).ann_file is None:
            return None
        names, multi_label = read_classes(_path(self.classes)) if self.classes else None, self.multi_label
        if split != "train" and self.train.ann_file is not None and (names is None or multi_label is None):
            train = self._read("train", names, multi_label)
            names, multi_label = train.classes, train.multi_label
        return self._read(split, names, multi_label)

    def _read(self, split: str, classes: list[str] | None, multi_label: bool | None) -> Annotation:
        options = self.split(split)
        return read_list(
            _path(str(options.ann_file)), format=self.format, split=split, classes=classes, multi_label=multi_label,
            prefix=str(_path(options.data_prefix)) if options.data_prefix else "", separator=self.separator,
            file_name=self.file_name, verify=self.verify_files,
        )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class VideoList(ListData):
    """Video files named by list files (mmaction2's VideoDataset)."""

    def source(self, split: str) -> Source | None:
        rows = self.annotation(split)
        if rows is not None and rows.format.startswith("frames"):
            raise UserError(f"{rows.origin}: this data option reads video files, not folders of frames")
        return self.videos(rows) if rows is not None else None


@dataclass(kw_only=True, slots=True)
class Folder(Data):
    """A folder per split with a folder per class in it: ``root/train/CLASS/*.mp4``, ``root/val/CLASS/*.mp4``."""

    root: str | None = option(None, "folder that holds train/, val/ and maybe test/; or name each by data_prefix")

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        if self.root is None and self.train.data_prefix is None:
            raise ValueError("root=null: name the folder that holds train/ and val/")

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if self.root or options.data_prefix or options.from_split or options.hold_out:
            return None
        rule = f"name the folder of the {split} split, or root for both"
        return ConfigError(rule, key=f"{split}.data_prefix", value=None)

    def check_files(self) -> None:
        Data.check_files(self)
        missing: list[ConfigError] = []
        for name in SPLITS:
            folder = self._folder(name) if self.split(name).from_split is None else None
            if folder is not None and not folder.is_dir():
                rule = f"no folder {folder}; it must hold a folder of videos for each class"
                missing.append(MissingInputError(rule, key=f"data.{name}"))
        raise_all(missing)

    def source(self, split: str) -> Source | None:
        folder, train = self._folder(split), self._folder("train")
        if folder is None:
            return None
        names = read_classes(_path(self.classes)) if self.classes else None
        if names is None and split != "train" and train is not None:
            names = read_folder(train, None).classes  # one numbering for all
        return self.videos(read_folder(folder, names))

    def _folder(self, split: str) -> Path | None:
        options = self.split(split)
        if options.data_prefix is not None:
            return _path(options.data_prefix)
        if options.hold_out is not None:
            return None
        folder = _path(self.root) / split if self.root is not None else None
        if split == "test" and folder is not None and not folder.is_dir():
            return None  # a test split is optional
        return folder


@dataclass(kw_only=True, slots=True)
class Motion(Data):
    """The embedded set: eight classes that differ only in motion, made on first use as real H.264 files."""

    cache_dir: str | None = option(None, "folder in which the set is made; null: $VEXP_CACHE or ~/.cache/vexp")
    motion_seed: int = option(0, "seed of the videos: another number is another set", ge=0)
    train_clips: int = option(60, "training clips of each class", unit="clips", ge=1)
    val_clips: int = option(16, "validation clips of each class", unit="clips", ge=1)

    def prepare(self) -> None:
        from vexp.data.sources import motion

        motion.ensure_motion(self._cache(), **self._size(), progress=_say_first)

    def source(self, split: str) -> Source | None:
        from vexp.data.sources import motion

        if split == "test":
            return None
        clips = motion.listing(split, self.train_clips if split == "train" else self.val_clips)
        names, labels = [path for path, _, _ in clips], [label for _, label, _ in clips]
        folder = motion.folder_of(self._cache(), **self._size())
        return self.videos(Annotation.pack(names, labels, motion.CLASSES, prefix=str(folder)))

    def _cache(self) -> Path:
        return _path(self.cache_dir or os.environ.get("VEXP_CACHE") or "~/.cache/vexp")

    def _size(self) -> dict[str, int]:
        return {"seed": self.motion_seed, "train_clips": self.train_clips, "val_clips": self.val_clips}


def _say_first(done: int, total: int) -> None:
    if done == 1:
        print(f"making the {total} videos of the embedded set, once ...", file=sys.stderr, flush=True)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
