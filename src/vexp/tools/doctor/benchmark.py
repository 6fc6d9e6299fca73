"""A short benchmark of training: clips per second of the data loader and seconds per training step of two models."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult
from vexp.tools.doctor.codecs import SIZE, sample_video

BATCH = 8
_CLIP_LEN, _SIDE = 16, 112  # of pipeline=clip_16x4_112
_SECONDS = {"loader": 1.5, "tiny3d": 0.7, "r3d_18": 1.2}  # of measurement, after the first batch or step


def benchmark(folder: Path) -> list[CheckResult]:
    """Measure the data loader and training steps, and compare them."""
    import torch

    from vexp.data.loading.dataloader import available_workers

    if not sample_video(folder).exists():
        return [CheckResult("decoding", MISSING, "not measured because no test video was written", needed=True)]
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    where = f"on {torch.cuda.get_device_name() if has_gpu else 'the CPU'}"
    workers, shape = min(2, available_workers()), f"{_CLIP_LEN}x{_SIDE}x{_SIDE}"
    clips = clips_per_second(folder, workers)
    values = {"clips_per_second": clips, "workers": workers}
    text = f"{_plural(workers, 'worker')} decode {clips:.0f} clips/s of {shape} from {SIZE[0]}x{SIZE[1]} H.264"
    results = [CheckResult("decoding", OK, text, needed=True, values=values)]
    seconds = _step_seconds("tiny3d", BATCH, (8, 64), device)
    text = f"a step of {BATCH} clips of 8x64x64 takes {_format_time(seconds)} {where}"
    results.append(CheckResult("tiny3d", OK, text, needed=True, values={"seconds": seconds}))
    batch = BATCH if has_gpu else 1  # eight clips take too long on a CPU
    seconds = _step_seconds("r3d_18", batch, (_CLIP_LEN, _SIDE), device) * BATCH / batch
    note = "" if has_gpu else f" (extrapolated from a step of {batch} clip)"
    text = f"a step of {BATCH} clips of {shape} takes {_format_time(seconds)} {where}{note}"
    results.append(CheckResult("r3d_18", OK, text, values={"seconds": seconds}))
    most_workers = min(8, available_workers())
    return [*results, conclusion(clips / workers, most_workers, BATCH / seconds, on_cpu=not has_gpu)]


def conclusion(clips_per_worker: float, workers: int, model_clips: float, *, on_cpu: bool) -> CheckResult:
    """State whether the data loader or the model limits the speed of training.

    Args:
        clips_per_worker: Clips per second of one worker.
        workers: Number of workers that a run starts.
        model_clips: Clips per second that r3d_18 trains on.
        on_cpu: Whether the workers and the model share the cores.
    """
    loader_clips = clips_per_worker * workers
    values = {"made_per_second": loader_clips, "taken_per_second": model_clips}
    speeds = f"{_plural(workers, 'worker')} decode about {loader_clips:.0f} clips/s, r3d_18 needs {model_clips:.3g}"
    if loader_clips >= model_clips:
        text = f"the data loader is fast enough: {speeds}"
        if on_cpu:
            text += "; the model is the bottleneck: use a GPU or a small model (model=tiny3d)"
        return CheckResult("conclusion", OK, text, values=values)
    text = f"the data loader is the bottleneck: {speeds}, {math.ceil(model_clips / clips_per_worker)} workers would do"
    fix = "vexp dataset rescale or vexp dataset frames, more cores, or a higher data.num_workers if cores are free"
    return CheckResult("conclusion", WARNING, text, fix, values=values)


def clips_per_second(folder: Path, workers: int) -> float:
    """Measure the data loader with the steps of pipeline=clip_16x4_112, without the start of its workers."""
    import torch

    from vexp.config.compose import compose
    from vexp.data.annotations.annotation import Annotation
    from vexp.data.loading.dataloader import SequentialSampler, WorkerOptions, iterate_batches, make_loader
    from vexp.data.loading.dataset import ClipDataset
    from vexp.data.sources.base import VideoSource

    steps, count = compose(["pipeline=clip_16x4_112"]).pipeline.train, 4096
    source = VideoSource(Annotation.pack([str(sample_video(folder))] * count, [0] * count, ["test"]))
    dataset, sampler = ClipDataset(source, steps, seed=0, lazy=True), SequentialSampler(count, BATCH)
    options = WorkerOptions(num_workers=workers)
    batches = iterate_batches(make_loader(dataset, sampler, options, torch.device("cpu"), persistent=False))
    for _ in range(workers + 1):
        next(batches)
    start, clips = time.perf_counter(), 0
    for batch in batches:
        clips += len(batch)
        if time.perf_counter() - start > _SECONDS["loader"]:
            break
    return clips / (time.perf_counter() - start)


def _step_seconds(name: str, batch: int, clip: tuple[int, int], device: Any) -> float:
    """Return the time of the fastest step: forward, loss, backward, SGD; in float32 (with TF32 on a GPU)."""
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


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _format_time(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
