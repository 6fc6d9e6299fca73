"""The ``data`` group: the videos of each split, how they are decoded, batched and loaded."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vexp.core.errors import UNSET, ConfigError, MissingInputError, UserError, raise_all
from vexp.core.fields import ValidatedConfig, option
from vexp.data import storage
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.folders import read_folder
from vexp.data.annotations.list_files import FORMATS, find_lists, read_lists
from vexp.data.decoding import FRAME_BACKENDS, OWN_COLOR, VIDEO_BACKENDS, check_installed
from vexp.data.sources.base import Source, VideoSource
from vexp.data.sources.raw_frames import TEMPLATES, RawFrameSource
from vexp.data.sources.splits import SPLITS, Split, TrainSplit

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Data(ValidatedConfig, ABC):
    """Base class of the data options. A custom dataset subclasses it and defines ``source``."""

    #: What is predicted for a sample: the name of a task of ``vexp.task``, or a plugin's subclass of ``Task``.
    task: ClassVar[Any] = "recognition"
    #: Of the samples: "frames", "joints" of skeletons, or "features", which need no pipeline.
    content: ClassVar[str] = "frames"

    batch_size: int = option(
        8,
        "Samples in a batch on each device.",
        unit="samples",
        ge=1,
        see=("grad.accumulate", "optimizer.base_batch_size"),
    )
    eval_batch_size: int | None = option(
        None, "Samples in an evaluation batch; null: batch_size.", unit="samples", ge=1
    )
    num_workers: int | None = option(
        None,
        "Worker processes that load samples (0: none); null: one for each core, at most 8. Does not change results.",
        unit="processes",
        ge=0,
        le=256,
    )
    mp_context: str | None = option(
        None,
        "Start method of the workers; null: fork, but spawn on macOS and Windows.",
        choices=("fork", "spawn", "forkserver"),
    )
    decoding_backend: str = option(
        "auto",
        "Video decoder; auto: av, the fastest on a CPU; torchcodec_cuda: on a GPU (not measured). All return the same "
        "frames or reject a file.",
        choices=VIDEO_BACKENDS,
    )
    exact_color: bool = option(False, "Allow only decoders with bit-exact colors: auto, av.")
    strict: bool = option(
        False, "Make the codec report damage that it would otherwise conceal (auto, av); detects more, not all."
    )
    on_error: str = option(
        "fail",
        "Whether a sample that cannot be read ends the run or is skipped and recorded.",
        choices=("fail", "skip"),
    )
    max_bad_fraction: float = option(
        0.05, "Maximum fraction of unreadable samples in a split before the run fails (on_error=skip).", ge=0, le=1
    )
    sample_timeout: float | None = option(
        300.0,
        "Time after which a worker stuck on one sample is killed; null: never.",
        unit="seconds",
        gt=0,
        infinite=True,
    )
    default_epochs: int = option(
        30, "Training length unless epochs or max_steps is set.", unit="epochs", ge=1, see=("epochs", "max_steps")
    )
    classes: str | None = option(
        None, "File with one class name per line, in label order; null: from the lists or folders."
    )
    cache_features: bool = option(
        False,
        "Compute the input of the trained part of the model once per video and keep it in $VEXP_CACHE/features; the "
        "encoder must be frozen and the pipelines without random transforms.",
        see=("model.freeze", "model.probe"),
    )
    cache: str | None = option(
        None,
        "proxy: write MJPEG copies of the training videos to $VEXP_CACHE/proxies during the first epoch and read them "
        "from the second one on; their pixels differ from the originals'. Evaluation reads the originals.",
        choices=("proxy",),
        see=("data.cache_size", "data.cache_short_side"),
    )
    cache_size: float = option(
        100.0, "Maximum size of the copies of cache=proxy; other videos are read from their originals.", unit="GB", gt=0
    )
    cache_short_side: int = option(
        256, "Short side of the copies of cache=proxy, which are never enlarged.", unit="pixels", ge=16
    )
    directional: bool = option(
        False, "Left and right differ in meaning: transforms that mirror are rejected unless flip_label_map is set."
    )
    flip_label_map: dict[str, str] = option(
        {}, "Class that each class becomes when a clip is mirrored, by name: {left: right}."
    )
    split_seed: int = option(
        0, "Seed of hold_out and of a fraction in indices; independent of the run's seed, so that runs compare.", ge=0
    )
    train: TrainSplit = option(TrainSplit, "Training samples and their order.")
    val: Split = option(Split, "Samples of the evaluations during training.")
    test: Split = option(Split, "Samples of vexp evaluate split=test.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        for name in SPLITS:
            if self.split(name).from_split == name:
                raise ConfigError("must be another split, or null", key=f"{name}.from_split", value=name)
        self.check_decoding()
        if self.cache is not None:
            self.check_cache()

    def check_cache(self) -> None:
        """Check that ``cache`` can be used for these data.

        Raises:
            ConfigError: If the samples are not clips of video files, or are read only once.
        """
        if self.task != "recognition" or self.content != "frames":
            rule = "is for the clips of recognition, which are read from video files; set it to null"
            raise ConfigError(rule, key="cache", value=self.cache)
        if self.cache_features:
            rule = "conflicts with cache_features=true, which reads every video once; set it to null"
            raise ConfigError(rule, key="cache", value=self.cache)

    def check_decoding(self) -> None:
        """Check that the decoding backend supports the other options.

        Raises:
            ConfigError: If it does not support ``exact_color`` or ``strict``.
        """
        if self.decoding_backend in OWN_COLOR:
            return
        if self.decoding_backend == "torchcodec_cuda" and self.num_workers != 0 and self.mp_context in (None, "fork"):
            rule = "must be spawn with decoding_backend=torchcodec_cuda: a forked worker cannot use a GPU"
            raise ConfigError(rule, key="mp_context", value=self.mp_context, hint="; or set num_workers=0")
        for name, enabled in (("exact_color", self.exact_color), ("strict", self.strict)):
            if enabled:
                rule = (
                    f"is not supported by decoding_backend={self.decoding_backend}, which converts frames with its own "
                    "FFmpeg; set decoding_backend to av (or auto)"
                )
                raise ConfigError(rule, key=name, value=True)

    def split(self, name: str) -> Split:
        """Return the options of a split by its name."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def check_files(self) -> None:
        """Check that the lists and folders that ``source`` reads exist, before anything slow begins.

        Raises:
            MissingInputError: If a list or folder does not exist.
            UserError: If the package of the decoding backend is not installed.
        """
        check_installed(self.decoding_backend)
        errors: list[ConfigError] = [
            MissingInputError(rule, key=f"data.{key}", value=value) for rule, key, value in self._missing()
        ]
        for key, value in self._prefixes():
            if rule := storage.problem(value):
                errors.append(ConfigError(rule, key=f"data.{key}", value=value))
        raise_all(errors)

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the rule, key and value of each list or folder that does not exist."""
        yield from ()

    def _prefixes(self) -> Iterator[tuple[str, str]]:
        """Yield the key and value of each prefix of files that may be in archives or on servers."""
        for name in SPLITS:
            prefix = self.split(name).data_prefix
            for text in prefix if isinstance(prefix, list) else [prefix] if prefix else []:
                yield f"{name}.data_prefix", text

    def _class_names(self) -> list[str] | None:
        """Read the file ``classes``; return None if the classes are those of the lists or folders."""
        return read_classes(absolute_path(self.classes)) if self.classes else None

    def prepare(self) -> None:
        """Create the data that this option generates; called before ``source``."""

    def missing_split_error(self, split: str) -> ConfigError | None:
        """Return the error of a split without samples, with the key to set; None if the split has some."""
        return None

    @abstractmethod
    def source(self, split: str) -> Source | None:
        """Return all samples listed for ``split`` ("train", "val", "test"); None if there is no list.

        ``vexp.data.sources.subsets.select_samples`` selects those that the split uses.

        Raises:
            UserError: If a list or folder cannot be read, or contains a bad line.
        """

    def video_source(self, rows: Annotation) -> VideoSource:
        """Return the source of listed video files, decoded with these options."""
        return VideoSource(rows, backend=self.decoding_backend, strict=self.strict)


@dataclass(kw_only=True, slots=True)
class ListData(Data, ABC):
    """Base class of the data options whose splits are list files."""

    format: str = option(
        "auto", "Format of the lists; auto: detected from the file and logged.", choices=("auto", *FORMATS)
    )
    separator: str | None = option(
        None,
        "Separator of path and label or of columns; null: that of the format (blank, comma, tab).",
        check=lambda value: None if value else "must not be empty; null: that of the format",
    )
    multi_label: bool | None = option(None, "Samples may have several labels; null: detected from the training list.")
    file_name: str | None = option(
        None,
        "File name of a sample, from the columns of its row: '{label}/{youtube_id}.mp4'; null: that of the published "
        "dataset.",
    )
    verify_files: bool = option(
        False, "Check before training that every listed file exists, and report all that are missing."
    )

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        if error := self.missing_split_error("train"):
            raise error

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if options.ann_file is None and options.from_split is None and options.hold_out is None:
            return ConfigError(f"set it to the list file of the {split} split", key=f"{split}.ann_file", value=None)
        return None

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        for name in SPLITS:
            for ann_file in self.split(name).ann_files:
                if not find_lists(absolute_path(ann_file)):
                    yield "no such file", f"{name}.ann_file", ann_file
        if self.classes is not None and not absolute_path(self.classes).is_file():
            yield "no such file", "classes", self.classes

    def annotation(self, split: str) -> Annotation | None:
        """Read the list of a split; classes are numbered as in the training list, or in the file ``classes``."""
        if self.split(split).ann_file is None:
            return None
        names, multi_label = self._class_names(), self.multi_label
        if split != "train" and self.train.ann_file is not None and (names is None or multi_label is None):
            train = self._read("train", names, multi_label)
            names, multi_label = train.classes, train.multi_label
        return self._read(split, names, multi_label)

    def _read(self, split: str, classes: list[str] | None, multi_label: bool | None) -> Annotation:
        options = self.split(split)
        return read_lists(
            [
                (absolute_path(ann_file), storage.prefix(prefix) if prefix else "")
                for ann_file, prefix in zip(options.ann_files, options.prefixes, strict=True)
            ],
            format=self.format,
            split=split,
            classes=classes,
            multi_label=multi_label,
            separator=self.separator,
            file_name=self.file_name,
            own_classes=split == "train" and self.train.own_classes,
            verify=self.verify_files,
        )


@dataclass(kw_only=True, slots=True)
class VideoList(ListData):
    """Video files listed in annotation files (mmaction2's VideoDataset), or images, which are videos of one frame."""

    def source(self, split: str) -> Source | None:
        rows = self.annotation(split)
        if rows is not None and "frames" in rows.format:
            raise UserError(f"{rows.origin}: lists folders of frames; for these set data=raw_frames")
        return self.video_source(rows) if rows is not None else None


@dataclass(kw_only=True, slots=True)
class RawFrames(ListData):
    """Folders with one image per frame, RGB or optical flow (mmaction2's RawframeDataset).

    The lines of a list are ``folder total_frames label`` or ``folder offset total_frames label``. Without a number of
    frames (``folder label``), the images in each folder are counted.
    """

    decoding_backend: str = option("auto", "Image decoder; all return the same pixels.", choices=FRAME_BACKENDS)
    modality: str = option(
        "RGB",
        "Content of a frame: an RGB image, or a pair of gray images, x and y of optical flow.",
        choices=tuple(TEMPLATES),
    )
    filename_tmpl: str | None = option(
        None, "File name of a frame by its number; null: img_{:05}.jpg, for Flow (x or y first) flow_{}_{:05d}.jpg."
    )
    start_index: int = option(1, "Number in the name of the first file of a folder.", ge=0)
    with_offset: bool = option(
        False, "Lines are 'folder offset total_frames label': part of a folder, starting at offset."
    )
    fps: float | None = option(
        None, "Rate at which the frames were extracted; required to sample by time.", unit="frames per second", gt=0
    )

    def __post_init__(self) -> None:
        ListData.__post_init__(self)
        if self.with_offset:
            if self.format not in ("auto", "frames_with_offset"):
                rule = "must be auto or frames_with_offset with with_offset=true"
                raise ConfigError(rule, key="format", value=self.format)
            self.format = "frames_with_offset"
        if not self._is_valid_template():
            fields = "two fields in braces, for x or y and" if self.modality == "Flow" else "one field in braces,"
            rule = f"needs {fields} for the number, as in {TEMPLATES[self.modality]}"
            raise ConfigError(rule, key="filename_tmpl", value=self.template)

    def _is_valid_template(self) -> bool:
        """Return whether each image gets its own file name."""
        components = [["x"], ["y"]] if self.modality == "Flow" else [[]]
        images = [[*component, number] for component in components for number in (1, 2)]
        try:
            return len({self.template.format(*image) for image in images}) == len(images)
        except (ValueError, IndexError, KeyError):
            return False

    def check_decoding(self) -> None:
        """Accept every backend: all of them return the same pixels and detect truncated files."""

    def check_cache(self) -> None:
        raise ConfigError("is for video files; frames are images already", key="cache", value=self.cache)

    @property
    def template(self) -> str:
        """``filename_tmpl``, or the default of the modality."""
        return TEMPLATES[self.modality] if self.filename_tmpl is None else self.filename_tmpl

    def source(self, split: str) -> Source | None:
        rows = self.annotation(split)
        if rows is None:
            return None
        return RawFrameSource(
            rows,
            template=self.template,
            start_index=self.start_index,
            flow=self.modality == "Flow",
            backend=self.decoding_backend,
            fps=self.fps,
        )


@dataclass(kw_only=True, slots=True)
class Folder(Data):
    """One folder per split, with one folder per class: ``root/train/CLASS/*.mp4``, ``root/val/CLASS/*.mp4``."""

    root: str | None = option(
        None,
        "Folder of train/, val/ and optionally test/, or an archive or a URL of it; or set data_prefix of each split.",
        check=storage.prefix_rule,
    )

    def __post_init__(self) -> None:
        Data.__post_init__(self)
        for name in SPLITS:
            if isinstance(prefix := self.split(name).data_prefix, list):
                raise ConfigError("must be one folder", key=f"{name}.data_prefix", value=prefix)
        if self.root is None and self.train.data_prefix is None:
            raise ConfigError("set it to the folder that contains train/ and val/", key="root", value=None)

    def missing_split_error(self, split: str) -> ConfigError | None:
        options = self.split(split)
        if self.root or options.data_prefix or options.from_split or options.hold_out:
            return None
        rule = f"set it to the folder of the {split} split, or set root"
        return ConfigError(rule, key=f"{split}.data_prefix", value=None)

    def _missing(self) -> Iterator[tuple[str, str, Any]]:
        if any(storage.problem(value) for _, value in self._prefixes()):
            return  # is reported with its key; the splits of an archive that does not exist are not known
        for name in SPLITS:
            folder = self._folder(name) if self.split(name).from_split is None else None
            if folder is not None and not storage.is_stored(folder) and not os.path.isdir(folder):
                yield f"no folder {folder}; it must contain a folder of videos for each class", name, UNSET

    def source(self, split: str) -> Source | None:
        folder, train = self._folder(split), self._folder("train")
        if folder is None:
            return None
        names = self._class_names()
        if names is None and split != "train" and train is not None:
            names = read_folder(train, None).classes  # all splits are numbered as the training split
        return self.video_source(read_folder(folder, names))

    def _prefixes(self) -> Iterator[tuple[str, str]]:
        yield from Data._prefixes(self)
        if self.root is not None:
            yield "root", self.root

    def _folder(self, split: str) -> str | None:
        options = self.split(split)
        if options.data_prefix is not None:
            return storage.prefix(options.data_prefix)
        if options.hold_out is not None or self.root is None:
            return None
        folder = os.path.join(storage.prefix(self.root), split)
        if split == "test" and not (storage.names(folder) if storage.is_stored(folder) else os.path.isdir(folder)):
            return None  # a test split is optional
        return folder


@dataclass(kw_only=True, slots=True)
class Motion(Data):
    """The built-in dataset: eight classes that differ only in motion, created as H.264 files on first use."""

    cache_dir: str | None = option(None, "Folder in which the dataset is created; null: $VEXP_CACHE or ~/.cache/vexp.")
    motion_seed: int = option(0, "Seed of the videos.", ge=0)
    train_clips: int = option(60, "Training clips per class.", unit="clips", ge=1)
    val_clips: int = option(16, "Validation clips per class.", unit="clips", ge=1)

    def prepare(self) -> None:
        from vexp.data.sources import motion

        motion.ensure_motion(**self._folder_args(), progress=log_first)

    def source(self, split: str) -> Source | None:
        from vexp.data.sources import motion

        if split == "test":
            return None
        clips = motion.listing(split, self.train_clips if split == "train" else self.val_clips)
        names, labels = [path for path, _, _ in clips], [label for _, label, _ in clips]
        folder = motion.folder_of(**self._folder_args())
        return self.video_source(Annotation.pack(names, labels, motion.CLASSES, prefix=str(folder)))

    def _folder_args(self) -> dict[str, Any]:
        clips = {"train_clips": self.train_clips, "val_clips": self.val_clips}
        return {"root": cache_folder(self.cache_dir), "seed": self.motion_seed, **clips}


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder of generated data: ``cache_dir``, or $VEXP_CACHE, or ~/.cache/vexp."""
    return absolute_path(cache_dir or os.environ.get("VEXP_CACHE") or "~/.cache/vexp")


def log_first(done: int, total: int) -> None:
    """Log once that data are generated."""
    if done == 1:
        logger.info("creating the %d videos of the built-in dataset, once ...", total)


def absolute_path(text: str) -> Path:
    """Return the absolute path of a path that the user wrote, with ~ for the home folder."""
    return Path(text).expanduser().absolute()
