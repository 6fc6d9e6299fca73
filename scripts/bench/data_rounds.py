"""Measure a case of scripts/bench/data.py: one turn of both of its paths.

Legend: (a) the eager path, (b) vexp; times are seconds a sample.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data_media as media
import data_peer as peer
import numpy as np
import torch
from data_mmaction2 import Mmaction2
from data_timing import Figures, emptied, timed

from vexp.data.batch.batch import Batch, Collate
from vexp.data.batch.normalize import ImgNorm
from vexp.data.decoding.images import image_decoder
from vexp.data.decoding.pyav import VideoReader
from vexp.data.loading.dataloader import WorkerOptions, make_loader
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.sources.config import RawFrames, VideoList
from vexp.data.sources.splits import Split, TrainSplit
from vexp.data.transforms.resample import render_views
from vexp.data.transforms.view import View

NORM = ImgNorm()
JPEG = image_decoder("auto")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    steps: dict[str, Any]
    original: Callable[[], Path]  # what (a) reads, created on first use
    proxy: Callable[[], Path] | None = None  # what (b) reads, if it is another file
    target: float | None = None  # least ratio of the documentation
    per_round: int = 6  # samples
    kind: str = "video"  # or "raw": a folder of images
    jpeg: str = "turbojpeg"  # what (a) reads them with: the library of (b); or "cv2", its default
    measure: str = "samples"  # or "spatial": after decoding, "loader": with worker processes


class Paths:
    """Both paths of a case."""

    def __init__(
        self, case: Case, *, names: int, batch_size: int, workers: int, device: torch.device, mmaction2: str | None
    ) -> None:
        self.case, self.names, self.batch_size, self.workers, self.device = case, names, batch_size, workers, device
        original, raw = case.original(), case.kind == "raw"
        self.file = case.proxy() if case.proxy else original
        self.originals, self.files = media.many(original, names), media.many(self.file, names)
        self.num_frames, self.size = media.frames_and_size(original)
        frames = f" {self.num_frames}" if raw else ""
        rows = [f"{name.relative_to(self.file.parent)}{frames} 0\n" for name in self.files]
        listed = self.file.with_name(f"{self.file.name}.txt")
        listed.write_text("".join(rows))
        splits = {"train": TrainSplit(ann_file=str(listed), data_prefix=str(self.file.parent))}
        options = (RawFrames if raw else VideoList)(**splits, val=Split(ann_file=str(listed)))
        source = options.source("train")
        assert source is not None
        self.own = ClipDataset(source, case.steps, seed=0, lazy=True)
        self.peer: peer.Eager | Mmaction2
        reader = case.jpeg if raw else "decord"
        if mmaction2 is None:
            self.peer = peer.Eager(case.steps, reader=reader, workers=workers)
        else:
            self.peer = Mmaction2(mmaction2, reader=reader, testing="crop" not in case.steps, workers=workers)

    def drawn(self, key: Key) -> peer.Drawn:
        return peer.drawn(self.originals[key[1]], self.num_frames, self.size, self.case.steps, key)

    def turn(self, number: int) -> Figures:
        """Measure one turn of each path, in alternating order."""
        count = self.case.per_round
        keys = [(number, (number * count + sample) % self.names) for sample in range(count)]
        measure = {"samples": _samples, "spatial": _spatial, "loader": _loader}[self.case.measure]
        return measure(self, keys, bool(number % 2))

    def decoder_alone(self, keys: list[Key]) -> float:
        """Return the CPU seconds per sample that the codec takes for the frames that (b) has to decode."""

        def decode(key: Key) -> None:
            rng = np.random.default_rng([0, *key])
            numbers = np.unique(self.case.steps["sample"].indices(self.num_frames, rng)).tolist()
            if self.case.kind == "raw":
                for number in numbers:
                    JPEG((self.files[key[1]] / f"img_{number + 1:05}.jpg").read_bytes(), False)
            else:
                with VideoReader(self.files[key[1]]) as reader:
                    deque(reader.codec_frames(numbers), maxlen=0)

        return timed(lambda: [decode(key) for key in keys])[1] / len(keys)

    def decoded_per_used(self, draws: int) -> Figures:
        """Return the decoded frames per used frame of both paths.

        Those of (b) are counted; (a) is assumed to decode each GOP from its key frame to the last requested frame.
        """
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
    """Make a batch in this process, up to the tensor on the device."""
    made: dict[str, Any] = {}

    def eager() -> Figures:
        batch, took = paths.peer.samples([paths.drawn(key) for key in keys])
        made["a"], move, _ = timed(lambda: _synchronised(batch.to(paths.device)))
        norm = took["cpu"] + move / len(keys)
        return {"a": took["cpu"], "a_norm": norm, "a_wall": took["wall"], "a_bytes": batch.nbytes / len(keys)}

    def own() -> Figures:
        batch, cpu, wall = timed(lambda: Collate()([paths.own[key] for key in keys]))
        assert isinstance(batch, Batch), batch
        made["b"], norm, _ = timed(lambda: _synchronised(NORM.prepare_input(batch.to(paths.device))))
        found = {"b": cpu, "b_norm": cpu + norm, "b_wall": wall, "b_bytes": batch.pixels.nbytes}
        return {name: value / len(keys) for name, value in found.items()}

    found = _in_turn(eager, own, own_first) | {"b_decoder": paths.decoder_alone(keys)}
    pairs = zip(made["a"].view_as(made["b"]), made["b"], strict=True)  # view by view: ten clips are 400 MB of float32
    difference = np.mean([float((a - b).abs_().mean()) for a, b in pairs])
    return found | {"grey_levels": float(difference) * float(np.mean(peer.STD))}


def _spatial(paths: Paths, keys: list[Key], own_first: bool) -> Figures:
    """Measure the work after decoding: (a) up to the float32 batch, (b) up to the uint8 views."""
    drawn = [paths.drawn(key) for key in keys]
    frames = [np.stack(peer.READERS["turbojpeg"](Path(sample["path"]))(sample["frames"])) for sample in drawn]
    made: dict[str, Any] = {}

    def eager() -> Figures:
        made["a"], took = paths.peer.spatial(drawn)
        return {
            "a": took["cpu"],
            "a_norm": took["cpu"],
            "a_wall": took["wall"],
            "a_bytes": made["a"].nbytes / len(keys),
        }

    def own() -> Figures:
        def sample(frames: Any, key: Key) -> torch.Tensor:
            rng = np.random.default_rng([0, *key])
            paths.case.steps["sample"].indices(paths.num_frames, rng)
            views = [View.whole(*paths.size)]
            for name in ("crop", "resize", "flip"):
                views = paths.case.steps[name].plan(views, rng)
            return torch.from_numpy(render_views(frames, views))

        pixels, cpu, wall = timed(lambda: [sample(*pair) for pair in zip(frames, keys, strict=True)])
        made["b"], norm, _ = timed(lambda: [NORM.apply(views) for views in pixels])
        found = {"b": cpu, "b_norm": cpu + norm, "b_wall": wall, "b_bytes": sum(views.nbytes for views in pixels)}
        return {name: value / len(keys) for name, value in found.items()}

    found = _in_turn(eager, own, own_first)
    # float32 rounds x - mean differently when (a) multiplies by a double: equal gray levels differ by less than 1e-3.
    worst = max(float((a - b).abs().max()) for a, b in zip(made["a"], made["b"], strict=True))
    return found | {"grey_levels": worst * max(peer.STD)}


def _loader(paths: Paths, keys: list[Key], own_first: bool) -> Figures:
    """Measure clips per second of running workers, and the CPU time of all processes with their start."""
    groups = [keys[first : first + paths.batch_size] for first in range(0, len(keys), paths.batch_size)]

    def eager() -> Figures:
        took = paths.peer.loader([[paths.drawn(key) for key in group] for group in groups])
        return {"a": took["cpu"], "a_wall": took["wall"]}

    def own() -> Figures:
        cpu = torch.device("cpu")
        loader = make_loader(paths.own, groups, WorkerOptions(num_workers=paths.workers), cpu, persistent=False)
        return dict(zip(("b", "b_wall"), emptied(loader, groups), strict=True))

    found = _in_turn(eager, own, own_first)
    speeds = {f"{path}_clips_per_s": 1 / found[f"{path}_wall"] for path in "ab"}
    return found | speeds | {f"{path}_norm": found[path] for path in "ab"}


def _in_turn(eager: Callable[[], Figures], own: Callable[[], Figures], own_first: bool) -> Figures:
    found: Figures = {}
    for path in (own, eager) if own_first else (eager, own):
        found |= path()
    return found


def _synchronised(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return tensor
