"""Measure the cost of vexp's training loop per step: one model through a plain PyTorch loop and through vexp's.

    python scripts/bench/loop.py                    a model so small that the loop dominates
    python scripts/bench/loop.py --model r3d_18     a model of the usual size

Rounds of both loops take turns, so that what else the machine does meets both; a figure is the median over rounds. The
bare loop is the fifteen lines of a PyTorch tutorial, without accuracy, timings, log or schedule. Times are CPU seconds
of this process, with one thread: other programs cannot lengthen them. Both see the same batches, which are made before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import nn

import vexp
from vexp.data.batch.batch import Batch
from vexp.experiment.setup import Experiment, build_experiment
from vexp.tracking.console import RunLog
from vexp.training import loop, run
from vexp.training.recorder import Recorder


class Smallest(nn.Module):
    """float (N, 3, T, H, W) -> logits (N, classes), in microseconds."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, num_classes)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(frames.mean((2, 3, 4)))
        return logits


def bare(model: nn.Module, batches: list[Batch], steps: int, mean: torch.Tensor, std: torch.Tensor) -> float:
    """Run the loop of a tutorial; return its CPU seconds without the first step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, fused=True)  # as vexp's
    criterion = nn.CrossEntropyLoss()
    model.train()
    begin = 0.0
    for step in range(steps):
        if step == 1:
            begin = time.process_time()
        batch = batches[step % len(batches)]
        frames = batch.frames.flatten(0, 1).permute(0, 4, 1, 2, 3).contiguous()
        frames = (frames.float() - mean) / std
        loss = criterion(model(frames), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {loss.item():.3f}")
    return time.process_time() - begin


def whole(exp: Experiment, model: nn.Module, batches: list[Batch], folder: Path) -> float:
    """Run vexp's loop, with its log lines and metrics.jsonl; return its CPU seconds without the first step.

    The operations of the model are counted once, after the first step.
    """
    state, begin = run.new_state(exp, model), 0.0

    def endless() -> Iterator[Batch]:
        nonlocal begin
        for step in range(exp.total_steps):
            if step == 1:
                begin = time.process_time()
            yield batches[step % len(batches)]

    with (
        RunLog(folder / "log.txt") as log,
        mock.patch.object(loop, "run_batches", return_value=endless()),
        Recorder(exp, folder, log, first_step=1) as out,
    ):
        loop.train(exp, state, out)
        return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smallest", help="smallest, or a model option (r3d_18)")
    parser.add_argument("--steps", type=int, default=0, help="steps per round (default 400; 4 with --model)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--side", type=int, default=0, help="height and width (default 8; 56 with --model)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    small = args.model == "smallest"
    steps, side, frames = args.steps or (400 if small else 4), args.side or (8 if small else 56), 2 if small else 8
    overrides = [f"model={'tiny3d' if small else args.model}", "optimizer=sgd", "optimizer.lr=1e-4", "lr_policy=fixed"]
    overrides += [
        f"max_steps={steps}",
        "data.batch_size=4",
        "data.num_workers=0",
        "data.train_clips=8",
        "data.val_clips=1",
    ]
    overrides += ["log=text", "log.interval=50", "eval=never", "checkpoint=never", "device=cpu", "backend.threads=1"]
    config = vexp.compose(overrides)
    exp = build_experiment(config)
    generator = torch.Generator().manual_seed(0)
    batches = [
        Batch.of_views(
            torch.randint(256, (4, 1, frames, side, side, 3), dtype=torch.uint8, generator=generator),
            torch.randint(8, (4,), generator=generator),
            torch.arange(4),
        )
        for _ in range(8)
    ]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (config.img_norm.mean, config.img_norm.std))
    model = Smallest(8) if small else config.model.build(8)
    times: dict[str, list[float]] = {"bare": [], "vexp": []}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(args.rounds + 1):
            for name in ("bare", "vexp") if round_ % 2 else ("vexp", "bare"):
                if name == "bare":
                    seconds = bare(model, batches, steps, mean, std)
                else:
                    seconds = whole(exp, model, batches, Path(folder))
                if round_ > 0:  # the first warms up
                    times[name].append(seconds / (steps - 1))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{args.model}, {steps} steps a round, {args.rounds} rounds, torch {torch.__version__}, one thread")
    for name, median in medians.items():
        spread = f"{min(times[name]) * 1e6:.1f} to {max(times[name]) * 1e6:.1f}"
        print(f"  {name}: {median * 1e6:10.1f} us a step (rounds {spread})")
    extra = medians["vexp"] - medians["bare"]
    print(f"  vexp's loop adds {extra * 1e6:.1f} us a step, {extra / medians['bare']:.2%}")


if __name__ == "__main__":
    main()
