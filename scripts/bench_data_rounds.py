"""The measuring of scripts/bench_data.py: a case, and one turn of both of its paths.

Legend: (a) the eager path, (b) vexp; times are seconds a sample.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_data_media as media
import bench_data_peer as peer
import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from vexp.data.batch import Batch, Collate
from vexp.data.dataset import ClipDataset, Key
from vexp.data.decode import VideoReader
from vexp.data.geometry import View, render_views
from vexp.data.img_norm import ImgNorm
from vexp.data.loader import make_loader
from vexp.data.options import Split, TrainSplit, VideoList
from vexp.data.raw_frames import RawFrames

NORM = ImgNorm()
Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    steps: dict[str, Any]
    original: Callable[[], Path]  # what (a) reads, made when it is asked for
    proxy: Callable[[], Path] | None = None  # what (b) reads, where that is something else
    target: float | None = None  # least ratio that issue or documentation promise
    per_round: int = 2  # samples
    kind: str = "video"  # or "raw": a folder of images
    measure: str = "samples"  # or "spatial": after decoding, "loader": with worker processes


class Paths:
    """Both paths of a case, ready to make samples."""

    def __init__(self, case: Case, *, names: int, batch_size: int, workers: int, device: torch.device) -> None:
        self.case, self.names, self.batch_size, self.workers, self.device = case, names, batch_size, workers, device
        original = case.original()
        self.file = case.proxy() if case.proxy else original
        self.eager = peer.EagerDataset(media.many(original, names), case.steps, raw=case.kind == "raw")
        frames = f" {peer.jpeg_frames(original)[0]}" if case.kind == "raw" else ""
        rows = [f"{name.relative_to(self.file.parent)}{frames} 0\n" for name in media.many(self.file, names)]
        listed = self.file.with_name(f"{self.file.name}.txt")
        listed.write_text("".join(rows))
        splits = {"train": TrainSplit(ann_file=str(listed), data_prefix=str(self.file.parent))}
        options = (RawFrames if case.kind == "raw" else VideoList)(**splits, val=Split(ann_file=str(listed)))
        source = options.source("train")
        assert source is not None
        self.own = ClipDataset(source, case.steps, seed=0, lazy=True)

    def turn(self, number: int) -> Figures:
        """One turn of each path; every other time the second comes first."""
        count = self.case.per_round
        keys = [(number, (number * count + sample) % self.names) for sample in range(count)]
        measure = {"samples": _samples, "spatial": _spatial, "loader": _loader}[self.case.measure]
        return measure(self, keys, bool(number % 2))

    def decoded_per_used(self, draws: int) -> Figures:
        """Frames that pass through the decoder for each one used: (b) as counted, (a) if it does as well as can be,
        decoding each GOP from its key frame to the last wanted frame."""
        if self.case.kind == "raw":
            return {}
        used = own = 0
        wanted = []
        with VideoReader(self.file) as reader:
            for draw in range(draws):
                numbers = self.case.steps["sample"].indices(reader.num_frames, np.random.default_rng([0, draw, 0]))
                wanted.append(np.unique(numbers))
                before = reader.decoded
                reader.frames(wanted[-1])
                own, used = own + reader.decoded - before, used + len(wanted[-1])
        with VideoReader(self.case.original()) as reader:
            index = reader.file.index
            assert index is not None
            key_of = [index.key_number(number) for number in range(reader.num_frames)]
            keys = np.searchsorted(index.pts, index.keys)
        eager = sum(
            max(n for n in numbers if key_of[n] == key) - int(keys[key]) + 1
            for numbers in wanted
            for key in {key_of[n] for n in numbers}
        )
        return {"a_decoded": eager / used, "b_decoded": own / used}


def _samples(paths: Paths, keys: list[Key], own_first: bool) -> Figures:
    """A batch in this process, to the tensor on the device."""
    made: dict[str, Any] = {}

    def eager() -> Figures:
        batch, cpu, wall = _timed(lambda: default_collate([paths.eager[key] for key in keys])[0])
        made["a"], move, _ = _timed(lambda: _synchronised(batch.to(paths.device)))
        return {"a": cpu, "a_norm": cpu + move, "a_wall": wall, "a_bytes": batch.nbytes}

    def own() -> Figures:
        batch, cpu, wall = _timed(lambda: Collate()([paths.own[key] for key in keys]))
        assert isinstance(batch, Batch), batch
        made["b"], norm, _ = _timed(lambda: _synchronised(NORM.net_input(batch.to(paths.device))))
        return {"b": cpu, "b_norm": cpu + norm, "b_wall": wall, "b_bytes": batch.pixels.nbytes}

    found = _in_turn(eager, own, own_first)
    difference = (made["a"].view_as(made["b"]) - made["b"]).abs_()
    return {name: value / len(keys) for name, value in found.items()} | {
        "grey_levels": float(difference.mean()) * float(np.mean(peer.STD))
    }


def _spatial(paths: Paths, keys: list[Key], own_first: bool) -> Figures:
    """What a worker does after decoding: (a) up to the float32 batch, (b) up to the uint8 views."""
    steps, read = paths.case.steps, paths.eager.open(paths.eager.paths[0])[1]
    frames = read(np.arange(steps["sample"].clip_len))
    made: dict[str, list[torch.Tensor]] = {"a": [], "b": []}
    stacked = np.stack(frames)

    def eager() -> Figures:
        def sample(key: Key) -> torch.Tensor:
            changed = peer.normalised(peer.spatial(frames, steps, np.random.default_rng([0, *key])))
            batch: torch.Tensor = default_collate([peer.formatted(changed, len(frames))])
            return batch[0]

        made["a"], cpu, wall = _timed(lambda: [sample(key) for key in keys])
        return {"a": cpu, "a_norm": cpu, "a_wall": wall, "a_bytes": sum(tensor.nbytes for tensor in made["a"])}

    def own() -> Figures:
        def sample(key: Key) -> torch.Tensor:
            rng = np.random.default_rng([0, *key])
            views = [View.whole(stacked.shape[2], stacked.shape[1])]
            for name in ("crop", "resize", "flip"):
                views = steps[name].plan(views, rng)
            return torch.from_numpy(render_views(stacked, views))

        pixels, cpu, wall = _timed(lambda: [sample(key) for key in keys])
        made["b"], norm, _ = _timed(lambda: [NORM.apply(views) for views in pixels])
        return {"b": cpu, "b_norm": cpu + norm, "b_wall": wall, "b_bytes": sum(views.nbytes for views in pixels)}

    found = _in_turn(eager, own, own_first)
    # float32 rounds x - mean differently when (a) multiplies by a double: equal grey levels differ by less than 1e-3.
    worst = max(float((a - b).abs().max()) for a, b in zip(made["a"], made["b"], strict=True))
    return {name: value / len(keys) for name, value in found.items()} | {"grey_levels": worst * max(peer.STD)}


def _loader(paths: Paths, keys: list[Key], own_first: bool) -> Figures:
    """Clips a second once the workers run; CPU time of all processes, their start included."""
    groups: Any = [keys[first : first + paths.batch_size] for first in range(0, len(keys), paths.batch_size)]

    def eager() -> Figures:
        loader: Any = DataLoader(
            paths.eager, batch_sampler=groups, num_workers=paths.workers, multiprocessing_context="fork",
            worker_init_fn=_one_thread,
        )  # fmt: skip
        return {f"a{name}": value for name, value in _emptied(iter(loader), groups).items()}

    def own() -> Figures:
        cpu = torch.device("cpu")
        loader = make_loader(paths.own, groups, num_workers=paths.workers, device=cpu, persistent=False)
        return {f"b{name}": value for name, value in _emptied(iter(loader), groups).items()}

    found = _in_turn(eager, own, own_first)
    return found | {"a_norm": found["a"], "b_norm": found["b"]}


def _emptied(batches: Iterator[Any], groups: list[list[Key]]) -> Figures:
    """Takes every batch. The first quarter, which the start of the workers delays, is left out of the wall time."""
    clips, untimed = sum(map(len, groups)), len(groups) // 4
    used, began = _cpu_seconds(), time.perf_counter()
    for number, batch in enumerate(batches):
        assert not hasattr(batch, "message"), batch
        if number + 1 == untimed:
            began = time.perf_counter()
    wall = (time.perf_counter() - began) / (clips - sum(map(len, groups[:untimed])))
    del batches  # ends the workers, and waits for them
    return {"": (_cpu_seconds() - used) / clips, "_wall": wall, "_clips_per_s": 1 / wall}


def _in_turn(eager: Callable[[], Figures], own: Callable[[], Figures], own_first: bool) -> Figures:
    found: Figures = {}
    for path in (own, eager) if own_first else (eager, own):
        found |= path()
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds of CPU of all threads of this process, seconds of wall time)."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def _synchronised(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return tensor


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _one_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
