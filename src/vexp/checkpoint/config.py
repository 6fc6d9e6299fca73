"""The ``checkpoint`` group: when checkpoints are written, where, and how many are kept."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option
from vexp.core.interval import Interval


def _limit_rule(value: int) -> str | None:
    return None if value == -1 or value > 0 else "must be > 0, or -1 for no limit"


@dataclass(kw_only=True, slots=True)
class Checkpoint(ValidatedConfig):
    """Periodic checkpoints (mmcv's ``checkpoint_config``). The best one (eval.save_best) is kept in addition."""

    interval: int = option(-1, "Interval between checkpoints; -1: never.", unit="epochs (steps)")
    by_epoch: bool = option(True, "Count the interval in epochs; false: in optimizer steps.")
    save_optimizer: bool = option(True, "Save the optimizer state, which resuming needs; false: weights only.")
    out_dir: str | None = option(None, "Folder of the checkpoints; null: checkpoints/ of the run folder.")
    max_keep_ckpts: int = option(
        -1, "Number of periodic checkpoints kept, the newest; -1: all.", unit="checkpoints", check=_limit_rule
    )
    save_last: bool = option(True, "Write one after the last step, whatever the interval.")
    background: bool = option(
        True, "Write from a copy in memory while training continues; false: training waits, which needs no copy."
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self.every()

    def every(self) -> Interval:
        """The interval of periodic checkpoints."""
        return Interval(self.interval, self.by_epoch)

    def name(self, step: int, steps_per_epoch: int) -> str:
        """File name: ``epoch_3.pth`` if epochs are counted and ``step`` ends one, else ``step_60.pth``."""
        if self.by_epoch and step % steps_per_epoch == 0:
            return f"epoch_{step // steps_per_epoch}.pth"
        return f"step_{step}.pth"
