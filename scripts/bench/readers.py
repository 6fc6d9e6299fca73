"""Compare vexp's reader with those of torchcodec, decord and PyAV on the same requests: CPU time of a sample.

    python scripts/bench/readers.py                          every request, a quarter of an hour
    python scripts/bench/readers.py --only "720p GOP 12"     the requests whose names contain these words
    python scripts/bench/readers.py --core 1                 on one core

The readers are used as a plain user writes it: open the file with one thread, ask for the frames of the sample, with
repeated ones where clips overlap. The ones that are not installed are left out. "transformed" adds the pipeline of the
sample: for training a random resized crop to 224x224 and a flip, for testing a resize to a short side of 256 and the
crops; in vexp its own, for the others that of torchvision v2, on uint8. Every path ends with uint8 views in memory.

Readers take turns within a round, in rotating order, with the same random numbers. The table has the median CPU time of
vexp in milliseconds, and for every other reader the median of the ratios of the rounds to vexp, with their range. The
"decoder alone" opens the file and decodes the same frames, without colors, copies and transforms: a reader that decodes
them with libavcodec cannot be faster.

scripts/bench/data.py compares whole pipelines up to the batch, with mmaction2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import data_media as media
import numpy as np
import torch
from data import training
from data_timing import timed
from numpy.typing import NDArray

from vexp.core.malloc import configure_malloc
from vexp.data.decoding import open_video
from vexp.data.decoding.pyav import VideoReader
from vexp.data.transforms.crops import CenterCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.pipeline import make_clips
from vexp.data.transforms.resize import Resize
from vexp.data.transforms.view import View

SIZES = {"340x256": (340, 256), "720p": (1280, 720)}
GOPS = (12, 250)
FRAMES = 300  # of a video: 10 s


def testing(clips: int, crop: Any) -> dict[str, Any]:
    """Return the pipeline of test clips."""
    return {
        "sample": SampleFrames(clip_len=16, frame_interval=4, num_clips=clips, test_mode=True),
        "short_side": Resize(scale=[-1, 256]),
        "crop": crop,
    }


REQUESTS: dict[str, dict[str, Any]] = {
    "train 16x4": training(16, 4),
    "train 32x2": training(32, 2),
    "test 10x1": testing(10, CenterCrop(crop_size=224)),
    "test 10x3": testing(10, ThreeCrop(crop_size=256)),
    "test 5x1": testing(5, CenterCrop(crop_size=224)),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A sample of a video: the frames of all clips, flat, and the pipeline after them with its random numbers."""

    path: Path
    frames: list[int]
    clip_len: int
    views: list[View]  # of the frames, one for each crop
    steps: Mapping[str, Any]
    key: tuple[int, ...]  # seed of the random numbers


def request(path: Path, size: tuple[int, int], steps: Mapping[str, Any], key: tuple[int, ...]) -> Request:
    """Draw a request as vexp does."""
    rng = np.random.default_rng(key)
    sampler, *rest = steps.values()
    indices = sampler.indices(FRAMES, rng)
    views = [View.whole(*size)]
    for step in rest:
        views = step.plan(views, rng)
    return Request(path, indices.reshape(-1).tolist(), indices.shape[1], views, steps, key)


def with_torchvision(frames: torch.Tensor, asked: Request) -> torch.Tensor:
    """Transform uint8 (F, 3, H, W) to (crops, F, 3, height, width) with torchvision v2."""
    from torchvision.transforms.v2 import functional

    if "flip" in asked.steps:
        (view,) = asked.views
        left, top, width, height = (round(edge) for edge in view.box)
        clip = functional.resized_crop(frames, top, left, height, width, [224, 224], antialias=True)
        return (functional.horizontal_flip(clip) if view.is_mirror_image else clip)[None]
    frames = functional.resize(frames, [256], antialias=True)
    height, width = frames.shape[-2:]
    if isinstance(asked.steps["crop"], CenterCrop):
        return functional.center_crop(frames, [224, 224])[None]
    middle = (width - 256) // 2
    return torch.stack([frames[..., left : left + 256] for left in (0, width - 256, middle)])


def own(asked: Request, transformed: bool) -> Any:
    with open_video(asked.path) as reader:
        if not transformed:
            return reader.frames(asked.frames)
        return make_clips(reader, asked.steps, np.random.default_rng(asked.key), lazy=True).frames


def torchcodec(asked: Request, transformed: bool, mode: str) -> Any:
    from torchcodec.decoders import VideoDecoder

    frames = VideoDecoder(str(asked.path), seek_mode=mode, num_ffmpeg_threads=1).get_frames_at(asked.frames).data
    return with_torchvision(frames, asked) if transformed else frames


def decord(asked: Request, transformed: bool) -> Any:
    from decord import VideoReader

    frames = VideoReader(str(asked.path), num_threads=1).get_batch(asked.frames).asnumpy()
    return with_torchvision(torch.from_numpy(frames).permute(0, 3, 1, 2), asked) if transformed else frames


def plain_av(asked: Request, transformed: bool) -> Any:
    import av

    wanted, found = set(asked.frames), dict[int, NDArray[np.uint8]]()
    with av.open(str(asked.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24")
                if len(found) == len(wanted):
                    break
    frames = np.stack([found[number] for number in asked.frames])
    return with_torchvision(torch.from_numpy(frames).permute(0, 3, 1, 2), asked) if transformed else frames


def decoder_alone(asked: Request, _: bool) -> None:
    with VideoReader(asked.path) as reader:
        deque(reader.codec_frames(np.unique(asked.frames).tolist()), maxlen=0)


Reader = Callable[[Request, bool], Any]
READERS: dict[str, tuple[str, Reader]] = {  # name -> (module, function)
    "vexp": ("av", own),
    "torchcodec exact": ("torchcodec", lambda asked, transformed: torchcodec(asked, transformed, "exact")),
    "torchcodec approximate": ("torchcodec", lambda asked, transformed: torchcodec(asked, transformed, "approximate")),
    "decord": ("decord", decord),
    "PyAV": ("av", plain_av),
    "decoder alone": ("av", decoder_alone),
}


def check(readers: Mapping[str, Reader], asked: Request) -> None:
    """Check that all readers return the frames of vexp; colors may differ by rounding."""
    expected = torch.from_numpy(readers["vexp"](asked, False)).float()
    for name, read in readers.items():
        if name == "decoder alone":
            continue
        frames = torch.as_tensor(read(asked, False)).float()
        frames = frames.permute(0, 2, 3, 1) if frames.shape[1] == 3 else frames
        if (difference := float((frames - expected).abs().mean())) > 2:
            raise SystemExit(f"{name} returns other frames of {asked.path.name}: {difference:.1f} gray levels apart")


def measure(
    readers: Mapping[str, Reader], asked: Sequence[Request], transformed: bool, number: int
) -> dict[str, float]:
    """Return the CPU seconds of a sample of each reader, in the order of round ``number``."""
    names = list(readers)
    names = names[number % len(names) :] + names[: number % len(names)]
    return {
        name: timed(lambda read=readers[name]: [read(one, transformed) for one in asked])[1] / len(asked)
        for name in names
    }


def cells(rounds: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[str]:
    """Return the CPU time of vexp and the ratios of the other readers."""
    texts = [f"{1e3 * statistics.median(each['vexp'] for each in rounds):.1f}"]
    for name in names[1:]:
        ratios = [each[name] / each["vexp"] for each in rounds]
        texts.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="words that the names of the requests must contain")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=2, help="of a reader in a round")
    parser.add_argument("--core", type=int, help="run on this core only")
    parser.add_argument("--media", type=Path, help="folder that keeps the media; a temporary one, kept between runs")
    parser.add_argument("--footage", type=Path, help="a video to use instead of the generated scene")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    configure_malloc()  # as in every run; the other readers, in the same process, have it too
    folder = args.media or Path(tempfile.gettempdir()) / "vexp_bench_data"
    folder.mkdir(parents=True, exist_ok=True)
    readers = {name: read for name, (module, read) in READERS.items() if importlib.util.find_spec(module) is not None}
    print("| request | vexp, CPU ms |" + "".join(f" {name} |" for name in list(readers)[1:]))
    print("|" + "---|" * (len(readers) + 1))
    results: dict[str, list[dict[str, float]]] = {}
    for label, size in SIZES.items():
        for gop in GOPS:
            for kind, steps in REQUESTS.items():
                for suffix in ("", ", transformed"):
                    name = f"{label} GOP {gop} {kind}{suffix}"
                    if not all(word in name for word in args.only.split()):
                        continue
                    if kind == "test 10x3" and not suffix:
                        continue  # the frames of 10x1
                    path = media.video(folder, size, gop, FRAMES, args.footage)
                    check(readers, request(path, size, steps, (0, 0)))
                    rounds = [
                        measure(
                            readers,
                            [request(path, size, steps, (number, sample)) for sample in range(args.samples)],
                            bool(suffix),
                            number,
                        )
                        for number in range(args.rounds)
                    ]
                    results[name] = rounds
                    print(f"| {name} | " + " | ".join(cells(rounds, list(readers))) + " |", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
