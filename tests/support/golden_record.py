"""Recordings of golden runs: their content, the differences that are allowed, and the first that is not."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.golden_media import digest
from support.run_files import read_metrics


def run_record(folder: Path) -> dict[str, Any]:
    """Return what is recorded of a run folder, in plain containers."""
    return {
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").glob("*.pth")),
        "best": json.loads((folder / "checkpoints" / "best.json").read_text(encoding="utf-8")),
        **last_weights(folder),
        "metrics": read_metrics(folder),
        "predictions": (folder / "eval" / "predictions.csv").read_text(encoding="utf-8").splitlines(),
    }


def last_weights(folder: Path) -> dict[str, Any]:
    """Summarize the ``weights`` of the last checkpoint and, if there is a running average of them, ``ema``."""
    import torch

    state = torch.load(folder / "checkpoints" / "last.pth", map_location="cpu", weights_only=True)
    return {name: _summary(state[key]) for name, key in (("weights", "model"), ("ema", "ema")) if key in state}


def _summary(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return SHA-256 over name, dtype, shape and bytes of every tensor, sorted by name, and the number of tensors."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return {"sha256": total.hexdigest(), "tensors": len(tensors)}


# ---- fingerprints ----


def take_fingerprint(media: Path | None = None) -> dict[str, Any]:
    """Return the versions, the processor and the media (of a run that uses them) that decide the bits of a result."""
    import cv2
    import torch

    torch_version, _, torch_build = torch.__version__.partition("+")
    versions = {name: metadata.version(name) for name in ("torchvision", "numpy", "av", "simplejpeg")}
    return {
        "torch": torch_version, "torch_build": torch_build, **versions, "cv2": cv2.__version__,
        "machine": platform.machine(), "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": 1,  # backend.threads
        "media": digest(media) if media is not None else None,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.partition(":")[::2] for line in lines if ":" in line)
    values = {name.strip(): value.strip() for name, value in fields.items()}
    return " ".join(values.get(name, "?") for name in ("model name", "cpu family", "model", "stepping"))


# ---- comparing ----


@dataclass(frozen=True, slots=True)
class Allowed:
    """The largest relative difference from the recording, until step ``EARLY`` and later; 0 demands equal bits."""

    name: str
    early: float
    late: float


#: Other instructions of a processor round the last bits differently, and training amplifies that: with the kernels for
#: SSE4.1 or AVX2 in place of AVX-512, the losses of these runs differ by at most 3e-5 in the first three steps and by
#: up to 4e-2 after ten. Other samples, another order of random draws or another rate show in the first three steps.
EARLY = 3
EXACT = Allowed("equal", 0.0, 0.0)
CLOSE = Allowed(f"close, another processor (within 1e-4 until step {EARLY}, 0.1 later)", 1e-4, 0.1)
#: Other versions encode and decode other pixels and draw other initial weights.
OUTLINE = Allowed("other library versions: only steps, learning rates, names and labels compared", math.inf, math.inf)
_OF_THE_MACHINE = ("torch_build", "machine", "processor", "cpu_capability")


def allowed_between(recorded: dict[str, Any], current: dict[str, Any]) -> Allowed:
    """Return the differences that two fingerprints allow."""
    different = {name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name)}
    if not different:
        return EXACT
    return CLOSE if different.issubset(_OF_THE_MACHINE) else OUTLINE


def first_difference(recorded: dict[str, Any], actual: dict[str, Any], allowed: Allowed) -> str | None:
    """Describe the first difference of a run from its recording that is not allowed; None if there is none."""
    return next(_differences(recorded, actual, allowed), None)


def _differences(recorded: dict[str, Any], actual: dict[str, Any], allowed: Allowed) -> Iterator[str]:
    yield from metric_differences(recorded["metrics"], actual["metrics"], allowed)
    if allowed != EXACT:
        recorded, actual = _without_floats(recorded), _without_floats(actual)
    for key in sorted((recorded.keys() | actual.keys()) - {"metrics"}):
        old, new = recorded.get(key), actual.get(key)
        if key == "predictions" and old != new:
            old, new = next(pair for pair in zip_longest(old or [], new or []) if pair[0] != pair[1])
        if old != new:
            yield f"{key}: {new}, recorded is {old}"


def metric_differences(recorded: list[dict[str, Any]], actual: list[dict[str, Any]], allowed: Allowed) -> Iterator[str]:
    """Yield the differences between the records of two metrics.jsonl, in their order."""
    for old, new in zip_longest(recorded, actual):
        if old is None or new is None:
            yield f"metrics.jsonl: has {len(actual)} records, recorded are {len(recorded)}"
            return
        place = f"metrics.jsonl, {old['mode']} record of step {old['step']}"
        if old.keys() != new.keys():
            yield f"{place}: has {', '.join(new)}, recorded are {', '.join(old)}"
            return
        tolerance = allowed.early if old["step"] <= EARLY else allowed.late
        for key in old:
            if not _same(key, old[key], new[key], tolerance):
                yield f"{place}: {key} {new[key]!r}, recorded is {old[key]!r}"


#: Results that count videos: a single video whose two best scores are nearly equal changes them by a whole step.
_COUNTED = ("_acc", "accuracy", "precision", "calibration_error")


def _same(key: str, old: Any, new: Any, tolerance: float) -> bool:
    if old == new:
        return True
    if not tolerance or not isinstance(old, float) or not isinstance(new, float):
        return False
    if key.startswith("lr"):
        return math.isclose(old, new, rel_tol=1e-12)  # only the C library's cosine may differ
    if key.endswith(_COUNTED) and tolerance > CLOSE.early:
        return True
    return abs(old - new) <= tolerance * max(abs(old), abs(new))


def _without_floats(record: dict[str, Any]) -> dict[str, Any]:
    """Reduce a recording to what rounding does not change: id, path and label of predictions, number of tensors."""
    rows = [row[:3] for row in csv.reader(record["predictions"])]
    weights: dict[str, Any] = {name: record[name]["tensors"] for name in ("weights", "ema") if name in record}
    return {"checkpoints": record["checkpoints"], "best": record["best"]["metric"], "predictions": rows, **weights}


# ---- recordings ----


def read_recording(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fingerprint of a recording and what was recorded."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content.pop("fingerprint"), content


def write_recording(path: Path, fingerprint: dict[str, Any], record: dict[str, Any]) -> None:
    """Write a recording with one list entry a line, so that a diff can be read; floats are written as ``repr``."""
    parts = []
    for key, value in {"fingerprint": fingerprint, **record}.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(entry)}" for entry in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
