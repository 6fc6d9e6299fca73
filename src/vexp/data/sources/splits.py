"""``data.train``, ``data.val``, ``data.test``: where a split's samples are listed, and which of them are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.core.fields import ValidatedConfig, option

SPLITS = ("train", "val", "test")


def _choice_of_samples(value: Any) -> str | None:
    if isinstance(value, float) and 0 < value < 1:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers) or value == 0:
        return (
            "must be a number of samples (not 0; negative: the last ones), a fraction between 0 and 1, or a list of "
            "sample numbers"
        )
    return None


@dataclass(kw_only=True, slots=True)
class Split(ValidatedConfig):
    """Where one split's samples are listed, and which of them are taken."""

    ann_file: str | None = option(None, "file that lists the samples of the split")
    data_prefix: str | None = option(None, "folder that paths of the list are relative to; null: the list's own folder")
    from_split: str | None = option(
        None, "take the samples of this split instead, as its own options choose them", choices=SPLITS
    )
    hold_out: float | None = option(
        None, "take this fraction of the training samples out of training, whole groups of every class", gt=0, lt=1
    )
    indices: Any = option(
        None,
        "only these samples: n = the first n, -n = the last n, 0.1 = a tenth of every class by split_seed, a list",
        unit="samples",
        accepts="int, float or list of int, or null",
        check=_choice_of_samples,
    )
    per_class: int | None = option(None, "at most so many samples of each class, the first", unit="samples", ge=1)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.hold_out is not None and (self.ann_file or self.data_prefix or self.from_split):
            raise ValueError(
                f"hold_out={self.hold_out}: takes its samples from the training split; set ann_file, data_prefix and "
                "from_split to null"
            )


@dataclass(kw_only=True, slots=True)
class TrainSplit(Split):
    """The training split: how its samples are ordered and drawn, too."""

    shuffle: bool = option(True, "a new random order every epoch (a function of seed and epoch)")
    class_balance: float = option(
        0.0,
        "how far rare classes are drawn more often: 0 not at all, 1 as often as common ones, 0.5 between",
        ge=0,
        le=1,
    )
    drop_last: bool = option(False, "leave out an epoch's last optimizer step if it has fewer samples")

    def __post_init__(self) -> None:
        Split.__post_init__(self)
        if self.hold_out is not None:
            raise ValueError(f"hold_out={self.hold_out}: is for val and test, whose samples come out of training")
        if self.class_balance and not self.shuffle:
            raise ValueError(f"class_balance={self.class_balance}: draws at random, so it needs shuffle=true")
