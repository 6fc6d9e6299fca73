"""Run everything that needs a GPU: tests, precision table, data loading against the step, NCCL, out of memory, NVDEC.

scripts/bench/gpu.sh runs it and lists its arguments. Each part is a process of its own with a deadline and prints its
rows as lines of JSON, so that a part that crashes or takes too long leaves what it has measured. The result is one JSON
file and one page of Markdown tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]
#: Part -> the share of the time at which it has to end, and its title.
PARTS = {
    "tests": (0.15, "Tests of the GPU lane"),
    "precision": (0.40, "Training step: time and memory"),
    "loader": (0.60, "Data loading against the training step: R3D-18, 16 frames of 112 x 112"),
    "memory": (0.64, "Evaluation that does not fit into memory at once"),
    "nvdec": (0.70, "Decoding on the GPU"),
    "processes": (0.80, "Distributed training"),
    "compiled": (1.00, "Compiled training step: time and memory"),
}


def tests(args: argparse.Namespace) -> Iterator[Row]:
    """Run the tests that are marked gpu."""
    which = ["--collect-only", "tests/checkpoint/test_async_save.py"] if args.dry_run else ["tests"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *which]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    yield {"status": done.returncode, "summary": lines[-1] if lines else done.stderr[-200:]}
    yield from ({"failed": line} for line in lines if line.startswith(("FAILED", "ERROR")))


def precision(args: argparse.Namespace, *, compiled: bool = False) -> Iterator[Row]:
    """Measure the training step of each model in each precision and memory layout."""
    from step import PRECISIONS, measure

    models = ["tiny3d"] if args.dry_run else ["r3d_18", "mvit_v1_b", "tsm_r50"]
    size = {"clip": (4, 32), "batch": 2, "steps": 1, "warmup": 1} if args.dry_run else {"warmup": 3, "steps": 8}
    sizes = {"r3d_18": ((16, 112), 16), "mvit_v1_b": ((16, 224), 8), "tsm_r50": ((8, 224), 8)}
    # The most useful combinations first: a compilation takes up to a minute, and the deadline may end the list.
    order = itertools.product(["bf16", "fp16", "tf32", "fp32"] if compiled else PRECISIONS, [True, False], models)
    for kind, channels_last, model in order:
        if kind == "tf32" and args.device == "cpu":
            continue
        clip, batch = sizes.get(model, ((4, 32), 2))
        case = {
            "model": model, "precision": kind, "channels_last": channels_last, "compile": compiled, "clip": clip,
            "batch": batch, "device": args.device, **size,
        }  # fmt: skip
        try:
            figures = measure(case)
        except Exception as error:  # a combination that the model or the GPU does not support
            figures = {"error": " ".join(str(error).split())[:160]}
        yield case | figures
        torch.compiler.reset()
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def compiled(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the compiled training step; the dry run does not compile, which takes minutes."""
    yield from precision(args, compiled=not args.dry_run)


def loader(args: argparse.Namespace) -> Iterator[Row]:
    """Measure loading, step and both together, on the generated data set and on videos of 340x256."""
    from vexp import compose
    from vexp.tools.bench.measure import Measurement

    tiny = ["model=tiny3d", "model.width=8", "data.num_workers=1", "data.batch_size=2"]
    full = ["model=r3d_18", "pipeline=clip_16x4_112", "data.batch_size=16"]
    options = [*(tiny if args.dry_run else full), f"device={args.device}", "backend=fast", "backend.compile=false"]
    clips = ["data.train_clips=2", "data.val_clips=1"] if args.dry_run else []
    cases = {"generated videos of 64x64": ["data=motion", *clips], "videos of 340x256": real_videos(args)}
    for (name, data), dtype in itertools.product(cases.items(), ["fp32", "bf16"]):
        run = Measurement(compose([*options, *data, f"amp.dtype={dtype}"]))
        speeds = run.speeds(0.5 if args.dry_run else 15)
        yield {
            "data": name, "precision": dtype, "workers": run.workers, "loading": speeds.loading, "step": speeds.step,
            "training": speeds.training, "share": speeds.share, "copy_ms": 1e3 * run.copy_seconds(),
        }  # fmt: skip


def real_videos(args: argparse.Namespace) -> list[str]:
    """Return the overrides of a list of video files; the generated scene is written if no folder is given."""
    import data_media as media

    folder = Path(tempfile.gettempdir()) / "vexp_bench_gpu"
    folder.mkdir(exist_ok=True)
    if args.videos is not None:
        paths = [path for path in sorted(args.videos.rglob("*")) if path.suffix in (".mp4", ".mkv", ".webm", ".avi")]
    else:
        scene = media.video(folder, (340, 256), 12, 60 if args.dry_run else 300, None)
        paths = media.many(scene, 8 if args.dry_run else 256)
    (folder / "list.txt").write_text("".join(f"{path} {number % 2}\n" for number, path in enumerate(paths)))
    return ["data=video_list", *(f"data.{split}.ann_file={folder}/list.txt" for split in ("train", "val"))]


def memory(args: argparse.Namespace) -> Iterator[Row]:
    """Evaluate more views than fit into memory: the number in a forward pass is halved until they do."""
    from vexp import compose
    from vexp.data.batch.batch import Batch
    from vexp.evaluation.view_forward import ViewForward
    from vexp.model import build_model

    device, views = torch.device(args.device), 8 if args.dry_run else 256
    side, length = (16, 4) if args.dry_run else (112, 16)
    model = build_model("tiny3d" if args.dry_run else "r3d_18", 10).to(device).eval()
    frames = torch.randint(0, 256, (1, views, length, side, side, 3), dtype=torch.uint8)
    batch = Batch.of_views(frames, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    config = compose()
    whole = ViewForward(config.img_norm, config.amp, device, max_views=4)
    expected = whole(model, batch)

    def limited(clips: torch.Tensor) -> torch.Tensor:
        if args.device == "cpu" and len(clips) > 2:
            raise torch.OutOfMemoryError("simulated")
        return model(clips)

    if args.device == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**30) / total)
    forward = ViewForward(config.img_norm, config.amp, device)
    difference = float((forward(limited, batch) - expected).abs().max())
    yield {"views": views, "in one forward pass": forward.max_views, "largest difference": difference}


def nvdec(args: argparse.Namespace) -> Iterator[Row]:
    """Compare the frames of NVDEC with those of PyAV, and the time of a clip of 16 frames."""
    import data_media as media
    import numpy as np

    from vexp.core.errors import UserError
    from vexp.data.decoding import open_video

    folder = Path(tempfile.gettempdir()) / "vexp_bench_gpu"
    folder.mkdir(exist_ok=True)
    frames, indices = 60 if args.dry_run else 300, list(range(0, 60, 4))
    for size, gop in itertools.product([(340, 256), (1280, 720)][: 1 if args.dry_run else 2], [12, 250]):
        path = media.video(folder, size, gop, frames, None)
        row: Row = {"video": f"{size[0]}x{size[1]}, GOP {gop}"}
        decoded = {}
        for backend in ("av", "torchcodec", "torchcodec_cuda"):
            try:
                for _ in range(3):  # the first ones open libraries and the decoder
                    start = time.perf_counter()
                    with open_video(path, backend) as reader:
                        decoded[backend] = reader.frames(indices).astype(np.int16)
                    row[f"{backend} ms"] = 1e3 * (time.perf_counter() - start)
            except (UserError, ImportError) as error:
                row[f"{backend} ms"] = str(error)[:80]
        for backend in decoded.keys() - {"av"}:
            row[f"{backend}, mean difference"] = float(np.abs(decoded[backend] - decoded["av"]).mean())
        yield row


def processes(args: argparse.Namespace) -> Iterator[Row]:
    """Train with one process and with one for each GPU: NCCL, and Gloo in the dry run."""
    count = 2 if args.dry_run else torch.cuda.device_count()
    sizes = ["data.train_clips=2", "data.val_clips=1"] if args.dry_run else []
    options = [*sizes, "model.width=8", "epochs=2", "log=text", "log.plots=false", f"device={args.device}"]
    for nproc in dict.fromkeys((1, count)):
        with tempfile.TemporaryDirectory() as folder:
            changes = [f"dist.nproc={nproc}", f"data.batch_size={4 * count // nproc}", "data.num_workers=1"]
            command = [sys.executable, "-m", "vexp", "train", *options, *changes, f"out_root={folder}", "run_name=run"]
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            row: Row = {"processes": nproc, "status": done.returncode, "seconds": time.perf_counter() - start}
            for path in Path(folder).rglob("metrics.jsonl"):
                row["last loss"] = [json.loads(line).get("loss") for line in path.read_text().splitlines()][-2]
            yield row if done.returncode == 0 else row | {"error": (done.stderr or done.stdout)[-160:]}
    if count < 2:
        yield {"processes": count, "note": "one GPU: NCCL between several was not tried"}


def environment(device: str) -> Row:
    """Return the hardware and the versions."""
    found: Row = {"torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count()}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name, "gpus": torch.cuda.device_count(), "memory_gb": properties.total_memory / 2**30,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        }  # fmt: skip
    return found


def run_part(name: str, args: argparse.Namespace, seconds: float) -> Row:
    """Run a part in a process of its own; return its rows, and why it ended early if it did."""
    command = [sys.executable, __file__, "--part", name, *(["--dry-run"] if args.dry_run else [])]
    command += ["--videos", str(args.videos)] if args.videos is not None else []
    begin, problem = time.perf_counter(), ""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
        try:
            if process.wait(max(seconds, 1)) != 0:
                errors.seek(0)
                problem = (errors.read().strip().splitlines() or [f"ended with status {process.returncode}"])[-1][:300]
        except subprocess.TimeoutExpired:
            problem = "the time was over"
            os.killpg(process.pid, 9)
            process.wait()
        output.seek(0)
        rows = [json.loads(line) for line in output.read().splitlines() if line.startswith("{") and line.endswith("}")]
    return {"rows": rows, "seconds": time.perf_counter() - begin, "problem": problem}


def page(result: Row) -> str:
    """Return the result as a page of tables."""
    setup = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                      for name, value in result["environment"].items())  # fmt: skip
    lines = ["# Measurements on a GPU", "", setup, ""]
    if result["dry_run"]:
        lines += ["**A dry run on a CPU: not measured on a GPU.**", ""]
    for name, (_, title) in PARTS.items():
        part = result["parts"][name]
        lines += [f"## {title}", ""]
        columns = list(dict.fromkeys(column for row in part["rows"] for column in row))
        if columns:
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
            lines += [
                "| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in part["rows"]
            ]
        lines += ["", f"{part['seconds']:.0f} s{'; ended early: ' + part['problem'] if part['problem'] else ''}", ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--seconds", type=float, default=570, help="time of all parts together")
    parser.add_argument("--videos", type=Path, help="folder of videos of about 340x256")
    parser.add_argument("--dry-run", action="store_true", help="every part with tiny sizes, on a CPU")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = "cpu" if args.dry_run else "cuda"
    if args.part is not None:
        for row in globals()[args.part](args):
            print(json.dumps(row), flush=True)
        return 0
    if not args.dry_run and not torch.cuda.is_available():
        parser.error("torch finds no GPU; --dry-run checks the script without one")
    start, result = time.perf_counter(), {"dry_run": args.dry_run, "environment": environment(args.device), "parts": {}}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, (share, _) in PARTS.items():
        result["parts"][name] = part = run_part(name, args, share * args.seconds - (time.perf_counter() - start))
        print(f"{name}: {len(part['rows'])} rows in {part['seconds']:.0f} s {part['problem']}", file=sys.stderr)
    (args.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.out / "gpu.md").write_text(page(result))
    print(f"{args.out / 'gpu.md'} and gpu.json are written", file=sys.stderr)
    return int(any(part["problem"] or not part["rows"] for part in result["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
