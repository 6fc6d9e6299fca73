"""A folder of videos made into a data set that can be trusted: look at it, check it, convert it, list it.

    vexp dataset index   VIDEOS index.csv        frames, fps, sizes, key frames, checksums of every file
    vexp dataset check   VIDEOS report.json      what is missing, damaged, double, in two splits at once
    vexp dataset lists   VIDEOS LISTS            lists for training, divided without leaks
    vexp dataset rescale VIDEOS PROXIES          smaller copies that are faster to read at random
    vexp dataset frames  VIDEOS FRAMES           every frame a JPEG, for data=raw_frames
    vexp dataset flow    VIDEOS FLOW             optical flow, for data=raw_frames data.modality=Flow

All work on the videos below VIDEOS, or on those that the lists of --train, --val and --test name, in any format that
vexp reads; without lists, VIDEOS/CLASS/* or VIDEOS/train/CLASS/* give the classes. Run a command again after a stop: it
goes on, and what is done is not done again. Nothing half appears under its name.

Exit status: 0 all is well, 1 something was found or failed (and is named), 2 it cannot be done as asked, 130 stopped.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vexp.cli.dataset import commands as verbs
from vexp.core.errors import UserError
from vexp.data.annotations.list_files import FORMATS
from vexp.data.sources.splits import SPLITS
from vexp.tools.dataset.extract_frames import FLOW_METHODS, ExtractFlow, ExtractFrames, check_template, flow_method
from vexp.tools.dataset.lists import KINDS
from vexp.tools.dataset.reencode import ENCODINGS

Commands = Any
"""What argparse gives for the commands of a parser; its type has no public name."""


def main(words: list[str] | None = None) -> int:
    """Exit status."""
    args = parser().parse_args(words)
    try:
        args.source, args.target = args.source.expanduser().absolute(), args.target.expanduser().absolute()
        return int(args.run(args, Console()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or args.target}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for add in (_index, _check, _lists, _rescale, _frames, _flow):
        add(commands)
    return whole


def _rescale_run(args: argparse.Namespace, console: Console) -> int:
    encoding = replace(ENCODINGS[args.encoding], short_side=args.short_side)
    if args.quality:
        encoding = replace(encoding, quality=args.quality)
    if args.gop and args.encoding == "h264":
        encoding = replace(encoding, gop=args.gop)
    return verbs.convert(args, encoding, "data=video_list", console)


def _frames_run(args: argparse.Namespace, console: Console) -> int:
    check_template(args.filename_tmpl, flow=False)
    conversion = ExtractFrames(**_of_frames(args))
    return verbs.convert(args, conversion, f"data=raw_frames{_changed(conversion)}", console)


def _flow_run(args: argparse.Namespace, console: Console) -> int:
    check_template(args.filename_tmpl, flow=True)
    flow_method(args.method)
    conversion = ExtractFlow(**_of_frames(args), method=args.method, bound=args.bound)
    words = f"data=raw_frames data.modality=Flow{_changed(conversion)} img_norm=flow model.channels=2"
    return verbs.convert(args, conversion, words, console)


def _of_frames(args: argparse.Namespace) -> dict[str, object]:
    return {name: getattr(args, name) for name in ("filename_tmpl", "start_index", "quality", "short_side")}


def _changed(conversion: ExtractFrames | ExtractFlow) -> str:
    """The words for training that say how files are named, where it is not as training takes it to be."""
    usual, words = type(conversion)(), ""
    if conversion.filename_tmpl != usual.filename_tmpl:
        words += f" 'data.filename_tmpl=\"{conversion.filename_tmpl}\"'"
    if conversion.start_index != usual.start_index:
        words += f" data.start_index={conversion.start_index}"
    return words


# ---- words ----


def _command(commands: Commands, name: str, run: object, help: str, target: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    command.set_defaults(run=run)
    command.add_argument("source", type=Path, metavar="VIDEOS", help="folder of the videos: what data_prefix is")
    command.add_argument("target", type=Path, metavar=target.split()[0], help=target.split(maxsplit=1)[1])
    for split in SPLITS:
        command.add_argument(f"--{split}", type=Path, metavar="LIST", help=f"list of the {split} split")
    command.add_argument(
        "--list-format", choices=("auto", *FORMATS), default="auto", metavar="FORMAT",
        help=f"of the lists, where it is not recognised: {', '.join(FORMATS)}",
    )  # fmt: skip
    command.add_argument("--classes", type=Path, metavar="FILE", help="names of all classes, by number")
    command.add_argument("--file-name", metavar="TEMPLATE", help="of a listed sample, as data.file_name")
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    if name != "lists":
        cores = os.cpu_count() or 1
        command.add_argument("--workers", type=_from(0), default=cores, help=f"processes; {cores}; 0: this one")
    return command


def _index(commands: Commands) -> None:
    command = _command(
        commands, "index", verbs.index, "a table of facts of every video", "INDEX table that is written, .csv or .json"
    )
    _add_frame_names(command)
    command.add_argument("--decode", action="store_true", help="also decode every frame, strictly")


def _check(commands: Commands) -> None:
    command = _command(
        commands, "check", verbs.check, "everything that is wrong with a data set", "REPORT what was found, as JSON"
    )
    _add_frame_names(command)
    command.add_argument("--decode", action="store_true", help="decode every frame, strictly: finds what is damaged")
    command.add_argument("--index", type=Path, help="index of an earlier day: names what has changed since")


def _lists(commands: Commands) -> None:
    command = _command(commands, "lists", verbs.lists, "lists for training", "LISTS folder that they are written to")
    _add_kind(command)
    command.add_argument(
        "--hold-out", type=_share, action="append", default=[], metavar="SPLIT=SHARE",
        help="part of the training samples that becomes val or test, whole groups of every class: val=0.1; repeat it",
    )  # fmt: skip
    command.add_argument("--seed", type=_from(0), default=0, help="of --hold-out; 0")
    command.add_argument("--group", type=_pattern, metavar="REGEX", help="what of a name is its group: 'v_.*_g[0-9]+'")
    command.add_argument("--index", type=Path, help="index: copies are kept together, files with a fault left out")
    command.add_argument("--drop-missing", action="store_true", help="leave out what is listed and not there")


def _rescale(commands: Commands) -> None:
    command = _command(
        commands, "rescale", _rescale_run, "smaller copies that are faster to read", "PROXIES folder of the copies"
    )
    _add_kind(command, sample=True)
    command.add_argument(
        "--encoding", choices=tuple(ENCODINGS), default="h264",
        help="h264: MP4 with a key frame every 12 frames; mjpeg: every frame a JPEG, Matroska: the fastest to read, "
        "several times the space; h264",
    )  # fmt: skip
    command.add_argument("--short-side", type=_from(2), default=256, help="pixels; smaller videos keep their size; 256")
    command.add_argument("--gop", type=_from(1), help="frames from key frame to key frame (h264); 12")
    command.add_argument("--quality", type=_from(1), help="h264: crf, 20; mjpeg: quantiser, 3; lower is better, larger")


def _frames(commands: Commands) -> None:
    command = _command(commands, "frames", _frames_run, "every frame a JPEG", "FRAMES folder of the folders of frames")
    _add_jpeg(command, ExtractFrames())


def _flow(commands: Commands) -> None:
    command = _command(
        commands, "flow", _flow_run, "optical flow as pairs of grey JPEGs", "FLOW folder of the folders of flow"
    )
    _add_jpeg(command, ExtractFlow())
    command.add_argument(
        "--method", choices=FLOW_METHODS, default="dis", help="dis; tvl1 needs opencv-contrib-python-headless"
    )
    command.add_argument("--bound", type=_positive, default=20.0, help="pixels that become 0 and 255; 20")


def _add_kind(command: argparse.ArgumentParser, *, sample: bool = False) -> None:
    command.add_argument("--to", choices=tuple(KINDS), default="csv", help="whose lists are written; csv: vexp's own")
    if sample:
        command.add_argument("--sample", type=_from(0), default=4, help="videos that cost and gain are measured on; 4")


def _add_jpeg(command: argparse.ArgumentParser, usual: ExtractFrames | ExtractFlow) -> None:
    _add_kind(command, sample=True)
    _add_frame_names(command, usual.filename_tmpl)
    command.add_argument("--quality", type=_from(1, 100), default=usual.quality, help=f"of the JPEGs; {usual.quality}")
    command.add_argument("--short-side", type=_from(2), help="pixels; as it is")


def _add_frame_names(command: argparse.ArgumentParser, template: str | None = None) -> None:
    """Of index and check, too: lists may name folders of frames."""
    shown = template or "img_{:05}.jpg, with --flow flow_{}_{:05d}.jpg"
    command.add_argument("--filename-tmpl", default=template, metavar="TEMPLATE", help=f"file of a frame; {shown}")
    command.add_argument("--start-index", type=_from(0), default=1, help="number of a folder's first frame; 1")
    if template is None:
        command.add_argument("--flow", action="store_true", help="folders of frames hold optical flow")


def _from(least: int, most: int | None = None) -> object:
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
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
