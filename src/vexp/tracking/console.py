"""The text log of a run: log records on the terminal and in log.txt, and a progress bar on a terminal."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vexp.core.files import is_still_at
from vexp.core.log import ConsoleFormatter, format_operations, log_to
from vexp.tracking.backends import INDEX_FIELDS, Record


class RunLog(logging.Handler):
    """Log handler of a run: writes each record with a time stamp to the terminal and to log.txt.

    As a context manager it receives all records of the logger ``vexp``. With ``path=None`` it drops them: of the
    processes of a run only the main one writes. An unwritable log.txt is reported once and does not end the run.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.setFormatter(ConsoleFormatter())
        self.console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # text is printed unchanged
        self._path, self._is_silent = path, path is None
        self._file = (path or Path(os.devnull)).open("ab", buffering=0)
        self._is_writable = True
        self._progress: Progress | None = None
        self._attached = ExitStack()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record and append it to log.txt."""
        if self._is_silent:
            return
        line = f"{time.strftime('%H:%M:%S')} {self.format(record)}"
        if self._progress is None:
            print(line, flush=True)  # rich takes a millisecond for it
        else:
            self.console.print(line)
        self.write_to_file(line)

    def write_to_file(self, text: str) -> None:
        """Append text to log.txt only."""
        if not self._is_writable:
            return
        try:
            self._file.write((text.rstrip() + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._is_writable = False
            self.console.print(f"warning: {self._file.name} cannot be written and ends here: {error.strerror}")

    @property
    def is_intact(self) -> bool:
        """Whether log.txt is still in its folder, or was reported as unwritable."""
        return self._path is None or not self._is_writable or is_still_at(self._file, self._path)

    def __enter__(self) -> RunLog:
        self._attached.enter_context(log_to(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._attached.close()

    def close(self) -> None:
        """Remove the progress bar and close log.txt."""
        self.stop_progress()
        self._file.close()
        super().close()

    def start_progress(self, done: int, total: int) -> None:
        """Show a progress bar with the completed steps and the time left, if the output is a terminal."""
        if self._is_silent or not self.console.is_terminal:
            return
        description, unit = TextColumn("{task.description}"), TextColumn("steps")
        columns = (description, BarColumn(), MofNCompleteColumn(), unit, TimeRemainingColumn())
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._progress.add_task("training", total=total, completed=done)
        self._progress.start()

    def advance(self, description: str | None = None, steps: int = 0) -> None:
        """Advance the progress bar, or change its description."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=steps, description=description)

    def stop_progress(self) -> None:
        """Remove the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def train_line(record: Record, *, epochs: int, total_steps: int, seconds_left: float, samples: str = "clips") -> str:
    """Format a training record; ``samples`` are called by this name.

    For example ``epoch 3/12 step 70/360 | loss 1.2 top1_acc 0.5 | lr 0.09 | 0.21 s/step, 76 clips/s, 35.1 TFLOP/s
    (11% MFU), 3% waiting for data | 1:01 left`` on one line.
    """
    position = f"epoch {record['epoch']}/{epochs} step {record['step']}/{total_steps}"
    speed = f"{_short(record['time/step'], 3)} s/step, {_short(record['time/clips_per_s'], 3)} {samples}/s"
    wait = f"{record['time/data'] / record['time/step']:.0%} waiting for data"
    speeds = ", ".join(filter(None, (speed, efficiency_text(record), wait)))
    return f"{position} | {_values(record)} | lr {rates_text(record)} | {speeds} | {_duration(seconds_left)} left"


def efficiency_text(record: Record) -> str:
    """Format the use of the device: ``35.1 TFLOP/s (11% MFU), 93% of the step alone``; empty if unknown."""
    texts = []
    if (rate := record.get("time/tflops")) is not None:
        share = f" ({record['time/mfu']:.0%} MFU)" if "time/mfu" in record else ""
        texts.append(f"{format_operations(1e12 * rate)}/s{share}")
    if (share_alone := record.get("time/share_of_step_alone")) is not None:
        texts.append(f"{share_alone:.0%} of the step alone")
    return ", ".join(texts)


def progress_text(record: Record) -> str:
    """Format the description of the progress bar: ``training, 35.1 TFLOP/s (11% MFU)``."""
    return ", ".join(filter(None, ("training", efficiency_text(record))))


def rates_text(record: Record) -> str:
    """Format the learning rate: ``0.09``, or ``0.09 (0.003 to 0.18 in 26 groups)`` if parameter groups differ."""
    groups = [value for name, value in record.items() if name.startswith("lr/")]
    spread = f" ({_short(min(groups))} to {_short(max(groups))} in {len(groups)} groups)" if groups else ""
    return _short(record["lr"]) + spread


def result_line(record: Record, *, within: bool, what: str) -> str:
    """Format an evaluation record: ``val after epoch 3 (8 videos, 1 clip x 1 crop): top1_acc 0.875 loss 0.4 | 2.1 s``.

    An evaluation ``within`` an epoch is named after its step; ``what`` was evaluated, in parentheses.
    """
    when = f"step {record['step']}, in epoch {record['epoch']}" if within else f"epoch {record['epoch']}"
    return f"{record['mode']} after {when} {what}: {_values(record)} | {record['time/eval']:.1f} s"


def _values(record: Record) -> str:
    names = [name for name in record if name not in (*INDEX_FIELDS, "lr") and "/" not in name]
    names.sort(key=lambda name: name not in ("loss", "top1_acc"))
    return " ".join(f"{name} {_short(record[name])}" for name in names)


def _short(value: float, digits: int = 4) -> str:
    """Format with significant digits, but without an exponent for counts: 65536, not 6.554e+04."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.{digits}g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
