"""The ``log`` group: how often training speaks, and to whom."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.fields import Checked, option


@dataclass(kw_only=True, slots=True)
class Log(Checked):
    """Logging during training (mmcv's ``log_config``). The text log and metrics.jsonl are always written."""

    interval: int = option(10, "optimizer steps between log lines", unit="steps", ge=1)
    by_epoch: bool = option(True, "count the steps within each epoch; false: over the whole run")
    ignore_last: bool = option(True, "leave out the line of an epoch's last steps if they are fewer than interval")
    reset_flag: bool = option(False, "average only what came since the last line; false: the last interval steps")
    tensorboard: bool = option(False, "write event files, too: tensorboard --logdir RUN")

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a line is written after ``step`` completed optimizer steps."""
        counted = (step - 1) % steps_per_epoch + 1 if self.by_epoch else step
        epoch_ends = step % steps_per_epoch == 0
        return counted % self.interval == 0 or (epoch_ends and not self.ignore_last)
