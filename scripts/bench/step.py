"""Measure time and memory of one training step: model x precision x memory layout x compilation.

    python scripts/bench/step.py --models mvit_v1_b,r3d_18,tsm_r50 --markdown table.md      on a GPU
    python scripts/bench/step.py --models tiny3d,r3d_18                                     on a laptop, tiny sizes
    python scripts/bench/step.py --models r3d_18 --freed-memory both                the effect of `vexp.core.malloc`

A step is forward, loss, backward and SGD's update of one batch that is already on the device. Every combination runs in
a process of its own, so that its peak memory is its own; rounds over all combinations take turns. Precisions:

    fp32  float32 everywhere, no tensor cores        tf32  float32 with TF32 products (Ampere and later)
    bf16  autocast to bfloat16                       fp16  autocast to float16 with a dynamic loss scale

Memory is the peak that torch's allocator reserved on a GPU, the growth of the process's peak resident set on a CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
#: Clip (frames, side) and batch where none is given: as the models are trained, or as a laptop can run them.
SIZES = {"cuda": ((16, 224), 8), "cpu": ((4, 56), 2)}


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Measure one combination in this process: median seconds per step and peak memory in MB."""
    import resource

    import torch

    from vexp.model import build_model
    from vexp.runtime.amp import Amp
    from vexp.runtime.backend import Backend

    device = torch.device(case["device"])
    precision = case["precision"]
    backend = Backend(
        channels_last=case["channels_last"], compile=case["compile"], tf32="all" if precision == "tf32" else "none"
    )
    backend.set_switches()
    amp = Amp(dtype=precision if precision in ("bf16", "fp16") else "fp32")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.manual_seed(0)
    model = backend.prepare(build_model(case["model"], 400), device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    scaler = amp.scaler(device)
    frames, side = case["clip"]
    clips = torch.rand(case["batch"], 3, frames, side, side, device=device)
    if case["channels_last"]:
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
    labels = torch.randint(400, (case["batch"],), device=device)

    def step() -> float:
        begin = time.perf_counter()
        with amp.autocast(device):
            loss = torch.nn.functional.cross_entropy(model(clips), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    for _ in range(case["warmup"]):
        step()
    seconds = [step() for _ in range(case["steps"])]
    if device.type == "cuda":
        memory = torch.cuda.max_memory_reserved() / 2**20
        name = torch.cuda.get_device_name()
    else:
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10  # kilobytes on Linux
        name = f"CPU, {torch.get_num_threads()} threads"
    return {"seconds": statistics.median(seconds), "memory": memory, "device_name": name, "torch": torch.__version__}


def in_own_process(case: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a case, or the reason why there are none."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    # Any option of malloc in the environment, also this one that changes nothing, makes vexp leave malloc alone.
    malloc = {} if case["freed_memory"] == "kept" else {"MALLOC_PERTURB_": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | malloc)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
        return {"error": last[:100]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tiny3d", help="model options, with commas between")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--layouts", default="contiguous,channels_last")
    parser.add_argument("--compile", default="no", choices=("no", "yes", "both"))
    parser.add_argument("--freed-memory", default="kept", choices=("kept", "returned", "both"))
    parser.add_argument("--clip", help="frames x side of a clip, 16x224")
    parser.add_argument("--batch", type=int, help="clips in a batch")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cuda where there is one")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        print(json.dumps(measure(json.loads(args.case))))
        return
    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    (frames, side), batch = SIZES[device]
    if args.clip is not None:
        frames, side = (int(number) for number in args.clip.split("x"))
    cases = [
        {
            "model": model, "precision": precision, "channels_last": layout == "channels_last", "compile": compiled,
            "clip": (frames, side), "batch": args.batch or batch, "steps": args.steps, "warmup": args.warmup,
            "device": device, "freed_memory": freed,
        }
        for model, compiled, layout, precision, freed in itertools.product(
            args.models.split(","), {"no": [False], "yes": [True], "both": [False, True]}[args.compile],
            args.layouts.split(","), args.precisions.split(","),
            ["kept", "returned"] if args.freed_memory == "both" else [args.freed_memory],
        )
        if device == "cuda" or precision != "tf32"
    ]  # fmt: skip
    rounds = [[in_own_process(case) for case in cases] for _ in range(args.rounds)]
    results = [case | summary([found[i] for found in rounds]) for i, case in enumerate(cases)]
    report(results, args.markdown)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if device == "cpu":
        print("not measured: a GPU (none here), so neither TF32 nor whether AMP is faster and smaller there")


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the rounds, or the error of any round."""
    errors = [found for found in rounds if "error" in found]
    if errors:
        return errors[0]
    return rounds[0] | {key: statistics.median(found[key] for found in rounds) for key in ("seconds", "memory")}


def report(results: list[dict[str, Any]], markdown: Path | None) -> None:
    """Print a table, and write it as Markdown if a file is given; ratios are to fp32 of the same model."""
    headers = [
        "model",
        "precision",
        "layout",
        "compiled",
        "freed memory",
        "ms a step",
        "time / fp32",
        "MB",
        "memory / fp32",
    ]
    base = {
        result["model"]: result
        for result in reversed(results)
        if result["precision"] == "fp32" and not result["channels_last"] and not result["compile"]
    }
    rows = []
    for result in results:
        row = [result["model"], result["precision"], "channels_last" if result["channels_last"] else "contiguous"]
        row += ["yes" if result["compile"] else "no", result["freed_memory"]]
        first = base.get(result["model"], {})
        if "error" in result:
            row += [result["error"], "", "", ""]
        else:
            row += [f"{result['seconds'] * 1e3:.1f}", ratio(result, first, "seconds")]
            row += [f"{result['memory']:.0f}", ratio(result, first, "memory")]
        rows.append(row)
    known = next((result for result in results if "error" not in result), {})
    frames, side = results[0]["clip"]
    title = f"batch {results[0]['batch']} of {frames} frames at {side} x {side}, SGD; "
    title += f"{known.get('device_name', results[0]['device'])}, torch {known.get('torch', '?')}"
    table = Table(*headers, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
    if markdown is not None:
        lines = [title, "", "| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
        markdown.write_text("\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n")


def ratio(result: dict[str, Any], base: dict[str, Any], key: str) -> str:
    return f"{result[key] / base[key]:.2f}" if base.get(key) else ""


if __name__ == "__main__":
    main()
