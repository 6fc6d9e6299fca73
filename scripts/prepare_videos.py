"""Smaller copies of videos that are faster to read at random: proxies for training.

    python scripts/prepare_videos.py VIDEOS PROXIES --dry-run            what it would cost and gain, from a sample
    python scripts/prepare_videos.py VIDEOS PROXIES                      all videos below VIDEOS
    python scripts/prepare_videos.py VIDEOS PROXIES --list train.txt --list val.txt        those in the lists

    --encoding h264     short side 256, a key frame every 12 frames, MP4
    --encoding mjpeg    every frame a JPEG, Matroska: the fastest to read, several times the space

Folders and names stay; a suffix becomes .mp4 or .mkv. Each list is written to PROXIES/lists with the new names, so that
training on the proxies is `data.train.data_prefix=PROXIES data.train.ann_file=PROXIES/lists/train.txt`. Frame n of a
proxy shows frame n of its original, at the same time; sound is left out, frames stand upright, none is enlarged.

Run it again after a stop: what is there and newer than its original is not made again. A proxy appears under its name
when it is whole and its frames have been counted. Videos that fail are named in PROXIES/failures.txt (exit status 1).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vexp.data.folders import VIDEO_SUFFIXES
from vexp.errors import UserError

if TYPE_CHECKING:
    from av import VideoFrame

TICKS = 90_000
"""Units a second of the times in a proxy, as in MPEG; Matroska keeps milliseconds."""

GROWS_SLOWLY = 1.2
"""Reading must become this many times as fast for proxies to be called worth it."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How proxies are encoded. ``quality``: x264's crf, or the quantiser of MJPEG; lower is better and larger."""

    suffix: str
    container: str
    codec: str
    pix_fmt: str
    quality: int
    gop: int
    short_side: int = 256

    @property
    def saves_index(self) -> bool:
        """Whether reading gains by it: where the file is large and little of it is wanted."""
        return self.codec == "mjpeg"

    @property
    def options(self) -> dict[str, str]:
        if self.codec == "mjpeg":
            lambda_per_quantiser = 118  # FF_QP2LAMBDA
            return {"flags": "+qscale", "global_quality": str(self.quality * lambda_per_quantiser)}
        return {"crf": str(self.quality), "preset": "medium"}


ENCODINGS = {
    "h264": Encoding(".mp4", "mp4", "libx264", "yuv420p", quality=20, gop=12),
    "mjpeg": Encoding(".mkv", "matroska", "mjpeg", "yuvj420p", quality=3, gop=1),
}


def encode(source: Path, target: Path, encoding: Encoding) -> int:
    """Write the proxy of one video, whole or not at all; number of its frames.

    Raises:
        UserError: the video, or a frame of it, cannot be decoded; or frames were lost on the way.
    """
    from vexp.data.decode import VideoReader
    from vexp.data.saved_index import index_path, save_index

    with VideoReader(source) as reader:
        num_frames, times = reader.num_frames, reader.times
    if times is None:
        raise UserError(f"{source}: does not say when its frames are shown")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    index_part = index_path(part)
    try:
        _write(part, _upright_frames(source, encoding), np.round(times * TICKS).astype(np.int64), encoding)
        with VideoReader(part) as reader:
            if reader.num_frames != num_frames:
                raise UserError(f"{source}: has {num_frames} frames, its proxy {reader.num_frames}: not kept")
            if encoding.saves_index:
                save_index(part, reader.file, index_part)
                index_part.replace(index_path(target))  # before the proxy: it says itself what it is the index of
        part.replace(target)
    finally:
        for left in (part, index_part):
            left.unlink(missing_ok=True)
    return num_frames


def _upright_frames(source: Path, encoding: Encoding) -> Iterator[VideoFrame]:
    """Every frame, in the size and pixel format of the proxy."""
    import av
    from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

    from vexp.data.container import open_stream, reason_of
    from vexp.data.picture import display_matrix, to_rgb, turns, upright

    container, stream = open_stream(source, strict=False)
    reformatter = VideoReformatter()
    jpeg = (
        {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.JPEG} if encoding.codec == "mjpeg" else {}
    )
    try:
        for number, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt:
                raise UserError(f"{source}: frame {number} is damaged")
            matrix, whole = display_matrix(frame), frame
            if turns(matrix):
                picture = np.ascontiguousarray(upright(to_rgb(frame, reformatter), matrix))
                whole = av.VideoFrame.from_ndarray(picture, format="rgb24")
            width, height = _size(whole.width, whole.height, encoding.short_side)
            yield reformatter.reformat(whole, width, height, encoding.pix_fmt, interpolation="AREA", threads=1, **jpeg)
    except av.FFmpegError as error:
        raise UserError(f"{source}: cannot be decoded whole: {reason_of(error)}") from error
    finally:
        container.close()


def _write(path: Path, frames: Iterable[VideoFrame], ticks: Any, encoding: Encoding) -> None:
    import av

    first, stream = None, None
    with av.open(f"file:{path}", "w", format=encoding.container) as output:
        for number, frame in enumerate(frames):
            if stream is None:
                first, stream = frame, output.add_stream(encoding.codec, options=encoding.options)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, encoding.pix_fmt
                coder = stream.codec_context
                coder.gop_size, coder.thread_count, coder.time_base = encoding.gop, 1, Fraction(1, TICKS)
                seconds = (ticks[-1] - ticks[0]) / TICKS
                rate = (len(ticks) - 1) / seconds if seconds > 0 else 25
                coder.framerate = Fraction(rate).limit_denominator(1001)
                coder.color_range, coder.colorspace = frame.color_range, frame.colorspace
            if (frame.width, frame.height) != (first.width, first.height):
                raise UserError(f"its frame {number} has another size than its first")
            if number >= len(ticks):
                break  # told by the count of the finished file
            frame.pts, frame.time_base, frame.pict_type = int(ticks[number]), Fraction(1, TICKS), 0
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))


def _size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Even, as chroma at half the size needs; never enlarged."""
    factor = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))


@dataclass(frozen=True, slots=True)
class Job:
    source: Path
    target: Path

    @property
    def is_done(self) -> bool:
        try:
            return self.target.stat().st_mtime_ns >= self.source.stat().st_mtime_ns
        except FileNotFoundError:
            return False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one job: an error, or what was written."""

    job: Job
    error: str = ""
    seconds: float = 0.0


def run_job(job: Job, encoding: Encoding) -> Outcome:
    """In a process of its own."""
    began = time.perf_counter()
    try:
        encode(job.source, job.target, encoding)
    except Exception as error:  # whatever it is, the other videos go on
        message = " ".join(str(error).split()) or type(error).__name__
        return Outcome(job, message if str(job.source) in message else f"{job.source}: {message}")
    return Outcome(job, seconds=time.perf_counter() - began)


def find_jobs(source: Path, target: Path, lists: list[Path], encoding: Encoding) -> list[Job]:
    """Every video below `source`, or those that the lists name, with the proxy of each.

    Raises:
        UserError: there is none; or two have the same proxy.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder of videos")
    if lists:
        names = {name for path in lists for line in _lines(path) for name in named_videos(line, source)}
    else:
        names = {
            str(path.relative_to(source))
            for path in source.rglob("*")
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and target not in path.parents
        }
    if not names:
        raise UserError(f"{', '.join(map(str, lists)) or source}: names no video that is below {source}")
    found: dict[Path, Job] = {}
    for name in sorted(names):
        job = Job(source / name, target / proxy_name(name, encoding))
        other = found.setdefault(job.target, job)
        if other is not job:
            raise UserError(f"{other.source} and {job.source}: would have the same proxy {job.target}; rename one")
    return list(found.values())


def proxy_name(name: str, encoding: Encoding) -> str:
    return str(Path(name).with_suffix(encoding.suffix))


_NAMED = re.compile(
    r"[^,;\t\"'\n]+?(?:" + "|".join(map(re.escape, sorted(VIDEO_SUFFIXES))) + r")(?=[\s,;\"']|$)", re.IGNORECASE
)


def named_videos(line: str, source: Path) -> list[str]:
    """Names in a line of a list, of whatever format, that are files below `source`."""
    found = []
    for match in _NAMED.finditer(line):
        text = match.group().strip()
        for name in (text, text.split()[-1]):
            if (source / name).is_file():
                found.append(name)
                break
    return found


def write_list(path: Path, source: Path, target: Path, encoding: Encoding) -> Path:
    """The list with the names of the proxies."""
    written = target / "lists" / path.name
    written.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for line in _lines(path):
        for name in named_videos(line, source):
            line = line.replace(name, proxy_name(name, encoding))
        lines.append(line)
    part = written.with_name(f".{written.name}.part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(written)
    return written


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list: {error}") from error


def check_settings(target: Path, encoding: Encoding, *, write: bool) -> None:
    """One folder holds proxies of one kind: the first run writes down which.

    Raises:
        UserError: those in the folder were made with other settings.
    """
    record, settings = target / "prepared.json", asdict(encoding)
    if record.exists():
        before = json.loads(record.read_text())
        if before != settings:
            changed = [
                f"{name} {before.get(name)} -> {value}" for name, value in settings.items() if before.get(name) != value
            ]
            raise UserError(
                f"{target}: holds proxies made with other settings ({', '.join(changed)}); name another folder"
            )
    elif write:
        target.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(settings, indent=1) + "\n")


def milliseconds_a_clip(path: Path, folder: Path, draws: int = 3) -> float:
    """CPU time of opening a video for the first time and reading 16 frames, 4 apart, at random places; the median."""
    from vexp.data.decode import VideoReader
    from vexp.data.sampling import SampleFrames

    sampler, rng, found = SampleFrames(clip_len=16, frame_interval=4), np.random.default_rng(0), []
    for draw in range(draws):
        name = folder / f"draw_{draw}_{path.name}"  # a reader remembers files by name
        name.symlink_to(path)
        began = time.process_time()
        with VideoReader(name) as reader:
            reader.frames(sampler.indices(reader.num_frames, rng).reshape(-1))
        found.append(time.process_time() - began)
        name.unlink()
    return float(np.median(found)) * 1e3


@dataclass(frozen=True, slots=True)
class Forecast:
    """From a sample: bytes and seconds of making all proxies, milliseconds of reading a clip before and after."""

    bytes_before: int
    bytes_after: float
    encode_seconds: float
    read_before: float
    read_after: float


def forecast(jobs: list[Job], count: int, encoding: Encoding, folder: Path) -> Forecast:
    """Measure on `count` videos, evenly spread over the list; their proxies in `folder` are the caller's to remove.

    Raises:
        UserError: none of them can be encoded.
    """
    sizes = {job: job.source.stat().st_size for job in jobs}
    chosen = [jobs[i] for i in np.unique(np.linspace(0, len(jobs) - 1, min(count, len(jobs))).astype(int))]
    made = [run_job(replace(job, target=folder / f"{i}{encoding.suffix}"), encoding) for i, job in enumerate(chosen)]
    whole = [(job, outcome) for job, outcome in zip(chosen, made, strict=True) if not outcome.error]
    if not whole:
        raise UserError(f"none of {len(chosen)} sampled videos can be encoded; the first: {made[0].error}")
    share = sum(sizes.values()) / sum(sizes[job] for job, _ in whole)
    return Forecast(
        bytes_before=sum(sizes.values()),
        bytes_after=share * sum(outcome.job.target.stat().st_size for _, outcome in whole),
        encode_seconds=share * sum(outcome.seconds for _, outcome in whole),
        read_before=float(np.mean([milliseconds_a_clip(job.source, folder) for job, _ in whole])),
        read_after=float(np.mean([milliseconds_a_clip(outcome.job.target, folder) for _, outcome in whole])),
    )


def run_all(jobs: list[Job], encoding: Encoding, workers: int, console: Console) -> list[Outcome]:
    """Each job in one of `workers` processes; a stop (Ctrl-C) leaves no half-made proxy."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("spawn")  # a fork would copy the libraries' locks as they happen to stand
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor(workers, mp_context=context) as pool:
        task, waiting = progress.add_task("encoding", total=len(jobs)), iter(jobs)
        running: dict[Future[Outcome], Job] = {}
        try:
            while True:
                for job in waiting:  # a few ahead of the workers: a million jobs at once would fill memory
                    running[pool.submit(run_job, job, encoding)] = job
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    return outcomes
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        outcomes.append(future.result())
                    except Exception as error:  # the process died: its memory was full, or the codec crashed
                        outcomes.append(Outcome(job, f"{job.source}: the process that encoded it died: {error}"))
                    progress.advance(task)
                    if outcomes[-1].error:
                        progress.console.print(f"failed: {outcomes[-1].error}", markup=False, highlight=False)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def show_forecast(found: Forecast, jobs: int, workers: int, console: Console) -> None:
    factor, gain = found.bytes_after / found.bytes_before, found.read_before / found.read_after
    table = Table("", "originals", "proxies", "", title=f"{jobs} videos, from a measured sample")
    table.add_row("space", size(found.bytes_before), size(found.bytes_after), f"{factor:.2f} times")
    before, after = f"{found.read_before:.1f} ms", f"{found.read_after:.1f} ms"
    table.add_row("reading a clip of 16x4, CPU", before, after, f"{gain:.1f} times as fast")
    hours = found.encode_seconds / workers / 3600
    table.add_row(
        "making them", "", f"{hours:.2f} h" if hours > 0.1 else f"{hours * 3600:.0f} s", f"{workers} processes"
    )
    console.print(table)
    if gain < GROWS_SLOWLY:
        console.print(f"{gain:.1f} times as fast is little: these videos hardly need proxies of this kind")


def size(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.4g} TB"


def prepare(args: argparse.Namespace, console: Console) -> int:
    """Exit status."""
    encoding = ENCODINGS[args.encoding]
    encoding = replace(encoding, short_side=args.short_side, quality=args.quality or encoding.quality)
    if args.gop and args.encoding == "h264":
        encoding = replace(encoding, gop=args.gop)
    source, target = args.source.absolute(), args.target.absolute()
    if source == target:
        raise UserError(f"{source}: the proxies need a folder of their own")
    check_settings(target, encoding, write=False)
    jobs = find_jobs(source, target, args.list, encoding)
    left = [job for job in jobs if not job.is_done]
    console.print(f"{len(jobs)} videos, {len(jobs) - len(left)} of them are done")
    if left and (args.dry_run or args.sample):
        with tempfile.TemporaryDirectory(prefix="vexp_proxies_") as folder:
            show_forecast(forecast(left, max(1, args.sample), encoding, Path(folder)), len(left), args.workers, console)
    if args.dry_run:
        return 0
    check_settings(target, encoding, write=True)
    began = time.perf_counter()
    outcomes = run_all(left, encoding, args.workers, console)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    made = [outcome.job for outcome in outcomes if not outcome.error]
    before, after = (
        sum(path.stat().st_size for path in paths) for paths in ([j.source for j in made], [j.target for j in made])
    )
    console.print(
        f"made {len(made)} in {time.perf_counter() - began:.0f} s: {size(before)} of originals became {size(after)}"
    )
    for path in args.list:
        console.print(f"list of the proxies: {write_list(path, source, target, encoding)}", soft_wrap=True)
    report = target / "failures.txt"
    report.unlink(missing_ok=True)
    if failed:
        report.write_text("\n".join(failed) + "\n")
        console.print(f"{len(failed)} failed, see {report}", soft_wrap=True)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the originals: what data_prefix was")
    parser.add_argument("target", type=Path, help="folder of the proxies: what data_prefix becomes")
    parser.add_argument(
        "--list", type=Path, action="append", default=[], help="list of the videos to prepare; repeat it"
    )
    parser.add_argument("--encoding", choices=tuple(ENCODINGS), default="h264")
    parser.add_argument("--short-side", type=positive, default=256, help="pixels; smaller videos keep their size")
    parser.add_argument("--gop", type=positive, help="frames from key frame to key frame (h264); 12")
    parser.add_argument("--quality", type=positive, help="h264: crf, 20; mjpeg: quantiser, 3; lower is better, larger")
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--sample", type=int, default=4, help="videos that cost and gain are measured on; 0: none")
    parser.add_argument("--dry-run", action="store_true", help="say what it would cost and gain, and stop")
    console = Console()
    try:
        return prepare(parser.parse_args(), console)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return 130


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
