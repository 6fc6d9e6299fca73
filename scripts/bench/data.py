"""The data path against the eager one of mmaction2: CPU time, clips a second, frames decoded, bytes sent.

    python scripts/bench/data.py                          every case, some ten minutes
    python scripts/bench/data.py --only "340x256 raw"     the cases whose names hold these words
    python scripts/bench/data.py --footage VIDEO          on one's own frames instead of a generated scene
    python scripts/bench/data.py --quick                  does it run; its figures mean nothing

(a) is decord or JPEG frames (with the library that (b) has, or with OpenCV, the default), OpenCV steps frame by frame,
float32 Normalize, NCTHW, default collate, as documented (scripts/bench/data_peer.py), or mmaction2 0.24.1 itself
(scripts/bench/data_mmaction2.py). (b) is vexp: lists, ClipDataset, one resample, uint8 batch; then `img_norm` on the
device.
Both draw the same random numbers and end with the same float32 NCTHW tensor on the device. Rounds take turns between
(a) and (b); the table gives medians over the rounds, ratios are medians of the ratios of the rounds.

    decoder alone  share of (b) that libavcodec or libjpeg-turbo takes for the frames that have to be decoded
    a/b, CPU       until the batch is ready to be sent to the device: what is left to the CPU where a GPU normalises
    with norm      the same up to the normalised tensor, on a device that is a CPU
    a/b, wall      the same as the first in wall time, which other programs on the machine disturb
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import data_media as media
import torch
from data_rounds import Case, Figures, Paths
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vexp.core.malloc import configure_malloc
from vexp.data.transforms.crops import RandomResizedCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.resize import Flip, Resize
from vexp.tools.dataset.conversion import Job
from vexp.tools.dataset.reencode import ENCODINGS

Size = tuple[int, int]
WARM_UP = 999
"""Number of a round that is not counted."""
SIZES: tuple[Size, ...] = ((340, 256), (1280, 720))


def training(clip_len: int, frame_interval: int) -> dict[str, Any]:
    """A random place, area and aspect, 224x224, mirrored or not."""
    return {
        "sample": SampleFrames(clip_len=clip_len, frame_interval=frame_interval),
        "crop": RandomResizedCrop(),
        "resize": Resize(scale=[224, 224], keep_ratio=False),
        "flip": Flip(),
    }


def testing() -> dict[str, Any]:
    """Ten clips of 16x4, three crops of 256."""
    return {
        "sample": SampleFrames(clip_len=16, frame_interval=4, num_clips=10, test_mode=True),
        "short_side": Resize(scale=[-1, 256]),
        "three_crop": ThreeCrop(crop_size=256),
    }


def cases_of(size: Size, folder: Path, frames: int, footage: Path | None) -> list[Case]:
    """The rows of one frame size. `target`: the ratios that were reached by a prototype."""
    name, small = f"{size[0]}x{size[1]}", size == SIZES[0]

    def video(gop: int) -> Callable[[], Path]:
        return lambda: media.video(folder, size, gop, frames, footage)

    def raw() -> Path:
        return media.raw_frames(folder, size, frames, footage)

    def proxy(encoding: str) -> Callable[[], Path]:
        return lambda: made_proxy(video(250)(), encoding)

    clip, found = training(16, 4), []
    for gop in (250, 12):
        target = 3.0 if not small else 1.9 if gop == 250 else 2.1
        found += [
            Case(name=f"{name} video 16x4 GOP {gop}", steps=clip, original=video(gop), target=target),
            Case(name=f"{name} video 32x2 GOP {gop}", steps=training(32, 2), original=video(gop)),
            Case(name=f"{name} test GOP {gop}", steps=testing(), original=video(gop), per_round=1, target=9.0),
        ]
    found += [
        Case(name=f"{name} GOP 250, (b) H.264 proxy", steps=clip, original=video(250), proxy=proxy("h264")),
        Case(
            name=f"{name} GOP 250, (b) MJPEG proxy", steps=clip, original=video(250), proxy=proxy("mjpeg"), target=8.0
        ),
        Case(name=f"{name} raw frames 16x4", steps=clip, original=raw, kind="raw", per_round=8, target=2.7),
        Case(name=f"{name} raw frames 16x4, OpenCV", steps=clip, original=raw, kind="raw", jpeg="cv2", per_round=8),
    ]
    if small:
        found += [
            Case(
                name=f"{name} spatial part 16x4", steps=clip, original=raw, kind="raw", measure="spatial", per_round=16,
                target=3.5,
            ),
            Case(
                name=f"{name} raw frames 16x4, loader", steps=clip, original=raw, kind="raw", measure="loader",
                per_round=512,
            ),
            Case(
                name=f"{name} raw frames 16x4, OpenCV, loader", steps=clip, original=raw, kind="raw", jpeg="cv2",
                measure="loader", per_round=512, target=4.0,
            ),
            Case(
                name=f"{name} video 16x4 GOP 250, loader", steps=clip, original=video(250), measure="loader",
                per_round=48,
            ),
        ]  # fmt: skip
    return found


def made_proxy(original: Path, encoding: str) -> Path:
    """The copy that vexp dataset rescale makes of a video; created once."""
    path = original.with_name(f"{original.stem}_{encoding}").with_suffix(ENCODINGS[encoding].suffix)
    if not path.exists():
        ENCODINGS[encoding](Job(original, path))
    return path


def summary(rounds: list[Figures]) -> Figures:
    """Medians, and of the ratios of each round."""
    found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    for ratio, name in (("ratio", ""), ("ratio_norm", "_norm"), ("ratio_wall", "_wall")):
        ratios = [each[f"a{name}"] / each[f"b{name}"] for each in rounds]
        found |= {ratio: statistics.median(ratios), f"{ratio}_low": min(ratios), f"{ratio}_high": max(ratios)}
    return found


HEADERS = (
    "case", "(a) CPU ms", "(b) CPU ms", "decoder alone", "a/b, CPU", "range", "with norm", "a/b, wall", "target",
    "decoded a, b", "KB a, b", "clips/s a, b",
)  # fmt: skip


def row(case: Case, found: Figures) -> list[str]:
    def pair(name: str, digits: int, scale: float = 1) -> str:
        values = [found.get(f"{path}_{name}") for path in "ab"]
        return ", ".join(f"{value * scale:.{digits}f}" for value in values if value is not None)

    alone = f"{found['b_decoder'] / found['b']:.0%}" if "b_decoder" in found else ""
    promised = "ratio_wall" if case.measure == "loader" else "ratio"
    target = "" if case.target is None else f"{case.target} {'met' if found[promised] >= case.target else 'missed'}"
    return [
        case.name, f"{found['a'] * 1e3:.1f}", f"{found['b'] * 1e3:.1f}", alone, f"{found['ratio']:.2f}",
        f"{found['ratio_low']:.2f}-{found['ratio_high']:.2f}",
        "" if case.measure == "loader" else f"{found['ratio_norm']:.2f}",
        f"{found['ratio_wall']:.2f}", target, pair("decoded", 2), pair("bytes", 0, 1e-3), pair("clips_per_s", 1),
    ]  # fmt: skip


def report(results: list[tuple[Case, Figures]], title: str, markdown: Path | None) -> None:
    """A table on the terminal, and as Markdown where a file is named."""
    table = Table(*HEADERS, title=title)
    rows = [row(case, found) for case, found in results]
    for cells in rows:
        table.add_row(*cells)
    Console(width=180).print(table)
    if markdown is not None:
        lines = [title, "", "| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
        markdown.write_text("\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="words that the names of the cases must hold")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8, help="of the loaders")
    parser.add_argument("--device", default="cpu", help="that both paths end on")
    parser.add_argument("--media", type=Path, help="folder that keeps the media; a temporary one, kept between runs")
    parser.add_argument("--footage", type=Path, help="a video whose frames take the place of the generated scene")
    parser.add_argument("--mmaction2", help="an interpreter that has it: (a) is mmaction2 itself")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--quick", action="store_true", help="one round of small, short media")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    configure_malloc()  # as in every run; the documented path, in the same process, has it too
    folder = args.media or Path(tempfile.gettempdir()) / "vexp_bench_data"
    folder.mkdir(parents=True, exist_ok=True)
    sizes, frames = (SIZES, 300) if not args.quick else (SIZES[:1], 80)
    chosen = [
        case for size in sizes for case in cases_of(size, folder, frames, args.footage) if hold(case.name, args.only)
    ]
    if not chosen:
        parser.error(f"--only {args.only!r}: no case has such a name")
    console = Console(stderr=True)
    results = []
    for case in chosen:
        if args.quick:
            case = replace(case, per_round=min(case.per_round, 4 * args.batch_size))
        paths = Paths(
            case, names=512, batch_size=args.batch_size, workers=args.workers, device=torch.device(args.device),
            mmaction2=args.mmaction2,
        )  # fmt: skip
        paths.turn(WARM_UP)  # files in the page cache, libraries loaded
        turns = track(range(1 if args.quick else args.rounds), case.name, console=console, transient=True)
        found = summary([paths.turn(number) for number in turns]) | paths.decoded_per_used(8)
        paths.peer.close()
        console.print(f"{case.name}: {found['ratio']:.2f} (wall {found['ratio_wall']:.2f})")
        results.append((case, found))
    measured = "mmaction2 itself" if args.mmaction2 else "the documented path"
    machine = f"{processor()}, Python {platform.python_version()}"
    title = f"(a) {measured}; {args.rounds} rounds, one thread, {args.workers} workers, {machine}"
    report(results, title, args.markdown)
    if args.json is not None:
        rows = [{"case": case.name, "target": case.target} | found for case, found in results]
        args.json.write_text(json.dumps({"title": title, "cases": rows}, indent=1) + "\n")


def hold(name: str, words: str) -> bool:
    return all(word in name for word in words.split())


def processor() -> str:
    """Its name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
