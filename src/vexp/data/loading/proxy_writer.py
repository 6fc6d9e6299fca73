"""The process that writes the proxies of a data set in the background, at a low priority.

``python -m vexp.data.loading.proxy_writer`` reads a ``Task`` as JSON and prints a line of JSON for each video. It is a
process of its own, because a run must neither wait for it nor share its interpreter with it; it ends with the run.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.core.worker_pool import run_jobs
from vexp.data.sources.proxies import Proxies, ProxyCache, Record

_GRACE_PERIOD = 10.0  # seconds to remove temporary files
_MAX_WORKERS = 32
_NICENESS = 10  # a tenth of the share of the processes of the run: more would stall it on a machine that it shares


@dataclass(frozen=True, slots=True)
class Task:
    """The videos whose proxies are written, in their order, as long as these fit into ``limit`` bytes together."""

    root: str
    short_side: int
    limit: int
    videos: list[str]

    @property
    def cache(self) -> ProxyCache:
        return ProxyCache(Path(self.root), self.short_side)


@dataclass(frozen=True, slots=True)
class Video:
    """A video by its number in the task."""

    cache: ProxyCache
    number: int
    path: str

    def __str__(self) -> str:
        return self.path


class ProxyWriter:
    """The running process, seen from the run that has started it. It is stopped by ``close``."""

    def __init__(self, task: Task) -> None:
        """Start the process."""
        self.task = task
        self._folder = tempfile.TemporaryDirectory(prefix="vexp-")
        self._output, self._errors, tasks = (Path(self._folder.name) / name for name in ("lines", "errors", "task"))
        tasks.write_text(json.dumps(asdict(task)), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with tasks.open() as task_file, self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(os.getpid())],
                stdin=task_file, stdout=output, stderr=errors, env=environment,
                start_new_session=True,  # Ctrl-C stops the run, which stops this process
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def done(self) -> int:
        """Number of videos that are done."""
        return self._output.read_bytes().count(b"\n")

    def result(self) -> tuple[Proxies, list[str]]:
        """Return the proxies, and why some videos have none.

        Raises:
            UserError: If not all proxies could be written.
        """
        lines = self._lines()
        if self._process.wait() != 0 or not lines or "count" not in lines[-1]:
            raise UserError(f"data.cache=proxy: {self._failure(lines)}")
        count = lines[-1]["count"]
        records = [record if number < count else None for number, record in enumerate(self.records())]
        errors = [line["error"] for line in lines if "error" in line]
        return Proxies.of(self.task.cache, self.task.videos, records), errors

    def records(self) -> list[Record | None]:
        """Return the record of each video; None if its proxy is not written, or not yet."""
        records: list[Record | None] = [None] * len(self.task.videos)
        for line in self._lines():
            if "record" in line:
                records[line["number"]] = Record(**line["record"])
        return records

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_bytes().split(b"\n")[:-1]]

    def close(self) -> None:
        """Stop the process if it is running."""
        if self.is_running:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_PERIOD)
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _failure(self, lines: Sequence[dict[str, Any]]) -> str:
        if lines and "failure" in lines[-1]:
            return f"{lines[-1]['failure']}, or lower data.cache_size"
        text = self._errors.read_text(errors="replace").strip().splitlines() or ["without a message"]
        return f"the process that writes proxies ended with status {self._process.returncode}: {text[-1]}"


class Budget:
    """How many of the first proxies of a data set fit into a number of bytes together.

    The order is fixed, so that the videos with a proxy do not depend on the order in which these are written.
    """

    def __init__(self, videos: int, limit: int) -> None:
        self.count = 0  # videos that fit, as far as the sizes of all before them are known
        self.is_full = False  # no other fits
        self._sizes: list[int | None] = [None] * videos
        self._left = limit

    def add(self, number: int, size: int) -> None:
        """Add the size in bytes of the proxy of a video, 0 if it has none."""
        self._sizes[number] = size
        while not self.is_full and self.count < len(self._sizes):
            following = self._sizes[self.count]
            if following is None:
                return
            self.is_full = following > self._left
            if not self.is_full:
                self._left -= following
                self.count += 1


def write_proxies(task: Task, workers: int) -> Iterator[dict[str, Any]]:
    """Write or check the proxies of a task; yield a line for each video, and last how many of the videos fit.

    Raises:
        UserError: If the cache cannot be written.
    """
    budget, written = Budget(len(task.videos), task.limit), []
    videos = (Video(task.cache, number, path) for number, path in enumerate(task.videos))
    with closing(run_jobs(itertools.takewhile(lambda _: not budget.is_full, videos), _ensure, workers)) as outcomes:
        for outcome in outcomes:
            number, result = outcome.job.number, outcome.result
            budget.add(number, 0 if result is None else result[0].size)
            if result is None:
                yield {"number": number, "error": outcome.error}
                continue
            written += [number] if result[1] else []
            yield {"number": number, "record": asdict(result[0])}
    for number in written:
        if number >= budget.count:
            task.cache.remove(task.videos[number])
    yield {"count": budget.count}


def _ensure(video: Video) -> tuple[Record, bool]:
    return video.cache.ensure(video.path)


def _exit_with(parent: int) -> None:
    """End this process when the run has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)  # its workers end with it


def main() -> int:
    """Write the proxies of the task on standard input."""
    task = Task(**json.load(sys.stdin))
    threading.Thread(target=_exit_with, args=(int(sys.argv[1]),), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # raises SystemExit, so that temporary files are removed
    with suppress(OSError, AttributeError):  # not on Windows
        os.nice(_NICENESS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        for line in write_proxies(task, min(cores, _MAX_WORKERS)):
            print(json.dumps(line), flush=True)
    except UserError as error:
        print(json.dumps({"failure": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
