"""Measure memory and time of training steps on the CPU with and without activation checkpointing.

    python scripts/bench/activation_checkpointing.py                                    a ViT-B (VideoMAE), 16x224
    python scripts/bench/activation_checkpointing.py --models mvit_v2_s,slowonly_r50 --clip 16x224

A step is forward, loss, backward and AdamW's update of one batch. Every combination runs in a process of its own: its
memory is the growth of the peak resident set during the steps beyond that of weights, gradients and optimizer states,
which the first, smaller step allocates. That is nearly what a GPU needs for activations. The gradients of both are
compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Measure one combination in this process: seconds per step and memory in MB."""
    import torch

    from vexp.model import build_model
    from vexp.model.registry import named_option
    from vexp.runtime.amp import Amp
    from vexp.runtime.backend import Backend

    device = torch.device("cpu")
    frames, side = case["clip"]
    backend = Backend(activation_checkpointing=case["checkpointing"], threads=case["threads"])
    backend.set_switches()
    torch.manual_seed(0)
    option = named_option(case["model"])
    for name, value in (("num_frames", frames), ("img_size", side), ("drop_path", 0.0)):
        if hasattr(option, name):
            setattr(option, name, value)
    model = backend.prepare(build_model(option, 400), device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    clips = torch.rand(case["batch"], 3, frames, side, side)
    labels = torch.randint(400, (case["batch"],))
    for parameter in model.parameters():  # allocates gradients and optimizer states
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    before, seconds = current_rss(), []
    reset_peak_rss()
    for _ in range(case["steps"]):
        optimizer.zero_grad(set_to_none=False)
        begin = time.perf_counter()
        with Amp(dtype=case["precision"]).autocast(device):
            loss = torch.nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    norms = [float(parameter.grad.norm()) for parameter in model.parameters() if parameter.grad is not None]
    return {
        "seconds": statistics.median(seconds), "activations": (peak_rss() - before) / 1e6, "peak": peak_rss() / 1e6,
        "weights": before / 1e6, "norms": norms, "loss": float(loss.detach()), "torch": torch.__version__,
    }  # fmt: skip


def current_rss() -> float:
    """Return the resident set of this process in bytes."""
    return _status("VmRSS")


def peak_rss() -> float:
    """Return its peak since ``reset_peak_rss``."""
    return _status("VmHWM")


def reset_peak_rss() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))


def in_own_process(case: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a case."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="videomae_b", help="named models, with commas between")
    parser.add_argument("--clip", default="16x224", help="frames x side of a clip")
    parser.add_argument("--batch", type=int, default=1, help="clips in a batch")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        print(json.dumps(measure(json.loads(args.case))))
        return
    frames, side = (int(number) for number in args.clip.split("x"))
    table = Table(
        "model", "checkpointing", "activations MB", "peak of the process MB", "s a step", "largest difference"
    )
    for model in args.models.split(","):
        base: dict[str, Any] = {}
        for checkpointing in (False, True):
            settings = {"threads": args.threads, "precision": args.precision}
            case = {"model": model, "clip": (frames, side), "batch": args.batch, "steps": args.steps, **settings}
            found = in_own_process(case | {"checkpointing": checkpointing})
            base = base or found
            differences = [abs(a - b) / max(b, 1e-12) for a, b in zip(found["norms"], base["norms"], strict=True)]
            share = f" ({found['activations'] / base['activations']:.2f} x)" if checkpointing else ""
            slower = f" ({found['seconds'] / base['seconds']:.2f} x)" if checkpointing else ""
            table.add_row(
                model, "on" if checkpointing else "off", f"{found['activations']:.0f}{share}", f"{found['peak']:.0f}",
                f"{found['seconds']:.1f}{slower}", f"{max(differences):.1g}" if checkpointing else "",
            )  # fmt: skip
    table.title = f"batch {args.batch} of {frames} frames at {side} x {side}, {args.precision}, AdamW, CPU; "
    table.title += "difference of gradient norms, relative"
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
