"""Terminal output of ``vexp dataset``: progress, estimates, reports."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vexp.cli.trained_model import plain_console
from vexp.core.files import format_bytes
from vexp.tools.dataset.check import KINDS, NO_FAULT, Report
from vexp.tools.dataset.estimate import Estimate
from vexp.tools.dataset.file_info import identify
from vexp.tools.dataset.video_collection import Collection

Item = TypeVar("Item")

MAX_FINDINGS = 3  # of a kind that are printed; the report has all of them
MAX_VALUES = 4  # sizes and codecs that are printed
MIN_SPEEDUP = 1.2  # below it the copies are reported as not worthwhile


def with_progress(items: Iterator[Item], total: int, title: str) -> Iterator[Item]:
    """Yield the items with a progress bar. Leaving the loop early closes ``items``, which ends its worker processes."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=plain_console())
    with closing(cast(Generator[Item, None, None], items)), progress:
        task = progress.add_task(title, total=total)
        for item in items:
            yield item
            progress.advance(task)


def print_files(collection: Collection) -> int:
    """Print the number and the size of the files of a collection; return the exit status."""
    total = sum(identify(collection.root, name).bytes for name in collection.names)
    splits = ", ".join(f"{split} {len(rows)}" for split, rows in collection.splits.items())
    print(
        f"{len(collection.names)} files, {format_bytes(total)} to be read" + (f"; samples: {splits}" if splits else "")
    )
    return 0


def print_reading(before: float, after: float) -> None:
    """Print the CPU time in ms to read a clip of an original and of its copy."""
    gain = f"{before / after:.1f} times as fast"
    print(f"reading a clip of 16x4 takes {after:.1f} ms of CPU instead of {before:.1f}: {gain}")
    if before / after < MIN_SPEEDUP:
        print("this is a small gain: these videos hardly need such copies")


def print_estimate(result: Estimate, jobs: int, workers: int) -> None:
    """Print what a conversion will cost and gain."""
    hours = result.seconds / max(1, workers) / 3600
    duration = f"{hours:.2f} h" if hours > 0.1 else f"{hours * 3600:.0f} s"
    sizes = f"{format_bytes(result.bytes_before)} become {format_bytes(result.bytes_after)}"
    factor = f"{result.bytes_after / result.bytes_before:.2f} times"
    print(f"{jobs} videos, from a measured sample: {sizes}, {factor}; in {duration} with {workers} processes")
    if result.reading is not None:
        print_reading(*result.reading)


def print_report(result: Report, args: argparse.Namespace) -> None:
    """Print the report of ``vexp dataset check``."""
    table = Table("split", "samples", "classes", "smallest", "largest")
    for split, counts in result.class_counts.items():
        ordered = sorted((count, name) for name, count in counts.items())
        ends = [f"{name} {count}" for count, name in (ordered[0], ordered[-1])]
        table.add_row(split, str(sum(counts.values())), str(len(counts)), *ends)
    if result.class_counts:
        Console().print(table)
    summary = result.summary
    print(f"{summary['files']} files, {format_bytes(summary['bytes'])}" + ("" if args.decode else "; not decoded"))
    for name in ("frames", "fps", "duration", "longest_gop"):
        if name in summary:
            low, median, high = summary[name]
            print(f"  {name:<12} {low:g} .. {median:g} .. {high:g}")
    for name in ("sizes", "codecs"):
        shown = [f"{value} ({count})" for value, count in summary[name].items()]
        more = f" and {len(shown) - MAX_VALUES} more" if len(shown) > MAX_VALUES else ""
        print(f"  {name:<12} {', '.join(shown[:MAX_VALUES])}{more}")
    for kind, findings in result.findings.items():
        print(f"{kind}: {len(findings)} ({KINDS[kind]})")
        for finding in findings[: MAX_FINDINGS if kind not in NO_FAULT else 1]:
            print(f"  {finding}")
    no_fault = "nothing is wrong" if args.decode else "nothing found; damaged frames are found only with --decode"
    verdict = f"{result.faults} finding{'s' * (result.faults > 1)}" if result.faults else no_fault
    print(f"{verdict}; full report: {args.target}")
