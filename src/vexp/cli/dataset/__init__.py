"""Work on a folder of videos: index it, check it, write lists, re-encode it, extract frames or optical flow.

COMMAND and TARGET are one of
  index INDEX      a table with the frames, fps, size, key frames and checksum of every video
  check REPORT     missing, damaged and duplicate videos, leaks between splits
  lists LISTS      lists for training, split without leaks
  rescale PROXIES  smaller copies that are faster to read at random positions
  frames FRAMES    every frame as a JPEG, for data=raw_frames
  flow FLOW        optical flow, for data=raw_frames data.modality=Flow

The videos are those below VIDEOS, or those in the lists of --train, --val and --test, in any format that vexp reads;
without lists, VIDEOS/CLASS/* or VIDEOS/train/CLASS/* define the classes. An interrupted command resumes when it is run
again; finished videos are skipped. No file is left half written under its final name.

Exit status: 0 success, 1 a fault was found or a video failed, 2 invalid arguments, 130 interrupted.

Usage: vexp dataset COMMAND VIDEOS TARGET [options]

Examples:
  vexp dataset check videos report.json
  vexp dataset lists videos lists --hold-out val=0.1
  vexp dataset rescale videos proxies
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vexp.cli.arguments import FlagParser, path_argument, whole_number
from vexp.cli.dataset import commands
from vexp.core.errors import UserError
from vexp.core.interrupt import EXIT_KEYBOARD_INTERRUPT
from vexp.data import storage
from vexp.data.annotations.list_files import FORMATS
from vexp.data.sources.splits import SPLITS
from vexp.tools.dataset.extract_frames import FLOW_METHODS, ExtractFlow, ExtractFrames, check_template, flow_method
from vexp.tools.dataset.lists import KINDS
from vexp.tools.dataset.reencode import ENCODINGS

_MAX_WORKERS = 1000  # processes


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    args = parser().parse_args(argv)
    args.target = args.target.expanduser().absolute()
    if isinstance(args.source, str) and (problem := storage.problem(args.source)):
        raise UserError(f"{args.source}: {problem}")
    try:
        return int(args.run(args))
    except OSError as error:
        raise UserError(f"{error.filename or args.target}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        print("vexp: interrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_KEYBOARD_INTERRUPT


def _rescale(args: argparse.Namespace) -> int:
    encoding = replace(ENCODINGS[args.encoding], short_side=args.short_side)
    if args.quality:
        encoding = replace(encoding, quality=args.quality)
    if args.gop and args.encoding == "h264":
        encoding = replace(encoding, gop=args.gop)
    return commands.convert(args, encoding, "data=video_list")


def _frames(args: argparse.Namespace) -> int:
    check_template(args.filename_tmpl, flow=False)
    conversion = ExtractFrames(**_frame_options(args))
    return commands.convert(args, conversion, f"data=raw_frames{_file_name_overrides(conversion)}")


def _flow(args: argparse.Namespace) -> int:
    check_template(args.filename_tmpl, flow=True)
    flow_method(args.method)
    conversion = ExtractFlow(**_frame_options(args), method=args.method, bound=args.bound)
    overrides = f"data=raw_frames data.modality=Flow{_file_name_overrides(conversion)} img_norm=flow model.channels=2"
    return commands.convert(args, conversion, overrides)


def _frame_options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("filename_tmpl", "start_index", "quality", "short_side")}


def _file_name_overrides(conversion: ExtractFrames | ExtractFlow) -> str:
    """Return the overrides for file names that differ from the defaults of training."""
    default, overrides = type(conversion)(), ""
    if conversion.filename_tmpl != default.filename_tmpl:
        overrides += f" 'data.filename_tmpl=\"{conversion.filename_tmpl}\"'"
    if conversion.start_index != default.start_index:
        overrides += f" data.start_index={conversion.start_index}"
    return overrides


# ---- arguments ----


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = FlagParser(prog="vexp dataset", description=__doc__)
    help = "vexp dataset COMMAND --help describes its options."
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", help=help, prog="vexp dataset")
    for add in (_add_index, _add_check, _add_lists, _add_rescale, _add_frames, _add_flow):
        add(partial(_new_command, subparsers))
    return whole


def _source(text: str) -> Path | str:
    """Convert the argument VIDEOS to an absolute path, or to the text of an archive or a server."""
    path_argument(text)
    if problem := storage.prefix_rule(text):
        raise argparse.ArgumentTypeError(problem)
    path = storage.prefix(text)
    return path if storage.is_stored(path) else Path(path)


def _new_command(subparsers: Any, name: str, run: object, summary: str, target: str, target_help: str) -> Any:
    """Add a command; return the method that adds an argument to it."""
    doc = f"{summary}\n\nUsage: vexp dataset {name} VIDEOS {target} [options]"
    command: argparse.ArgumentParser = subparsers.add_parser(name, description=doc)
    command.set_defaults(run=run)
    add = command.add_argument
    help = "Folder of the videos (data_prefix); index, check and lists also read archives and servers."
    add("source", type=_source, metavar="VIDEOS", help=help)
    add("target", type=path_argument, metavar=target, help=target_help)
    for split in SPLITS:
        add(f"--{split}", type=path_argument, metavar="LIST", help=f"List of the {split} split.")
    add("--list-format", choices=("auto", *FORMATS), default="auto", help="Format of the lists.")
    add("--classes", type=path_argument, metavar="FILE", help="Names of all classes, in the order of their labels.")
    add("--file-name", metavar="TEMPLATE", help="File name of a listed sample, as in data.file_name.")
    add("--dry-run", action="store_true", help="Print what would be done, and exit.")
    if name != "lists":
        help = "Number of worker processes; 0: none, work in this process."
        add("--workers", type=whole_number(0, _MAX_WORKERS), default=os.cpu_count() or 1, help=help)
    return add


def _add_index(new: Any) -> None:
    summary, target = "Write a table with the properties of every video.", "Table to write, .csv or .json."
    add = new("index", commands.index, summary, "INDEX", target)
    _add_frame_names(add)
    add("--decode", action="store_true", help="Also decode every frame, strictly.")


def _add_check(new: Any) -> None:
    add = new("check", commands.check, "Find everything that is wrong with a dataset.", "REPORT", "Report, .json.")
    _add_frame_names(add)
    add("--decode", action="store_true", help="Decode every frame, strictly; finds damaged frames.")
    add("--index", type=path_argument, metavar="FILE", help="Earlier index; reports what has changed since.")


def _add_lists(new: Any) -> None:
    add = new("lists", commands.lists, "Write lists for training.", "LISTS", "Folder of the lists.")
    _add_kind(add)
    help = "Share of the training samples to move to val or test, in whole groups, per class; may be repeated."
    add("--hold-out", type=_share, action="append", default=[], metavar="val=0.1", help=help)
    add("--seed", type=whole_number(0), default=0, help="Seed of --hold-out.")
    add("--group", type=_pattern, metavar="REGEX", help="Part of a file name that is its group: 'v_.*_g[0-9]+'.")
    help = "Index; duplicates stay in one split, and faulty files are left out."
    add("--index", type=path_argument, metavar="FILE", help=help)
    add("--drop-missing", action="store_true", help="Leave out listed files that do not exist.")


def _add_rescale(new: Any) -> None:
    summary = "Write smaller copies that are faster to read."
    add = new("rescale", _rescale, summary, "PROXIES", "Folder of the copies.")
    _add_kind(add, sample=True)
    add(
        "--encoding", choices=tuple(ENCODINGS), default="h264",
        help="h264: MP4 with a key frame every 12 frames; mjpeg: Matroska with JPEG frames, the fastest to read and "
        "several times as large.",
    )  # fmt: skip
    add("--short-side", type=whole_number(2), default=256, help="Short side in pixels; smaller videos keep their size.")
    add("--gop", type=whole_number(1), metavar="N", help="h264: frames between key frames; 12 by default.")
    help = "h264: crf, 20 by default; mjpeg: quantizer, 3 by default; lower is better and larger."
    add("--quality", type=whole_number(1), metavar="N", help=help)


def _add_frames(new: Any) -> None:
    add = new("frames", _frames, "Write every frame as a JPEG.", "FRAMES", "Folder of the folders of frames.")
    _add_jpeg(add, ExtractFrames())


def _add_flow(new: Any) -> None:
    add = new("flow", _flow, "Write optical flow as pairs of gray JPEGs.", "FLOW", "Folder of the folders of flow.")
    _add_jpeg(add, ExtractFlow())
    add("--method", choices=FLOW_METHODS, default="dis", help="Algorithm; tvl1 needs opencv-contrib-python-headless.")
    add("--bound", type=_positive, default=20.0, help="Displacement in pixels that is stored as 0 and 255.")


def _add_kind(add: Any, *, sample: bool = False) -> None:
    add("--to", choices=tuple(KINDS), default="csv", help="Format of the lists that are written; csv: vexp's own.")
    if sample:
        add("--sample", type=whole_number(0), default=4, help="Number of videos on which cost and gain are estimated.")


def _add_jpeg(add: Any, default: ExtractFrames | ExtractFlow) -> None:
    _add_kind(add, sample=True)
    _add_frame_names(add, default.filename_tmpl)
    add("--quality", type=whole_number(1, 100), default=default.quality, help="JPEG quality.")
    add("--short-side", type=whole_number(2), metavar="N", help="Short side in pixels; unchanged by default.")


def _add_frame_names(add: Any, template: str | None = None) -> None:
    """Add the options for names of frame files; index and check have them, because lists may name folders of frames."""
    shown = "" if template else "; img_{:05}.jpg by default, flow_{}_{:05d}.jpg with --flow"
    add("--filename-tmpl", default=template, metavar="TEMPLATE", help=f"File name of a frame{shown}.")
    add("--start-index", type=whole_number(0), default=1, help="Number of the first frame of a folder.")
    if template is None:
        add("--flow", action="store_true", help="Folders of frames contain optical flow.")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return number


def _share(text: str) -> tuple[str, float]:
    split, _, share = text.partition("=")
    try:
        if split in ("val", "test") and 0 < float(share) < 1:
            return split, float(share)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not val=0.1 or test=0.1, a share between 0 and 1")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None
