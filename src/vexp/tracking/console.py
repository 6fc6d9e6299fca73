"""What a person reads: lines on the terminal and in log.txt, and on a terminal a live line below them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vexp.tracking.backends import INDEX_FIELDS, Record

_FIRST = ("loss", "top1_acc")


class RunLog:
    """Lines to the terminal and to log.txt; with ``start_progress`` a live bar where the output is a terminal.

    A log.txt that cannot be written is said once; it never ends a run. Without a path nothing is said at all: of
    several processes that share a run one speaks.
    """

    def __init__(self, path: Path | None) -> None:
        self._silent = path is None
        self.console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # text as it is
        self._file = (path or Path(os.devnull)).open("ab", buffering=0)
        self._broken = False
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        if self._silent:
            return
        stamped = f"{time.strftime('%H:%M:%S')} {text}"
        if self._progress is None:
            print(stamped, flush=True)  # rich takes a millisecond for it
        else:
            self.console.print(stamped)
        self.note(stamped)

    def note(self, text: str) -> None:
        """To log.txt alone."""
        if self._broken:
            return
        try:
            self._file.write((text.rstrip() + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._broken = True
            self.console.print(f"warning: {self._file.name} cannot be written, its lines end here: {error.strerror}")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_progress()
        self._file.close()

    def start_progress(self, done: int, total: int) -> None:
        """A live line with the steps done and the time left; nothing where the output is no terminal."""
        if self._silent or not self.console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._progress.add_task("training", total=total, completed=done)
        self._progress.start()

    def advance(self, description: str | None = None, steps: int = 0) -> None:
        """Move the live line on."""
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, advance=steps)
            if description is not None:
                self._progress.update(task, description=description)

    def stop_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def train_line(record: Record, *, epochs: int, total_steps: int, seconds_left: float) -> str:
    """``epoch 3/12 step 70/360 | loss 1.2 top1_acc 0.5 | lr 0.09 | 0.21 s/step, 76 clips/s, 3% waiting for data | 1:01
    left``, on one line."""
    values = _values(record, leave_out=("lr",))
    step, clips = _short(record["time/step"], 3), _short(record["time/clips_per_s"], 3)
    waiting = record["time/data"] / record["time/step"]
    return (
        f"epoch {record['epoch']}/{epochs} step {record['step']}/{total_steps} | {values} | lr {rates_text(record)} | "
        f"{step} s/step, {clips} clips/s, {waiting:.0%} waiting for data | {_duration(seconds_left)} left"
    )


def rates_text(record: Record) -> str:
    """``0.09``; where parameter groups have rates of their own ``0.09 (0.003 to 0.18 in 26 groups)``."""
    groups = [value for name, value in record.items() if name.startswith("lr/")]
    several = f" ({_short(min(groups))} to {_short(max(groups))} in {len(groups)} groups)" if groups else ""
    return _short(record["lr"]) + several


def result_line(record: Record, *, within: bool, what: str) -> str:
    """``val after epoch 3 (128 videos, 1 clip x 1 crop): top1_acc 0.875 loss 0.4 ... | 2.1 s``; ``within`` an epoch
    that goes on ``val after step 70, in epoch 3 (...``."""
    when = f"step {record['step']}, in epoch {record['epoch']}" if within else f"epoch {record['epoch']}"
    return f"{record['mode']} after {when} {what}: {_values(record)} | {record['time/eval']:.1f} s"


def _values(record: Record, leave_out: tuple[str, ...] = ()) -> str:
    names = [name for name in record if name not in (*INDEX_FIELDS, *leave_out) and "/" not in name]
    names.sort(key=lambda name: name not in _FIRST)
    return " ".join(f"{name} {_short(record[name])}" for name in names)


def _short(value: float, digits: int = 4) -> str:
    """Significant digits, but no exponent for what is counted: 65536, not 6.554e+04."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.{digits}g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
