"""The ``checkpoint`` group: when checkpoints are written, where, and how many are kept."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option
from vexp.core.interval import Interval


def _positive_or_unlimited(value: int) -> str | None:
    return None if value == -1 or value > 0 else "must be > 0, or -1 for no limit"


@dataclass(kw_only=True, slots=True)
class Checkpoint(ValidatedConfig):
    """The ``checkpoint`` group (mmcv's ``checkpoint_config``). The best one (eval.save_best) is kept beside these."""

    interval: int = option(-1, "from one checkpoint to the next; -1: never", unit="epochs (steps)")
    by_epoch: bool = option(True, "interval counts epochs; false: optimizer steps")
    save_optimizer: bool = option(True, "keep what resuming needs; false: weights only, which cannot be resumed")
    out_dir: str | None = option(None, "where checkpoints go; null: checkpoints/ of the run folder")
    max_keep_ckpts: int = option(
        -1, "newest periodic checkpoints kept; -1: all", unit="checkpoints", check=_positive_or_unlimited
    )
    save_last: bool = option(True, "write one after the last step whatever the interval")
    background: bool = option(
        True, "write from a copy in memory while training goes on; false: training waits, the copy is saved"
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self.every()

    def every(self) -> Interval:
        return Interval(self.interval, self.by_epoch)

    def name(self, step: int, steps_per_epoch: int) -> str:
        """``epoch_3.pth`` where ``step`` ends an epoch and epochs are counted, else ``step_60.pth``."""
        if self.by_epoch and step % steps_per_epoch == 0:
            return f"epoch_{step // steps_per_epoch}.pth"
        return f"step_{step}.pth"
