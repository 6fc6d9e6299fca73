"""The ``log`` group: logging interval and backends."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vexp.core.fields import ValidatedConfig, option


@dataclass(kw_only=True, slots=True)
class Wandb(ValidatedConfig):
    """Weights & Biases. Needs ``pip install 'vexp[wandb]'``, and an account for mode=online only."""

    mode: str | None = option(
        None,
        "offline: files in RUN/wandb for wandb sync; online; auto: online if an API key is found; null: disabled.",
        choices=("auto", "online", "offline"),
    )
    project: str = option("vexp", "W&B project of the run.")
    entity: str | None = option(None, "W&B team or user; null: the account's own.")
    group: str | None = option(None, "Name shared by runs that belong together.")
    tags: list[str] = option([], "Tags of the run.")


@dataclass(kw_only=True, slots=True)
class Mlflow(ValidatedConfig):
    """MLflow: the server of MLFLOW_TRACKING_URI, else the file mlflow.db. Needs ``pip install 'vexp[mlflow]'``."""

    experiment: str | None = option(None, "MLflow experiment of the run; null: disabled.")
    tags: dict[str, str] = option({}, "Tags of the run.")


@dataclass(kw_only=True, slots=True)
class Trackio(ValidatedConfig):
    """Trackio: a file below TRACKIO_DIR, or the Space of TRACKIO_SPACE_ID. Needs ``pip install 'vexp[trackio]'``."""

    project: str | None = option(None, "Trackio project of the run; null: disabled.")
    group: str | None = option(None, "Name shared by runs that belong together.")


@dataclass(kw_only=True, slots=True)
class Log(ValidatedConfig):
    """Logging during training (mmcv's ``log_config``). The text log and metrics.jsonl are always written."""

    interval: int = option(
        10, "Optimizer steps between log lines.", unit="steps", see=("log.by_epoch", "log.ignore_last"), ge=1
    )
    by_epoch: bool = option(True, "Count the steps within each epoch; false: over the whole run.")
    ignore_last: bool = option(True, "Skip the line of an epoch's last steps if they are fewer than interval.")
    reset_flag: bool = option(False, "Average over the steps since the last line; false: over the last interval steps.")
    progress: bool = option(True, "Progress bar with the time left, if the output is a terminal.")
    efficiency: bool = option(
        False,
        "Time the step alone on batches in memory after the first step, for three seconds, and log the share of its "
        "speed that training reaches; the run is the same to the bit.",
    )
    tensorboard: bool = option(False, "TensorBoard event files: tensorboard --logdir RUN.")
    plots: bool = option(True, "Plots: curves.png, and confusion.png of the evaluation.")
    csv: bool = option(False, "metrics.csv, for spreadsheets.")
    wandb: Wandb = option(Wandb, "Weights & Biases; needs pip install 'vexp[wandb]'.")
    mlflow: Mlflow = option(Mlflow, "MLflow, on a server or in a file; needs pip install 'vexp[mlflow]'.")
    trackio: Trackio = option(Trackio, "Trackio, in a file or a Space; needs pip install 'vexp[trackio]'.")
    timeout: float = option(
        60.0, "Time that a run waits for a backend to open, and to close; a later one never stops it.",
        unit="seconds", gt=0,
    )  # fmt: skip

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether a line is written after ``step`` completed optimizer steps."""
        counted = (step - 1) % steps_per_epoch + 1 if self.by_epoch else step
        epoch_ends = step % steps_per_epoch == 0
        return counted % self.interval == 0 or (epoch_ends and not self.ignore_last)

    def count(self, step: int, steps_per_epoch: int) -> int:
        """Return the number of lines that are written within ``step`` optimizer steps."""
        ends = 0 if self.ignore_last else step // steps_per_epoch  # lines at the end of an epoch, whatever the interval
        if not self.by_epoch:
            both = 0 if self.ignore_last else step // math.lcm(self.interval, steps_per_epoch)
            return step // self.interval + ends - both
        epochs, rest = divmod(step, steps_per_epoch)
        ends = ends if steps_per_epoch % self.interval else 0
        return epochs * (steps_per_epoch // self.interval) + rest // self.interval + ends
