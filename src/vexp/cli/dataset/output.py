"""What the commands of dataset.py print: progress, forecasts, what was found."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vexp.core.files import format_bytes
from vexp.tools.dataset.check import KINDS, NO_FAULT, Report
from vexp.tools.dataset.estimate import Estimate, size_of
from vexp.tools.dataset.video_collection import Collection

Item = TypeVar("Item")

SHOWN = 3
"""Findings of a kind that are printed; the report has all."""

WORTH_IT = 1.2
"""Reading must become this many times as fast for proxies to be called worth it."""


def followed(items: Iterator[Item], total: int, title: str, console: Console) -> Iterator[Item]:
    """With a bar. A stop in the middle closes the iterator, and so ends its processes, before anything else happens."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with closing(items), Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        for item in items:
            yield item
            progress.advance(task)


def say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def say_files(collection: Collection, console: Console) -> int:
    paths = [collection.root / name for name in collection.names]
    total = sum(size_of(path) for path in paths if path.exists())
    splits = ", ".join(f"{split} {len(rows)}" for split, rows in collection.splits.items())
    say(console, f"{len(paths)} files, {format_bytes(total)} to be read" + (f"; samples: {splits}" if splits else ""))
    return 0


def say_reading(reading: tuple[float, float], console: Console) -> None:
    before, after = reading
    gain = f"{before / after:.1f} times as fast"
    say(console, f"reading a clip of 16x4 takes {after:.1f} ms of CPU instead of {before:.1f}: {gain}")
    if before / after < WORTH_IT:
        say(console, "that is little: these videos hardly need proxies of this kind")


def show_forecast(found: Estimate, jobs: int, workers: int, console: Console) -> None:
    hours = found.seconds / max(1, workers) / 3600
    lasts = f"{hours:.2f} h" if hours > 0.1 else f"{hours * 3600:.0f} s"
    factor = found.bytes_after / found.bytes_before
    say(
        console,
        f"{jobs} videos, from a measured sample: {format_bytes(found.bytes_before)} become {format_bytes(found.bytes_after)}, "
        f"{factor:.2f} times; in {lasts} with {workers} processes",
    )
    if found.reading is not None:
        say_reading(found.reading, console)


def show_report(found: Report, args: argparse.Namespace, console: Console) -> None:
    table = Table("split", "samples", "classes", "smallest", "largest")
    for split, counts in found.class_counts.items():
        ordered = sorted((count, name) for name, count in counts.items())
        ends = [f"{name} {count}" for count, name in (ordered[0], ordered[-1])]
        table.add_row(split, str(sum(counts.values())), str(len(counts)), *ends)
    if found.class_counts:
        console.print(table)
    summary = found.summary
    say(
        console,
        f"{summary['files']} files, {format_bytes(summary['bytes'])}" + ("" if args.decode else "; not decoded"),
    )
    for name in ("frames", "fps", "duration", "longest_gop"):
        if name in summary:
            least, median, most = summary[name]
            say(console, f"  {name:<12} {least:g} .. {median:g} .. {most:g}")
    for name in ("sizes", "codecs"):
        say(console, f"  {name:<12} {_counted(summary[name])}")
    for kind, sentences in found.findings.items():
        say(console, f"{kind}: {len(sentences)} ({KINDS[kind]})")
        for sentence in sentences[: SHOWN if kind not in NO_FAULT else 1]:
            say(console, f"  {sentence}")
    sound = "nothing is wrong" if args.decode else "nothing found; damaged frames show only with --decode"
    verdict = f"{found.faults} finding{'s' * (found.faults > 1)}" if found.faults else sound
    say(console, f"{verdict}; all of it: {args.target}")


def _counted(counts: Mapping[str, int], most: int = 4) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
