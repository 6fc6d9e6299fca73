"""Read the files of a run folder and compare those of two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_metrics(folder: Path, mode: str | None = None) -> list[dict[str, Any]]:
    """Return the records of metrics.jsonl, all of them or those of a mode, without their times."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]
    return [record for record in records if mode in (None, record["mode"])]


def read_checkpoint(folder: Path, name: str = "last.pth") -> dict[str, Any]:
    """Load a checkpoint of a run folder."""
    from vexp import checkpoint

    return checkpoint.load(folder / "checkpoints" / name)


def assert_same_weights(first: Path, second: Path, name: str = "last.pth") -> None:
    """Check that a checkpoint of two runs holds the same model weights, equal to the bit."""
    import torch

    a, b = (read_checkpoint(folder, name)["model"] for folder in (first, second))
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def flip_bit(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
