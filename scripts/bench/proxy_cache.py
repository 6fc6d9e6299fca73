"""Measure ``data.cache=proxy``: clips a second of an epoch that reads the videos, and of one that reads their proxies.

    python scripts/bench/proxy_cache.py                     64 videos of 340x256 with a key frame every 250 frames
    python scripts/bench/proxy_cache.py --footage VIDEO     a given video instead of the generated scene
    python scripts/bench/proxy_cache.py --quick             a short test; its figures are meaningless

Each round loads one epoch from the videos and one from the proxies, with the same samples: 16x4 clips, random resized
crops of 224x224, and takes their ratio. CPU time is measured without workers. The table gives medians and ranges.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import data_media as media
import torch
from rich.console import Console
from rich.table import Table

from vexp import compose
from vexp.core.malloc import configure_malloc
from vexp.data.batch.batch import Collate
from vexp.data.loading.dataloader import WorkerOptions, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.proxy_writer import Task, write_proxies
from vexp.data.sources.base import VideoSource
from vexp.data.sources.proxies import Proxies, Record
from vexp.experiment.setup import make_dataset

_BATCH = 8


def write_all(source: VideoSource, folder: Path, workers: int) -> tuple[Proxies, float]:
    """Write the proxies of all videos; return them and the seconds that it took."""
    start, videos = time.perf_counter(), source.videos()
    task = Task(str(folder), 256, 10**12, videos)
    records: list[Record | None] = [None] * len(videos)
    for line in write_proxies(task, workers):
        if "record" in line:
            records[line["number"]] = Record(**line["record"])
    return Proxies.of(task.cache, videos, records), time.perf_counter() - start


def clips_per_second(dataset: ClipDataset, epoch: int, workers: int, clips: int) -> float:
    """Return the speed of a loader with workers, from its second batch on: the first includes their start."""
    keys = [(epoch + place // len(dataset), place % len(dataset)) for place in range(clips)]
    batches = [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
    loader = make_loader(dataset, batches, WorkerOptions(num_workers=workers), torch.device("cpu"), persistent=False)
    start, loaded = 0.0, 0
    for number, batch in enumerate(iterate_batches(loader)):
        if number == 0:
            start = time.perf_counter()
        else:
            loaded += len(batch)
    return loaded / (time.perf_counter() - start)


def cpu_per_clip(dataset: ClipDataset, epoch: int, clips: int) -> float:
    """Return the CPU seconds of a clip in this process."""
    collate, start = Collate(), time.process_time()
    for index in range(clips):
        collate([dataset[(epoch, index % len(dataset))]])
    return (time.process_time() - start) / clips


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of all rounds."""
    count, frames, rounds = (8, 80, 1) if args.quick else (args.videos, 300, args.rounds)
    original = media.video(folder, (340, 256), 250, frames, args.footage)
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    names = [videos / f"{number:05}.mp4" for number in range(count)]
    for name in names:
        if not name.exists():
            shutil.copy(original, name)
    (folder / "train.txt").write_text("".join(f"{name} {number % 2}\n" for number, name in enumerate(names)))
    lists = [f"data.{split}.ann_file={folder}/train.txt" for split in ("train", "val")]
    config = compose(["data=video_list", *lists, "pipeline=clip_16x4_224", f"data.num_workers={args.workers}"])
    dataset = make_dataset(config, "train")
    assert dataset is not None
    source = dataset.source
    assert isinstance(source, VideoSource)
    shutil.rmtree(folder / "proxies", ignore_errors=True)
    proxies, seconds = write_all(source, folder / "proxies", args.workers)
    space = proxies.size / sum(name.stat().st_size for name in names)
    found: dict[str, Any] = {"videos": count, "seconds_to_write": seconds, "space": space, "rounds": []}
    clips = 4 * _BATCH if args.quick else max(count, args.clips)
    for number in range(rounds + 1):
        figures = {}
        for kind, used in (("video", None), ("proxy", proxies)):
            source.proxies = used
            figures[f"{kind}_clips_per_s"] = clips_per_second(dataset, number, args.workers, clips)
            figures[f"{kind}_cpu_ms"] = 1e3 * cpu_per_clip(dataset, number, min(count, 16))
        if number or args.quick:  # the first one fills the page cache
            found["rounds"].append(figures)
    return found


def report(found: dict[str, Any]) -> None:
    """Print a table."""
    table = Table("", "videos", "proxies", "ratio", "range of the ratio", title="data.cache=proxy, 340x256, GOP 250")
    for name, unit, inverted in (("clips_per_s", "clips/s", False), ("cpu_ms", "CPU ms a clip", True)):
        pairs = [(each[f"video_{name}"], each[f"proxy_{name}"]) for each in found["rounds"]]
        ratios = [video / proxy if inverted else proxy / video for video, proxy in pairs]
        medians = [f"{statistics.median(values):.1f}" for values in zip(*pairs, strict=True)]
        table.add_row(unit, *medians, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")
    Console(width=120).print(table)
    each = found["seconds_to_write"] / found["videos"]
    print(f"writing a proxy took {each:.2f} s; the proxies take {found['space']:.1f} times the space of the videos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--clips", type=int, default=256, help="that a loader loads in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--footage", type=Path, help="a video to use instead of the generated scene")
    parser.add_argument("--media", type=Path, help="folder that keeps the media; a temporary one, kept between runs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="one round of a few short videos")
    args = parser.parse_args()
    torch.set_num_threads(1)
    configure_malloc()
    folder = args.media or Path(tempfile.gettempdir()) / "vexp_bench_proxies"
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(args, folder)
    report(found)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
