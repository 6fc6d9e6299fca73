"""All sinks of a run. metrics.jsonl is the record; the others are views of it, and none of them can end a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexp.tracking.backends import Csv, JsonLines, LoggerBackend, Record, TensorBoard, read_records
from vexp.tracking.config import Log
from vexp.tracking.wandb import WandbSink


class MetricLogger:
    """Gives every record to every sink."""

    def __init__(
        self, folder: Path | None, options: Log, say: Callable[[str], None], *, first_step: int, config: dict[str, Any]
    ) -> None:
        """Args:
        folder: of the run; its metrics.jsonl has been cut to what came before ``first_step``. None: every record is
            dropped, as another process writes them.
        options: which sinks there are.
        say: tells the user of a sink that failed.
        first_step: the first that this process trains.
        config: the whole configuration in plain containers, for sinks that show it.
        """
        self._say = say
        self._record = JsonLines(Path(os.devnull) if folder is None else folder / "metrics.jsonl")
        self._views: dict[str, LoggerBackend] = {}
        if folder is None:
            return
        earlier = read_records(folder / "metrics.jsonl")
        if options.tensorboard:
            self._open("tensorboard", lambda: TensorBoard(folder / "tensorboard", first_step))
        if options.csv:
            self._open("csv", lambda: Csv(folder / "metrics.csv", earlier))
        if options.wandb.mode is not None:
            self._open("wandb", lambda: WandbSink(folder, options.wandb, config=config, say=say))

    def write(self, record: Record) -> None:
        """Raises:
        OSError: metrics.jsonl cannot be written.
        """
        self._record.write(record)
        for name, sink in list(self._views.items()):
            self._guard(name, lambda sink=sink: sink.write(record))  # type: ignore[misc]

    def sync(self) -> None:
        """All records so far are on the disk."""
        self._record.sync()

    def leave(self) -> None:
        """Close what is this process's own, and wait for nobody."""
        self._record.close()

    def close(self) -> None:
        self._record.close()
        for name, sink in list(self._views.items()):
            self._guard(name, sink.close)

    def _open(self, name: str, make: Callable[[], LoggerBackend]) -> None:
        def keep() -> None:
            self._views[name] = make()

        self._guard(name, keep)

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        """Leave a sink that fails out from then on: said once, and training goes on."""
        try:
            action()
        except Exception as error:  # whatever a foreign library raises
            self._views.pop(name, None)
            what = next(iter(str(error).splitlines()), "")
            self._say(
                f"warning: log.{name} is left out from here on, it failed ({type(error).__name__}: {what}); the run "
                "goes on, metrics.jsonl holds every number"
            )
