"""The ``log`` group: how often training speaks, and to whom."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option


@dataclass(kw_only=True, slots=True)
class Wandb(ValidatedConfig):
    """Weights & Biases. Needs ``pip install 'vexp[wandb]'``; an account only where the mode is online."""

    mode: str | None = option(
        None,
        "offline: into RUN/wandb, for wandb sync; online; auto: online where an account's key is found; null: none",
        choices=("auto", "online", "offline"),
    )
    project: str = option("vexp", "Weights & Biases project that the run is filed under")
    entity: str | None = option(None, "team or user that the run is filed under; null: the account's own")
    group: str | None = option(None, "name shared by runs that belong together")
    tags: list[str] = option([], "words to find the run by")


@dataclass(kw_only=True, slots=True)
class Log(ValidatedConfig):
    """Logging during training (mmcv's ``log_config``). The text log and metrics.jsonl are always written."""

    interval: int = option(
        10, "optimizer steps from one log line to the next", unit="steps", see=("log.by_epoch", "log.ignore_last"), ge=1
    )
    by_epoch: bool = option(True, "count the steps within each epoch; false: over the whole run")
    ignore_last: bool = option(True, "leave out the line of an epoch's last steps if they are fewer than interval")
    reset_flag: bool = option(False, "average only what came since the last line; false: the last interval steps")
    progress: bool = option(True, "a live line with the time left, where the output is a terminal")
    tensorboard: bool = option(False, "write event files, too: tensorboard --logdir RUN")
    csv: bool = option(False, "write metrics.csv, too, for a spreadsheet")
    wandb: Wandb = option(Wandb, "Weights & Biases: needs pip install 'vexp[wandb]'")

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a line is written after ``step`` completed optimizer steps."""
        counted = (step - 1) % steps_per_epoch + 1 if self.by_epoch else step
        epoch_ends = step % steps_per_epoch == 0
        return counted % self.interval == 0 or (epoch_ends and not self.ignore_last)
