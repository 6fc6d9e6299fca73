"""Terminal output of ``vexp dataset``: progress, estimates, reports."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vexp.core.files import format_bytes
from vexp.tools.dataset.check import KINDS, NO_FAULT, Report
from vexp.tools.dataset.estimate import Estimate, size_of
from vexp.tools.dataset.video_collection import Collection

Item = TypeVar("Item")

#: Findings of a kind that are printed; the report has all of them.
MAX_FINDINGS = 3

#: Speedup below which the copies are reported as not worthwhile.
MIN_SPEEDUP = 1.2


def with_progress(items: Iterator[Item], total: int, title: str, console: Console) -> Iterator[Item]:
    """Yield the items with a progress bar. Leaving the loop early closes ``items``, which ends its worker processes."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with closing(cast(Generator[Item, None, None], items)), Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        for item in items:
            yield item
            progress.advance(task)


def print_line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_files(collection: Collection, console: Console) -> int:
    paths = [collection.root / name for name in collection.names]
    total = sum(size_of(path) for path in paths if path.exists())
    splits = ", ".join(f"{split} {len(rows)}" for split, rows in collection.splits.items())
    print_line(
        console, f"{len(paths)} files, {format_bytes(total)} to be read" + (f"; samples: {splits}" if splits else "")
    )
    return 0


def print_reading(reading: tuple[float, float], console: Console) -> None:
    before, after = reading
    gain = f"{before / after:.1f} times as fast"
    print_line(console, f"reading a clip of 16x4 takes {after:.1f} ms of CPU instead of {before:.1f}: {gain}")
    if before / after < MIN_SPEEDUP:
        print_line(console, "this is a small gain: these videos hardly need such copies")


def print_estimate(result: Estimate, jobs: int, workers: int, console: Console) -> None:
    hours = result.seconds / max(1, workers) / 3600
    duration = f"{hours:.2f} h" if hours > 0.1 else f"{hours * 3600:.0f} s"
    factor = result.bytes_after / result.bytes_before
    print_line(
        console,
        f"{jobs} videos, from a measured sample: {format_bytes(result.bytes_before)} become {format_bytes(result.bytes_after)}, "
        f"{factor:.2f} times; in {duration} with {workers} processes",
    )
    if result.reading is not None:
        print_reading(result.reading, console)


def print_report(result: Report, args: argparse.Namespace, console: Console) -> None:
    table = Table("split", "samples", "classes", "smallest", "largest")
    for split, counts in result.class_counts.items():
        ordered = sorted((count, name) for name, count in counts.items())
        ends = [f"{name} {count}" for count, name in (ordered[0], ordered[-1])]
        table.add_row(split, str(sum(counts.values())), str(len(counts)), *ends)
    if result.class_counts:
        console.print(table)
    summary = result.summary
    print_line(
        console,
        f"{summary['files']} files, {format_bytes(summary['bytes'])}" + ("" if args.decode else "; not decoded"),
    )
    for name in ("frames", "fps", "duration", "longest_gop"):
        if name in summary:
            low, median, high = summary[name]
            print_line(console, f"  {name:<12} {low:g} .. {median:g} .. {high:g}")
    for name in ("sizes", "codecs"):
        print_line(console, f"  {name:<12} {_counted(summary[name])}")
    for kind, findings in result.findings.items():
        print_line(console, f"{kind}: {len(findings)} ({KINDS[kind]})")
        for finding in findings[: MAX_FINDINGS if kind not in NO_FAULT else 1]:
            print_line(console, f"  {finding}")
    no_fault = "nothing is wrong" if args.decode else "nothing found; damaged frames are found only with --decode"
    verdict = f"{result.faults} finding{'s' * (result.faults > 1)}" if result.faults else no_fault
    print_line(console, f"{verdict}; full report: {args.target}")


def _counted(counts: Mapping[str, int], most: int = 4) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
