"""A few seconds of what training does: workers that make clips, steps of nets. Runs in a process of its own."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult
from vexp.tools.doctor.codecs import FRAMES, SIZE, video_of

BATCH = 8
_CLIP, _INTERVAL, _SIDE = 16, 4, 112
_SECONDS = {"loader": 1.5, "tiny3d": 0.7, "r3d_18": 1.2}  # of measuring, after the first batch or step


def benchmark(folder: Path) -> list[CheckResult]:
    """Clips a second of the loader, seconds of a step, and which of them training would wait for."""
    import torch

    if not video_of(folder).exists():
        return [CheckResult("decoding", MISSING, "no video could be made to measure with", needed=True)]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    workers = _cores()
    made = clips_per_second(folder, min(2, workers))
    tiny = _step_seconds("tiny3d", BATCH, (8, 64), device)
    batch = BATCH if device.type == "cuda" else 1  # on a CPU eight clips take longer than anybody waits for
    step = _step_seconds("r3d_18", batch, (_CLIP, _SIDE), device) * BATCH / batch
    told = "" if batch == BATCH else f" ({BATCH} times one of a clip)"
    clip = f"{_CLIP}x{_SIDE}x{_SIDE}"
    found = [
        CheckResult(
            "decoding", OK,
            f"{min(2, workers)} worker{'s' * (workers > 1)} make {made:.0f} clips/s of {clip} from {SIZE[0]}x{SIZE[1]} "
            "H.264",
            needed=True, values={"clips_per_second": made, "workers": min(2, workers)},
        ),
        CheckResult(
            "tiny3d", OK, f"a step of {BATCH} clips of 8x64x64 takes {_time(tiny)} on {where}", needed=True,
            values={"seconds": tiny},
        ),
        CheckResult("r3d_18", OK, f"a step of {BATCH} clips of {clip} takes {_time(step)} on {where}{told}",
                values={"seconds": step}),
    ]  # fmt: skip
    return [*found, verdict(made / min(2, workers), min(8, workers), BATCH / step, on_cpu=device.type == "cpu")]


def verdict(each: float, workers: int, taken: float, *, on_cpu: bool) -> CheckResult:
    """Who waits for whom, in words.

    Args:
        each: clips a second of a worker.
        workers: that a run would start.
        taken: clips a second that r3d_18 takes.
        on_cpu: the workers and the net share the cores.
    """
    made = each * workers
    values = {"made_per_second": made, "taken_per_second": taken}
    pair = f"{workers} worker{'s' * (workers > 1)} make about {made:.0f} clips/s, r3d_18 takes {taken:.3g}"
    if made >= taken:
        text = f"the loader keeps up: {pair}"
        if on_cpu:
            text += "; the net is what costs here: a GPU, or a small net (model=tiny3d)"
        return CheckResult("verdict", OK, text, values=values)
    needed = math.ceil(taken / each)
    return CheckResult(
        "verdict", WARNING, f"the loader is the bottleneck: {pair}, {needed} workers would keep up",
        "python scripts/prepare_videos.py (proxies that read faster), more cores, or data.num_workers where cores are "
        "free", values=values,
    )  # fmt: skip


def clips_per_second(folder: Path, workers: int) -> float:
    """Of the real loader with the steps of pipeline=clip_16x4_112, the start of its workers not counted."""
    import torch

    from vexp.data.annotations.annotation import Annotation
    from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
    from vexp.data.loading.dataset import ClipDataset
    from vexp.data.sources.base import VideoSource
    from vexp.data.transforms.frame_sampling import SampleFrames
    from vexp.data.transforms.resize import Flip, RandomResizedCrop, Resize

    steps = {
        "sample": SampleFrames(clip_len=_CLIP, frame_interval=_INTERVAL),
        "crop": RandomResizedCrop(),
        "resize": Resize(scale=[_SIDE, _SIDE], keep_ratio=False),
        "flip": Flip(),
    }
    assert FRAMES >= _CLIP * _INTERVAL
    count = 4096
    source = VideoSource(Annotation.pack([str(video_of(folder))] * count, [0] * count, ["made"]))
    loader = make_loader(
        ClipDataset(source, steps, seed=0, lazy=True), SequentialSampler(count, BATCH), num_workers=workers,
        device=torch.device("cpu"), persistent=False,
    )  # fmt: skip
    batches = iterate_batches(loader)
    for _ in range(workers + 1):
        next(batches)
    begin, done = time.perf_counter(), 0
    for batch in batches:
        done += len(batch)
        if time.perf_counter() - begin > _SECONDS["loader"]:
            break
    return done / (time.perf_counter() - begin)


def _step_seconds(name: str, batch: int, clip: tuple[int, int], device: Any) -> float:
    """The fastest of some steps: forward, loss, backward, SGD; float32 (a GPU: with TF32)."""
    import torch

    from vexp.model import build_model
    from vexp.runtime.backend import Backend

    Backend(tf32="all").set_switches()
    model = build_model(name, 400).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    frames, side = clip
    clips = torch.rand(batch, 3, frames, side, side, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    fastest, begin = math.inf, time.perf_counter()
    while fastest == math.inf or time.perf_counter() - begin < _SECONDS[name]:
        start = time.perf_counter()
        loss: torch.Tensor = torch.nn.functional.cross_entropy(model(clips), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _cores() -> int:
    from vexp.data.loading.dataloader import available_workers

    return available_workers()


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
