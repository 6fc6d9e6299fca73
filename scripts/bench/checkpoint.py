"""Measure how long a save blocks training: written by the training process, or from a copy in the background.

python scripts/bench/checkpoint.py                    a model of 100 MB of weights with AdamW, on the CPU
python scripts/bench/checkpoint.py --mb 400 --device cuda --folder /disk/to/measure

A loop of fixed work saves every ``--every`` steps. The stall of a save is what the saving call takes, the waiting for
the save before included; the loss is what the whole loop takes longer than without saving, so that work which the
writing thread takes from training counts, too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp import checkpoint


def make(megabytes: float, device: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a model with so many megabytes of weights, and its optimizer, whose state is twice as large."""
    width = 1024
    layers = max(1, round(megabytes * 1e6 / (4 * width * width)))
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers))).to(device)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-6)


def work(net: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> None:
    net(torch.randn(64, 1024, device=device)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    if device != "cpu":
        torch.cuda.synchronize()


def loop(net: Any, optimizer: Any, way: str, steps: int, every: int, folder: Path, device: str) -> tuple[float, Any]:
    """Return (seconds of the whole loop, seconds of each call that saves)."""
    snapshot, saving, stalls = checkpoint.Snapshot(), checkpoint.Background(), []
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        work(net, optimizer, device)
        if way == "none" or step % every:
            continue
        asked = time.perf_counter()
        saving.join()
        state = {"step": step, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
        path = folder / f"step_{step}.pth"
        if way == "background":
            copy = snapshot.take(state)
            saving.start(lambda path=path, copy=copy: checkpoint.save(path, copy, also=["last.pth"], max_keep_ckpts=1))
        else:
            checkpoint.save(path, state, also=["last.pth"], max_keep_ckpts=1)
        stalls.append(time.perf_counter() - asked)
    saving.join()
    return time.perf_counter() - begin, stalls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="megabytes of weights")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=15, help="steps from one save to the next")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="on the disk to measure; else a temporary one")
    options = parser.parse_args()
    net, optimizer = make(options.mb, options.device)
    for _ in range(3):
        work(net, optimizer, options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        alone, _ = loop(net, optimizer, "none", options.steps, options.every, Path(folder), options.device)
        print(f"without saving: {alone / options.steps * 1000:.0f} ms a step")
        for way in ("waiting", "background"):
            whole, stalls = loop(net, optimizer, way, options.steps, options.every, Path(folder), options.device)
            size = (Path(folder) / "last.pth").stat().st_size / 1e6
            print(
                f"{way:10}: {size:.0f} MB, stall {statistics.median(stalls) * 1000:.0f} ms a save (longest "
                f"{max(stalls) * 1000:.0f}), the loop takes {(whole - alone) / len(stalls) * 1000:.0f} ms a save longer"
            )


if __name__ == "__main__":
    main()
