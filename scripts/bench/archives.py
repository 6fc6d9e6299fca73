"""Measure archives of many small files: the index, opening the archive again, and reading files of it.

    python scripts/bench/archives.py                                 a zip and a tar archive of 1,000,000 files
    python scripts/bench/archives.py --files 100000 --kinds zip      another number, one kind
    python scripts/bench/archives.py --folder /fast/disk             where the archives are written

Every row is a process of its own. "index" reads the headers of the archive and saves their index; "open" reads that
index. Both then read 100 files at random. "2 forked workers" are forked by a process that has opened the archive, as
those of a DataLoader; "2 spawned workers" open it themselves. Times are CPU times. The memory of a worker is what it
shares with no other process, that of the other rows is the peak of the process; "nothing" has no archive.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexp.core.malloc import configure_malloc
from vexp.data import storage
from vexp.data.storage.archives import open_archives

READS = 100
ROWS = ("nothing", "index", "open", "2 forked workers", "2 spawned workers")


def name(number: int) -> str:
    return f"class_{number % 400:03}/video_{number:07}.mp4"


def write_archive(path: Path, count: int) -> None:
    """Write an archive of files that hold their number."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(count):
                archive.writestr(name(number), f"{number:07}")
        return
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            info = tarfile.TarInfo(name(number))
            info.size = 7
            tar.addfile(info, io.BytesIO(f"{number:07}".encode()))
            tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps them all


def read(place: str, count: int, seed: int) -> tuple[float, float]:
    """Return the CPU time in seconds to open an archive, and to read files of it at random."""
    start = time.process_time()
    if place:
        open_archives(place)
    opened = time.process_time()
    numbers = random.Random(seed).sample(range(count), READS) if place else []
    for number in numbers:
        content = storage.read(f"{place}/{name(number)}")
        assert content == f"{number:07}".encode(), number
    return opened - start, time.process_time() - opened


def _worker(place: str, count: int, seed: int, results: Any, end: Any) -> None:
    times = read(place, count, seed)
    end.wait()  # the other one has its pages as well
    with open("/proc/self/smaps_rollup") as file:
        lines = (line.split() for line in file)
        private = sum(int(words[1]) for words in lines if words[0].startswith("Private_"))
    results.put((*times, private / 1024))
    end.wait()


def measure(row: str, place: str, count: int) -> dict[str, float]:
    """Return the seconds and the MiB of a row, in this process."""
    if "workers" not in row:
        times = read(place if row != "nothing" else "", count, 0)
        return dict(zip(("open", "read", "memory"), (*times, _peak()), strict=True))
    context: Any = multiprocessing.get_context("fork" if "forked" in row else "spawn")
    if "forked" in row:
        open_archives(place)
    results, end = context.SimpleQueue(), context.Barrier(2)
    workers = [context.Process(target=_worker, args=(place, count, seed, results, end)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return dict(zip(("open", "read", "memory"), map(max, zip(*found, strict=True)), strict=True))


def _peak() -> float:
    """Return the largest memory of this process; that of getrusage includes the process that has started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


def main(argv: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write the archives, measure every row in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="Files of each archive.")
    parser.add_argument("--kinds", default="zip,tar", help="Kinds of archives.")
    parser.add_argument("--folder", type=Path, help="Where a temporary folder is created.")
    parser.add_argument("--measure", nargs=2, metavar=("ROW", "ARCHIVE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        configure_malloc()
        say(json.dumps(measure(*options.measure, options.files)))
        return 0
    say(f"| {options.files:,} files | | Open (s) | Read {READS} files (s) | Memory (MiB) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in options.kinds.split(","):
            path = Path(folder, f"clips.{kind}")
            write_archive(path, options.files)
            for row in ROWS:
                command = [sys.executable, __file__, "--files", str(options.files), "--measure", row, str(path)]
                environment = os.environ | {"VEXP_CACHE": folder}
                output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
                found = json.loads(output.splitlines()[-1])
                say(f"| {kind} | {row} | {found['open']:.2f} | {found['read']:.3f} | {found['memory']:.0f} |")
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
