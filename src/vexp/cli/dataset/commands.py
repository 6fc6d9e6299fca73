"""What the commands of dataset.py do; the work itself is in ``vexp.tools.dataset``."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vexp.cli.dataset.output import followed, say, say_files, say_reading, show_forecast, show_report
from vexp.core.errors import UserError
from vexp.core.files import format_bytes, write_text
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.class_names import read_classes
from vexp.data.sources.base import VideoSource
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.data.sources.subsets import leak_warning, shared_groups
from vexp.tools.dataset import lists as list_files
from vexp.tools.dataset.check import report
from vexp.tools.dataset.conversion import Conversion, Job, check_settings, converted, find_jobs
from vexp.tools.dataset.conversion import convert as run_conversion
from vexp.tools.dataset.estimate import estimate, reading_times, size_of
from vexp.tools.dataset.extract_frames import check_template
from vexp.tools.dataset.file_info import MISSING, FileInfo, FolderOfFrames, Inspect
from vexp.tools.dataset.index import check_suffix, inspect_all, read_index, write_index
from vexp.tools.dataset.journal import Journal
from vexp.tools.dataset.video_collection import Collection, collect, videos_below

FEW = 10
"""Without --dry-run a sample is measured first only of so many times as many videos."""


def index(args: argparse.Namespace, console: Console) -> int:
    check_suffix(args.target)
    collection = _collection(args)
    known = read_index(args.target) if args.target.exists() and not args.decode else {}
    if args.dry_run:
        return say_files(collection, console)
    facts, journal = _facts(args, collection, known, console)
    write_index(args.target, facts.values())
    journal.finish()
    faults = sum(bool(fact.fault) for fact in facts.values())
    said = f"; {faults} with a fault, in the column error" if faults else ""
    say(console, f"{args.target}: {len(facts)} files{said}")
    return 1 if faults else 0


def check(args: argparse.Namespace, console: Console) -> int:
    if args.target.suffix.lower() != ".json":
        raise UserError(f"{args.target}: the report is written as JSON; name it .json")
    indexed = read_index(args.index) if args.index else None
    collection = _collection(args)
    if args.dry_run:
        return say_files(collection, console)
    facts, journal = _facts(args, collection, {}, console)
    listed = set(collection.names)
    unlisted = [name for name in videos_below(args.source) if name not in listed] if _lists_of(args) else []
    found = report(collection, facts, indexed, unlisted)
    lists = {split: str(path) for split, path in _lists_of(args).items()}
    what = {"videos": str(args.source), "lists": lists, "decoded": args.decode}
    write_text(args.target, json.dumps({**what, **asdict(found)}, indent=1) + "\n")
    journal.finish()
    show_report(found, args, console)
    return 1 if found.faults else 0


def lists(args: argparse.Namespace, console: Console) -> int:
    collection = _collection(args)
    splits, shares = dict(collection.splits), dict(args.hold_out)
    for split in (*splits, *shares):
        if (args.target / list_files.list_name(split, args.to)).absolute() in _lists_of(args).values():
            raise UserError(f"{args.target}: the new lists would replace those they are made of; name another folder")
    if not splits:
        raise UserError(f"{args.source}: its folders are no classes (VIDEOS/CLASS/*); name a list with --train")
    for split in shares:
        if "train" not in splits:
            raise UserError(f"--hold-out {split}: takes samples of the training split: name its list with --train")
        if split in splits:
            raise UserError(f"--hold-out {split}: there is a {split} split already")
    facts = read_index(args.index) if args.index else {}
    for split, rows in splits.items():
        rows = _present(split, rows, args, facts, console)
        if args.group:
            rows = list_files.grouped_by_name(rows, args.group)
        splits[split] = list_files.grouped_by_content(rows, facts)
    if shares:
        splits.update(list_files.held_out(splits["train"], shares, args.seed))
    table = Table("split", "samples", "classes", "groups")
    for split, rows in splits.items():
        groups = len(set(rows.groups) - {""}) if rows.groups is not None else 0
        table.add_row(split, str(len(rows)), str(len(rows.classes)), str(groups or "-"))
    console.print(table)
    pairs = [(a, b) for place, a in enumerate(splits) for b in list(splits)[place + 1 :]]
    leaks = [
        leak_warning(a, b, shared)
        for a, b in pairs
        if (shared := shared_groups(VideoSource(splits[a]), VideoSource(splits[b])))
    ]
    for sentence in leaks:
        say(console, sentence)
    if args.dry_run:
        return 1 if leaks else 0
    _write_lists(args.target, args.source, splits, args.to, "data=video_list", console)
    return 1 if leaks else 0


def convert(args: argparse.Namespace, conversion: Conversion, words: str, console: Console) -> int:
    """``words``: for training, to read what was made."""
    collection = _collection(args, leave_out=args.target)
    jobs = find_jobs(collection, args.target, conversion)
    check_settings(args.target, conversion, write=False)
    left = [job for job in jobs if not conversion.is_done(job)]
    say(console, f"{len(jobs)} videos, {len(jobs) - len(left)} of them are done")
    if left and args.sample and (args.dry_run or len(left) >= FEW * args.sample):
        with tempfile.TemporaryDirectory(prefix="vexp_sample_") as folder:
            show_forecast(estimate(left, args.sample, conversion, Path(folder)), len(left), args.workers, console)
    if args.dry_run:
        return 0
    from vexp.experiment.run_dir import lock_run_dir

    args.target.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(args.target):
        check_settings(args.target, conversion, write=True)
        failed = _convert(left, conversion, args, console)
        splits, absent = {}, 0
        for split, rows in collection.splits.items():
            splits[split], left_out = converted(rows, args.target, conversion)
            absent += len(left_out)
        if absent:
            say(console, f"{absent} rows are left out of the lists: their videos failed")
        _write_lists(args.target / "lists", args.target, splits, args.to, words, console)
        failures = args.target / "failures.txt"
        failures.unlink(missing_ok=True)
        if failed:
            write_text(failures, "\n".join(failed) + "\n")
            say(console, f"{len(failed)} failed, see {failures}")
    return 1 if failed else 0


def _convert(left: list[Job], conversion: Conversion, args: argparse.Namespace, console: Console) -> list[str]:
    """The errors."""
    began, failed, made = time.perf_counter(), [], []
    outcomes = run_conversion(left, conversion, args.workers)
    for outcome in followed(outcomes, len(left), args.verb, console):
        if outcome.error:
            failed.append(outcome.error)
            say(console, f"failed: {outcome.error}")
        else:
            made.append(outcome.job)
    if made:
        before, after = sum(size_of(job.source) for job in made), sum(size_of(job.target) for job in made)
        say(
            console,
            f"made {len(made)} in {time.perf_counter() - began:.0f} s: {format_bytes(before)} of videos became "
            f"{format_bytes(after)}, {after / before:.2f} times",
        )
    if args.sample and made and made[0].target.is_file():
        with tempfile.TemporaryDirectory(prefix="vexp_sample_") as folder:
            few = [made[i] for i in np.unique(np.linspace(0, len(made) - 1, args.sample).astype(int))]
            say_reading(reading_times([(job.source, job.target) for job in few], Path(folder)), console)
    return failed


# ---- parts ----


def _lists_of(args: argparse.Namespace) -> dict[str, Path]:
    given = {split: getattr(args, split) for split in ("train", "val", "test")}
    return {split: path.expanduser().absolute() for split, path in given.items() if path is not None}


def _collection(args: argparse.Namespace, leave_out: Path | None = None) -> Collection:
    classes = read_classes(args.classes) if args.classes else None
    return collect(
        args.source, _lists_of(args), format=args.list_format, classes=classes, file_name=args.file_name,
        leave_out=leave_out,
    )  # fmt: skip


def _facts(
    args: argparse.Namespace, collection: Collection, known: Mapping[str, FileInfo], console: Console
) -> tuple[dict[str, FileInfo], Journal]:
    """Of each name; the journal is the caller's to finish when they are written down."""
    template = args.filename_tmpl or TEMPLATES["Flow" if args.flow else "RGB"]
    check_template(template, flow=args.flow)
    inspect = Inspect(args.source, args.decode, FolderOfFrames(template, args.start_index, args.flow))
    settings = {"videos": str(args.source), "decode": args.decode, **asdict(inspect.frames)}
    facts = {}
    with Journal(args.target, settings) as journal:
        found = inspect_all(collection.names, inspect, journal, known, args.workers)
        for fact in followed(found, len(collection.names), args.verb, console):
            facts[fact.path] = fact
            if fact.fault and args.verb == "index":  # check reports it at the end
                say(console, f"{fact.fault}: {fact.error}")
    return facts, journal


def _present(
    split: str, rows: Annotation, args: argparse.Namespace, facts: Mapping[str, FileInfo], console: Console
) -> Annotation:
    """The rows whose file is there and, where an index says it, sound."""
    there, faulty, missing = [], [], []
    for row in range(len(rows)):
        known = facts.get(rows.name(row))
        if not Path(rows.path(row)).exists():
            missing.append(row)
        elif known is not None and known.fault not in ("", MISSING):
            faulty.append(row)
        else:
            there.append(row)
    if missing and not args.drop_missing:
        raise UserError(
            f"{split}: {len(missing)} of {len(rows)} files are not below {args.source}, the first is "
            f"{rows.name(missing[0])}; --drop-missing leaves them out"
        )
    for what, which in (("missing", missing), ("faulty", faulty)):
        if which:
            say(console, f"{split}: {len(which)} {what} left out, the first is {rows.name(which[0])}")
    if not there:
        raise UserError(f"{split}: no sample is left")
    return rows.take(there) if len(there) < len(rows) else rows


def _write_lists(
    folder: Path, prefix: Path, splits: Mapping[str, Annotation], kind: str, words: str, console: Console
) -> None:
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    if not splits:
        return
    written = list_files.write_lists(folder, splits, kind)
    command = ["python -m vexp.train", words]
    for split, path in zip(splits, written, strict=False):
        command.append(f"data.{split}.ann_file={path} data.{split}.data_prefix={prefix}")
    if len(written) > len(splits):
        command.append(f"data.classes={written[-1]}")
    if "val" not in splits:
        command.append("data.val.hold_out=0.1")
    say(console, " \\\n  ".join(command))
