"""Options of a split (``data.train``, ``data.val``, ``data.test``): its list and the selection of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option

SPLITS = ("train", "val", "test")


def _indices_rule(value: Any) -> str | None:
    if isinstance(value, float) and 0 < value < 1:
        return None
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) and value != 0:
        return None
    rule = "must be a number of samples (not 0; negative: the last ones), a fraction between 0 and 1"
    return f"{rule}, or a list of sample indices"


@dataclass(kw_only=True, slots=True)
class Split(ValidatedConfig):
    """List of the samples of a split, and which of them are used."""

    ann_file: str | None = option(None, "Annotation file of the split.")
    data_prefix: str | None = option(
        None, "Folder that the paths in the list are relative to; null: the folder of the list."
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


@dataclass(kw_only=True, slots=True)
class TrainSplit(Split):
    """Options of the training split, including the order of its samples."""

    shuffle: bool = option(True, "Shuffle the samples in every epoch (a function of seed and epoch).")
    class_balance: float = option(
        0.0, "Oversampling of rare classes: 0 none, 1 as often as common classes, 0.5 in between.", ge=0, le=1
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
        if self.class_balance and not self.shuffle:
            raise ConfigError("requires shuffle=true", key="class_balance", value=self.class_balance)
