"""Work on a folder of videos: index it, check it, write lists, re-encode it, extract frames or optical flow.

  vexp dataset index   VIDEOS index.csv      frames, fps, size, key frames and checksum of every video
  vexp dataset check   VIDEOS report.json    missing, damaged and duplicate videos, leaks between splits
  vexp dataset lists   VIDEOS LISTS          lists for training, split without leaks
  vexp dataset rescale VIDEOS PROXIES        smaller copies that are faster to read at random positions
  vexp dataset frames  VIDEOS FRAMES         every frame as a JPEG, for data=raw_frames
  vexp dataset flow    VIDEOS FLOW           optical flow, for data=raw_frames data.modality=Flow

The videos are those below VIDEOS, or those in the lists of --train, --val and --test, in any format that vexp reads;
without lists, VIDEOS/CLASS/* or VIDEOS/train/CLASS/* define the classes. An interrupted command resumes when it is run
again; finished videos are skipped. No file is left half written under its final name.

Exit status: 0 success, 1 a fault was found or a video failed, 2 invalid arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vexp.cli.arguments import FlagParser
from vexp.cli.dataset import commands
from vexp.config.command import EXIT_KEYBOARD_INTERRUPT
from vexp.core.errors import UserError
from vexp.data.annotations.list_files import FORMATS
from vexp.data.sources.splits import SPLITS
from vexp.tools.dataset.extract_frames import FLOW_METHODS, ExtractFlow, ExtractFrames, check_template, flow_method
from vexp.tools.dataset.lists import KINDS
from vexp.tools.dataset.reencode import ENCODINGS

#: What argparse returns for the commands of a parser; its type has no public name.
Subparsers = Any


def main(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    args.source, args.target = args.source.expanduser().absolute(), args.target.expanduser().absolute()
    try:
        return int(args.run(args, Console()))
    except OSError as error:
        raise UserError(f"{error.filename or args.target}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        print("vexp: interrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_KEYBOARD_INTERRUPT


def parser() -> argparse.ArgumentParser:
    whole = FlagParser(prog="vexp dataset", description=__doc__)
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=FlagParser)
    for add in (_add_index, _add_check, _add_lists, _add_rescale, _add_frames, _add_flow):
        add(subparsers)
    return whole


def _rescale_run(args: argparse.Namespace, console: Console) -> int:
    encoding = replace(ENCODINGS[args.encoding], short_side=args.short_side)
    if args.quality:
        encoding = replace(encoding, quality=args.quality)
    if args.gop and args.encoding == "h264":
        encoding = replace(encoding, gop=args.gop)
    return commands.convert(args, encoding, "data=video_list", console)


def _frames_run(args: argparse.Namespace, console: Console) -> int:
    check_template(args.filename_tmpl, flow=False)
    conversion = ExtractFrames(**_frame_options(args))
    return commands.convert(args, conversion, f"data=raw_frames{_file_name_overrides(conversion)}", console)


def _flow_run(args: argparse.Namespace, console: Console) -> int:
    check_template(args.filename_tmpl, flow=True)
    flow_method(args.method)
    conversion = ExtractFlow(**_frame_options(args), method=args.method, bound=args.bound)
    overrides = f"data=raw_frames data.modality=Flow{_file_name_overrides(conversion)} img_norm=flow model.channels=2"
    return commands.convert(args, conversion, overrides, console)


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


def _new_command(subparsers: Subparsers, name: str, run: object, help: str, target: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}."
    )
    command.set_defaults(run=run)
    command.add_argument("source", type=Path, metavar="VIDEOS", help="Folder of the videos (data_prefix).")
    command.add_argument(
        "target", type=Path, metavar=target.split()[0], help=f"{target.split(maxsplit=1)[1].capitalize()}."
    )
    for split in SPLITS:
        command.add_argument(f"--{split}", type=Path, metavar="LIST", help=f"List of the {split} split.")
    command.add_argument(
        "--list-format", choices=("auto", *FORMATS), default="auto", metavar="FORMAT",
        help=f"Format of the lists, if it is not recognized: {', '.join(FORMATS)}.",
    )  # fmt: skip
    command.add_argument(
        "--classes", type=Path, metavar="FILE", help="File with the names of all classes, in the order of their labels."
    )
    command.add_argument("--file-name", metavar="TEMPLATE", help="File name of a listed sample, as in data.file_name.")
    command.add_argument("--dry-run", action="store_true", help="Print what would be done, and exit.")
    if name != "lists":
        cores = os.cpu_count() or 1
        command.add_argument(
            "--workers", type=_from(0), default=cores, help="Number of worker processes; 0: none, work in this process."
        )
    return command


def _add_index(subparsers: Subparsers) -> None:
    command = _new_command(
        subparsers,
        "index",
        commands.index,
        "write a table with the properties of every video",
        "INDEX table to write, .csv or .json",
    )
    _add_frame_names(command)
    command.add_argument("--decode", action="store_true", help="Also decode every frame, strictly.")


def _add_check(subparsers: Subparsers) -> None:
    command = _new_command(
        subparsers,
        "check",
        commands.check,
        "find everything that is wrong with a dataset",
        "REPORT report to write, .json",
    )
    _add_frame_names(command)
    command.add_argument("--decode", action="store_true", help="Decode every frame, strictly; finds damaged frames.")
    command.add_argument("--index", type=Path, help="Earlier index; reports what has changed since.")


def _add_lists(subparsers: Subparsers) -> None:
    command = _new_command(subparsers, "lists", commands.lists, "write lists for training", "LISTS folder of the lists")
    _add_kind(command)
    command.add_argument(
        "--hold-out", type=_share, action="append", default=[], metavar="SPLIT=SHARE",
        help="Share of the training samples to move to val or test, in whole groups, per class: val=0.1; may be repeated.",
    )  # fmt: skip
    command.add_argument("--seed", type=_from(0), default=0, help="Seed of --hold-out.")
    command.add_argument(
        "--group", type=_pattern, metavar="REGEX", help="Part of a file name that is its group: 'v_.*_g[0-9]+'."
    )
    command.add_argument(
        "--index", type=Path, help="Index; duplicates stay in one split, and faulty files are left out."
    )
    command.add_argument("--drop-missing", action="store_true", help="Leave out listed files that do not exist.")


def _add_rescale(subparsers: Subparsers) -> None:
    command = _new_command(
        subparsers,
        "rescale",
        _rescale_run,
        "write smaller copies that are faster to read",
        "PROXIES folder of the copies",
    )
    _add_kind(command, sample=True)
    command.add_argument(
        "--encoding", choices=tuple(ENCODINGS), default="h264",
        help="h264: MP4 with a key frame every 12 frames; mjpeg: Matroska with JPEG frames, the fastest to read and "
        "several times as large.",
    )  # fmt: skip
    command.add_argument(
        "--short-side", type=_from(2), default=256, help="Short side in pixels; smaller videos keep their size."
    )
    command.add_argument("--gop", type=_from(1), help="Frames between key frames (h264; default: 12).")
    command.add_argument(
        "--quality",
        type=_from(1),
        help="h264: crf (default: 20); mjpeg: quantizer (default: 3); lower is better and larger.",
    )


def _add_frames(subparsers: Subparsers) -> None:
    command = _new_command(
        subparsers, "frames", _frames_run, "write every frame as a JPEG", "FRAMES folder of the folders of frames"
    )
    _add_jpeg(command, ExtractFrames())


def _add_flow(subparsers: Subparsers) -> None:
    command = _new_command(
        subparsers, "flow", _flow_run, "write optical flow as pairs of gray JPEGs", "FLOW folder of the folders of flow"
    )
    _add_jpeg(command, ExtractFlow())
    command.add_argument(
        "--method", choices=FLOW_METHODS, default="dis", help="Algorithm; tvl1 needs opencv-contrib-python-headless."
    )
    command.add_argument(
        "--bound", type=_positive, default=20.0, help="Displacement in pixels that is stored as 0 and 255."
    )


def _add_kind(command: argparse.ArgumentParser, *, sample: bool = False) -> None:
    command.add_argument(
        "--to", choices=tuple(KINDS), default="csv", help="Format of the lists that are written; csv: vexp's own."
    )
    if sample:
        command.add_argument(
            "--sample", type=_from(0), default=4, help="Number of videos on which cost and gain are estimated."
        )


def _add_jpeg(command: argparse.ArgumentParser, default: ExtractFrames | ExtractFlow) -> None:
    _add_kind(command, sample=True)
    _add_frame_names(command, default.filename_tmpl)
    command.add_argument("--quality", type=_from(1, 100), default=default.quality, help="JPEG quality.")
    command.add_argument("--short-side", type=_from(2), help="Short side in pixels (default: unchanged).")


def _add_frame_names(command: argparse.ArgumentParser, template: str | None = None) -> None:
    """Add the options for names of frame files; index and check have them, because lists may name folders of frames."""
    shown = "" if template else " (default: img_{:05}.jpg, with --flow flow_{}_{:05d}.jpg)"
    command.add_argument("--filename-tmpl", default=template, metavar="TEMPLATE", help=f"File name of a frame{shown}.")
    command.add_argument("--start-index", type=_from(0), default=1, help="Number of the first frame of a folder.")
    if template is None:
        command.add_argument("--flow", action="store_true", help="Folders of frames contain optical flow.")


def _from(least: int, most: int | None = None) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        number = int(text)
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be at least {least}" + (f", at most {most}" if most else ""))
        return number

    return whole_number


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
