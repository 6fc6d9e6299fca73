"""Options of a split (``data.train``, ``data.val``, ``data.test``): its list and the selection of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.data.storage import prefix_rule

SPLITS = ("train", "val", "test")


def _indices_rule(value: Any) -> str | None:
    if isinstance(value, float) and 0 < value < 1:
        return None
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) and value != 0:
        return None
    rule = "must be a number of samples (not 0; negative: the last ones), a fraction between 0 and 1"
    return f"{rule}, or a list of sample indices"


def _text_rule(value: Any) -> str | None:
    return (
        None
        if value and all(isinstance(text, str) and text for text in _texts(value))
        else "must be a path or a list of paths"
    )


def _prefix_rule(value: Any) -> str | None:
    return _text_rule(value) or next(filter(None, map(prefix_rule, _texts(value))), None)


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _balance_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        return None
    return "must be a number, or a list of them"


def _numbers_rule(value: Any) -> str | None:
    numbers = value if isinstance(value, list) else [value]
    return _balance_rule(value) or (None if all(n > 0 for n in numbers) else "must be > 0")


@dataclass(kw_only=True, slots=True)
class Split(ValidatedConfig):
    """List of the samples of a split, and which of them are used."""

    ann_file: Any = option(
        None,
        "Annotation file of the split, or a list of several.",
        accepts="text or list of text, or null",
        check=_text_rule,
    )
    data_prefix: Any = option(
        None,
        "Folder that the paths in the annotation file are relative to, or one for each file; null: that of the file. "
        "Also an archive (clips.zip, shard-{0000..0099}.tar), a URL (https://..., s3://...), or an environment "
        "variable that holds one ($CLIPS_URL).",
        accepts="text or list of text, or null",
        check=_prefix_rule,
    )
    from_split: str | None = option(None, "Split whose selected samples are used instead.", choices=SPLITS)
    hold_out: float | None = option(
        None,
        "Fraction of the training samples that is held out for this split, in whole groups and from every class.",
        gt=0,
        lt=1,
    )
    indices: Any = option(
        None,
        "Use only these samples: n (the first n), -n (the last n), 0.1 (a tenth of every class by split_seed), or a "
        "list.",
        unit="samples",
        accepts="int, float or list of int, or null",
        check=_indices_rule,
    )
    per_class: int | None = option(
        None, "Maximum number of samples of each class; the first ones are used.", unit="samples", ge=1
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.hold_out is not None and (self.ann_file or self.data_prefix or self.from_split):
            rule = "takes its samples from the training split; set ann_file, data_prefix and from_split to null"
            raise ConfigError(rule, key="hold_out", value=self.hold_out)
        if isinstance(self.data_prefix, list) and len(self.data_prefix) != len(self.ann_files):
            rule = f"has {len(self.data_prefix)} folders, ann_file has {len(self.ann_files)} files; give one for each"
            raise ConfigError(rule, key="data_prefix", value=self.data_prefix)

    @property
    def ann_files(self) -> list[str]:
        """``ann_file`` as a list; empty if it is null."""
        return _texts(self.ann_file)

    @property
    def prefixes(self) -> list[str]:
        """``data_prefix`` of each annotation file; empty: the folder of the file."""
        return (
            self.data_prefix if isinstance(self.data_prefix, list) else [self.data_prefix or ""] * len(self.ann_files)
        )


@dataclass(kw_only=True, slots=True)
class TrainSplit(Split):
    """Options of the training split, including the order of its samples."""

    shuffle: bool = option(True, "Shuffle the samples in every epoch (a function of seed and epoch).")
    class_balance: Any = option(
        0.0,
        "Oversampling of rare classes: 0 none, 1 as often as common classes, 0.5 in between; or a number for each file "
        "of ann_file.",
        accepts="float or list of float",
        ge=0,
        le=1,
        check=_balance_rule,
    )
    repeat: Any = option(
        1,
        "Passes through the samples in an epoch, or through those of each file of ann_file; 0.5: half, in turn.",
        unit="passes",
        accepts="float or list of float",
        check=_numbers_rule,
    )
    ratio: list[float] | None = option(
        None,
        "Samples of each file of ann_file in an epoch, in proportion to those of the first, which occur once: [2,1]; "
        "null: see repeat. With mix=steps: optimizer steps of each file in turn.",
        gt=0,
    )
    mix: str = option(
        "samples",
        "How the files of ann_file are mixed: in every batch (samples), or in batches of one file each: an optimizer "
        "step takes one file, in turn by ratio (steps), or a batch of each file and the sum of their losses (losses). "
        "Unless it is samples, an epoch is a pass through the first file.",
        choices=("samples", "steps", "losses"),
    )
    batch_sizes: list[int] | None = option(
        None,
        "Samples in a batch of each file of ann_file on each device, unless mix=samples; null: data.batch_size.",
        unit="samples",
        ge=1,
    )
    own_classes: bool = option(
        False,
        "The files after the first number classes of their own, for the second classifier of a model (mix=losses): "
        "images in joint training.",
        see=("model.image_classes",),
    )
    one_per_group: bool = option(
        False, "Draw one random sample of each group in an epoch, such as one part of each raw video."
    )
    repeat_augment: int = option(
        1,
        "Samples of each video in a batch: the same frames, augmented independently (repeated augmentation). "
        "batch_size, epochs and base_batch_size count videos.",
        unit="samples",
        ge=1,
        see=("data.batch_size", "optimizer.base_batch_size"),
    )
    drop_last: bool = option(False, "Drop the last optimizer step of an epoch if it is incomplete.")

    def __post_init__(self) -> None:
        Split.__post_init__(self)
        if self.hold_out is not None:
            raise ConfigError("is for val and test only", key="hold_out", value=self.hold_out)
        for name in ("repeat", "ratio", "class_balance", "batch_sizes"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != len(self.ann_files):
                rule = f"has {len(value)} numbers, ann_file has {len(self.ann_files)} files; give one for each"
                raise ConfigError(rule, key=name, value=value)
        if self.ratio is not None and self.repeat != 1:
            raise ConfigError(f"conflicts with repeat={self.repeat}; set one of them", key="ratio", value=self.ratio)
        self._check_mix()
        unshuffled = {"class_balance": 0, "repeat": 1, "ratio": None, "one_per_group": False, "mix": "samples"}
        for name, off in unshuffled.items():
            if getattr(self, name) != off and not self.shuffle:
                raise ConfigError("requires shuffle=true", key=name, value=getattr(self, name))

    def _check_mix(self) -> None:
        if self.mix == "samples" and self.batch_sizes is not None:
            raise ConfigError("is for mix=steps and mix=losses", key="batch_sizes", value=self.batch_sizes)
        if self.own_classes and (self.mix != "losses" or self.per_class is not None):
            rule = "requires mix=losses" if self.mix != "losses" else "conflicts with per_class; set one of them"
            raise ConfigError(rule, key="own_classes", value=True)
        if self.mix == "samples":
            return
        if len(self.ann_files) < 2:
            raise ConfigError("requires several files in ann_file", key="mix", value=self.mix)
        if isinstance(self.repeat, list):
            rule = f"must be one number with mix={self.mix}: an epoch is a pass through the first file"
            raise ConfigError(rule, key="repeat", value=self.repeat)
        if self.ratio is not None and (self.mix == "losses" or any(share % 1 for share in self.ratio)):
            rule = "is not for mix=losses" if self.mix == "losses" else "must be whole numbers of steps with mix=steps"
            raise ConfigError(rule, key="ratio", value=self.ratio)
