"""The commands of ``vexp dataset``, on top of ``vexp.tools.dataset``."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vexp.cli.dataset.output import print_estimate, print_files, print_reading, print_report, with_progress
from vexp.core.errors import UserError
from vexp.core.files import format_bytes, write_text
from vexp.data import storage
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.class_names import read_classes
from vexp.data.sources.base import VideoSource
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.data.sources.splits import SPLITS
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

#: Without --dry-run the estimate is made only for at least this many times as many videos as its sample.
MIN_VIDEOS_PER_SAMPLE = 10


def index(args: argparse.Namespace) -> int:
    """Write a table with the properties of every video; return the exit status, as all commands do."""
    check_suffix(args.target)
    collection = _collection(args)
    previous = read_index(args.target) if args.target.exists() and not args.decode else {}
    if args.dry_run:
        return print_files(collection)
    infos, journal = _inspect(args, collection, previous)
    write_index(args.target, infos.values())
    journal.finish()
    faults = sum(bool(info.fault) for info in infos.values())
    suffix = f"; {faults} with a fault, see the column error" if faults else ""
    print(f"{args.target}: {len(infos)} files{suffix}")
    return 1 if faults else 0


def check(args: argparse.Namespace) -> int:
    """Find everything that is wrong with a dataset."""
    if args.target.suffix.lower() != ".json":
        raise UserError(f"{args.target}: the report is written as JSON; name it .json")
    indexed = read_index(args.index) if args.index else None
    collection = _collection(args)
    if args.dry_run:
        return print_files(collection)
    infos, journal = _inspect(args, collection, {})
    listed = set(collection.names)
    unlisted = [name for name in videos_below(args.source) if name not in listed] if _list_paths(args) else []
    result = report(collection, infos, indexed, unlisted)
    lists = {split: str(path) for split, path in _list_paths(args).items()}
    source = {"videos": str(args.source), "lists": lists, "decoded": args.decode}
    write_text(args.target, json.dumps({**source, **asdict(result)}, indent=1) + "\n")
    journal.finish()
    print_report(result, args)
    return 1 if result.faults else 0


def lists(args: argparse.Namespace) -> int:
    """Write lists for training."""
    collection = _collection(args)
    splits, shares = dict(collection.splits), dict(args.hold_out)
    for split in (*splits, *shares):
        if (args.target / list_files.list_name(split, args.to)).absolute() in _list_paths(args).values():
            raise UserError(f"{args.target}: the new lists would overwrite those they are made of; name another folder")
    if not splits:
        raise UserError(f"{args.source}: its folders are not classes (VIDEOS/CLASS/*); name a list with --train")
    for split in shares:
        if "train" not in splits:
            raise UserError(f"--hold-out {split}: needs a training split; name its list with --train")
        if split in splits:
            raise UserError(f"--hold-out {split}: a {split} split exists already")
    infos = read_index(args.index) if args.index else {}
    for split, rows in splits.items():
        rows = _present(split, rows, args, infos)
        if args.group:
            rows = list_files.grouped_by_name(rows, args.group)
        splits[split] = list_files.grouped_by_content(rows, infos)
    if shares:
        splits.update(list_files.held_out(splits["train"], shares, args.seed))
    table = Table("split", "samples", "classes", "groups")
    for split, rows in splits.items():
        groups = len(set(rows.groups) - {""}) if rows.groups is not None else 0
        table.add_row(split, str(len(rows)), str(len(rows.classes)), str(groups or "-"))
    Console().print(table)
    has_leaks = False
    for a, b in itertools.combinations(splits, 2):
        if shared := shared_groups(VideoSource(splits[a]), VideoSource(splits[b])):
            print(leak_warning(a, b, shared))
            has_leaks = True
    if not args.dry_run:
        _write_lists(args.target, args.source, splits, args.to, "data=video_list")
    return 1 if has_leaks else 0


def convert(args: argparse.Namespace, conversion: Conversion, overrides: str) -> int:
    """Convert all videos that are not converted yet; ``overrides``: how training reads the result."""
    if isinstance(args.source, str):
        raise UserError(
            f"{args.source}: {args.command} reads a folder of videos; unpack the archive or download the files"
        )
    collection = _collection(args, leave_out=args.target)
    jobs = find_jobs(collection, args.target, conversion)
    check_settings(args.target, conversion, write=False)
    remaining = [job for job in jobs if not conversion.is_done(job)]
    print(f"{len(jobs)} videos, {len(jobs) - len(remaining)} of them are done")
    if remaining and args.sample and (args.dry_run or len(remaining) >= MIN_VIDEOS_PER_SAMPLE * args.sample):
        with tempfile.TemporaryDirectory(prefix="vexp_sample_") as folder:
            cost = estimate(remaining, args.sample, conversion, Path(folder))
            print_estimate(cost, len(remaining), args.workers)
    if args.dry_run:
        return 0
    from vexp.experiment.run_dir import lock_run_dir

    args.target.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(args.target):
        check_settings(args.target, conversion, write=True)
        failed = _convert(remaining, conversion, args)
        splits, dropped = {}, 0
        for split, rows in collection.splits.items():
            splits[split], left_out = converted(rows, args.target, conversion)
            dropped += len(left_out)
        if dropped:
            print(f"{dropped} samples are left out of the lists because their videos failed")
        _write_lists(args.target / "lists", args.target, splits, args.to, overrides)
        failures = args.target / "failures.txt"
        failures.unlink(missing_ok=True)
        if failed:
            write_text(failures, "\n".join(failed) + "\n")
            print(f"{len(failed)} failed, see {failures}")
    return 1 if failed else 0


def _convert(remaining: list[Job], conversion: Conversion, args: argparse.Namespace) -> list[str]:
    """Convert the videos and return the errors."""
    start, failed, done = time.perf_counter(), [], []
    outcomes = run_conversion(remaining, conversion, args.workers)
    for outcome in with_progress(outcomes, len(remaining), args.command):
        if outcome.error:
            failed.append(outcome.error)
            print(f"failed: {outcome.error}")
        else:
            done.append(outcome.job)
    if done:
        seconds = time.perf_counter() - start
        before, after = sum(size_of(job.source) for job in done), sum(size_of(job.target) for job in done)
        sizes = f"{format_bytes(before)} of videos are now {format_bytes(after)}, {after / before:.2f} times"
        print(f"converted {len(done)} in {seconds:.0f} s: {sizes}")
    if args.sample and done and done[0].target.is_file():
        few = [done[i] for i in np.unique(np.linspace(0, len(done) - 1, args.sample).astype(int))]
        with tempfile.TemporaryDirectory(prefix="vexp_sample_") as folder:
            print_reading(*reading_times([(job.source, job.target) for job in few], Path(folder)))
    return failed


# ---- helpers ----


def _list_paths(args: argparse.Namespace) -> dict[str, Path]:
    paths = {split: getattr(args, split) for split in SPLITS}
    return {split: path.expanduser().absolute() for split, path in paths.items() if path is not None}


def _collection(args: argparse.Namespace, leave_out: Path | None = None) -> Collection:
    classes = read_classes(args.classes) if args.classes else None
    return collect(
        args.source, _list_paths(args), format=args.list_format, classes=classes, file_name=args.file_name,
        leave_out=leave_out,
    )  # fmt: skip


def _inspect(
    args: argparse.Namespace, collection: Collection, previous: Mapping[str, FileInfo]
) -> tuple[dict[str, FileInfo], Journal]:
    """Inspect every file; the caller finishes the journal once the results are written."""
    template = args.filename_tmpl or TEMPLATES["Flow" if args.flow else "RGB"]
    check_template(template, flow=args.flow)
    inspect = Inspect(args.source, args.decode, FolderOfFrames(template, args.start_index, args.flow))
    settings = {"videos": str(args.source), "decode": args.decode, **asdict(inspect.frames)}
    infos = {}
    with Journal(args.target, settings) as journal:
        found = inspect_all(collection.names, inspect, journal, previous, args.workers)
        for info in with_progress(found, len(collection.names), args.command):
            infos[info.path] = info
            if info.fault and args.command == "index":  # check reports it at the end
                print(f"{info.fault}: {info.error}")
    return infos, journal


def _present(split: str, rows: Annotation, args: argparse.Namespace, infos: Mapping[str, FileInfo]) -> Annotation:
    """Return the samples whose file exists and has no fault in the index."""
    valid, faulty, missing = [], [], []
    for row in range(len(rows)):
        info = infos.get(rows.name(row))
        if not storage.exists(rows.path(row)):
            missing.append(row)
        elif info is not None and info.fault not in ("", MISSING):
            faulty.append(row)
        else:
            valid.append(row)
    if missing and not args.drop_missing:
        raise UserError(
            f"{split}: {len(missing)} of {len(rows)} files are not below {args.source}, the first is "
            f"{rows.name(missing[0])}; --drop-missing leaves them out"
        )
    for reason, indices in (("missing", missing), ("faulty", faulty)):
        if indices:
            print(f"{split}: {len(indices)} {reason} left out, the first is {rows.name(indices[0])}")
    if not valid:
        raise UserError(f"{split}: no sample is left")
    return rows.take(valid) if len(valid) < len(rows) else rows


def _write_lists(folder: Path, prefix: Path | str, splits: Mapping[str, Annotation], kind: str, overrides: str) -> None:
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    if not splits:
        return
    written = list_files.write_lists(folder, splits, kind)
    command = ["vexp train", overrides]
    for split, path in zip(splits, written, strict=False):
        command.append(f"data.{split}.ann_file={path} data.{split}.data_prefix={prefix}")
    if len(written) > len(splits):
        command.append(f"data.classes={written[-1]}")
    if "val" not in splits:
        command.append("data.val.hold_out=0.1")
    print(" \\\n  ".join(command))
