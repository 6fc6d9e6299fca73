"""Run folders as training writes them, made without training.

``python tests/support/run_folders.py FOLDER 500`` writes 500 of them, to inspect a comparison page.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vexp import compose
from vexp.config.instantiate import to_dict

CLASSES = ["left", "right", "up", "down", "grow", "shrink", "clockwise", "counter_clockwise"]
VERSIONS = {"vexp": "0.1.0", "torch": "2.15.0"}


@cache
def _composed(override: str | None = None) -> dict[str, Any]:
    return to_dict(compose([override] if override else []), types=True)


def _config(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the composed config; options are composed once and values inserted."""
    config = copy.deepcopy(_composed())
    for override in overrides:
        key, _, value = override.partition("=")
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[last] = copy.deepcopy(_composed(override)[key]) if isinstance(node[last], dict) else yaml.safe_load(value)
    return config


def _yaml(config: dict[str, Any]) -> str:
    return yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def make_run(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    score: float = 0.8,
    epochs: int = 4,
    status: str | None = "done",
    error: str = "",
    scores: Sequence[float] | None = None,
    version: str = "0.1.0",
    classes: Sequence[str] = CLASSES,
    unscored: int = 0,
    steps_per_epoch: int = 10,
    seed: int = 0,
) -> Path:
    """Write one run folder.

    Args:
        folder: Path of the folder.
        overrides: Overrides.
        score: Final top1_acc.
        epochs: Number of epochs, each with an evaluation; ignored if ``scores`` is set.
        status: Status in result.json; None writes no result.json.
        error: Error in result.json; empty writes none.
        scores: top1_acc of each evaluation, instead of a curve that ends near ``score``.
        version: Version of vexp in env.json.
        classes: Class names.
        unscored: Number of validation videos without a score, of 40.
        steps_per_epoch: Optimizer steps per epoch.
        seed: Seed of the noise in the metrics.
    """
    rng = np.random.default_rng(seed + 7919 * sum(map(ord, "".join(overrides))))
    config = _config(overrides)
    if scores is None:
        scores = [
            score * (1 - 0.8 * math.exp(-1.6 * (e + 1) * 4 / epochs)) + rng.normal(0, 0.006) for e in range(epochs)
        ]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(_yaml(config))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    (folder / "env.json").write_text(json.dumps({"packages": VERSIONS | {"vexp": version}}))
    records = _records(config, list(scores), steps_per_epoch, rng)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    evaluated = [record for record in records if record["mode"] == "val"]
    best = max(evaluated, key=lambda r: -math.inf if math.isnan(r["top1_acc"]) else r["top1_acc"])
    _write_result(folder, records, best, status, error, list(overrides))
    _write_report(folder / "eval", best, classes, unscored, rng)
    return folder


def _records(config: dict[str, Any], scores: list[float], per_epoch: int, rng: np.random.Generator) -> list[Any]:
    records, total = [], len(scores) * per_epoch
    for step in range(1, total + 1):
        epoch = -(-step // per_epoch)
        lr = config["optimizer"]["lr"] * 0.5 * (1 + math.cos(math.pi * (step - 1) / total))
        loss = 2.1 - 1.9 * scores[-1] * (1 - math.exp(-4 * step / total)) + rng.normal(0, 0.05)
        record = {"mode": "train", "step": step, "epoch": epoch, "lr": lr, "loss": loss, "top1_acc": scores[epoch - 1]}
        records.append(record | {"lr/norm": lr / 2, "time/step": 0.2, "time/clips_per_s": 40.0})
        if step % per_epoch == 0:
            top1 = scores[epoch - 1]
            values = {"top1_acc": top1, "top5_acc": (1 + top1) / 2, "mean_class_accuracy": top1 * 0.98}
            records.append(
                {"mode": "val", "step": step, "epoch": epoch} | values | {"loss": 2.2 - 2 * top1, "time/eval": 1.0}
            )
    return records


def _write_result(
    folder: Path, records: list[Any], best: Any, status: str | None, error: str, overrides: list[str]
) -> None:
    if status is None:
        return
    result: dict[str, Any] = {"status": status, "overrides": overrides}
    if error:
        result["error"] = error
    if status == "done":
        last = [record for record in records if record["mode"] == "val"][-1]
        result["step"] = records[-1]["step"]
        result["metrics"] = {
            f"val/{k}": v for k, v in last.items() if "/" not in k and k not in ("mode", "step", "epoch")
        }
        result["best"] = {"metric": "top1_acc", "score": best["top1_acc"], "step": best["step"], "epoch": best["epoch"]}
        result["seconds"] = 131.0
    (folder / "result.json").write_text(json.dumps(result, indent=2))


def _write_report(folder: Path, best: Any, classes: Sequence[str], unscored: int, rng: np.random.Generator) -> None:
    folder.mkdir()
    videos, n = 40 - unscored, len(classes)
    accuracy = 0.0 if math.isnan(best["top1_acc"]) else best["top1_acc"]
    labels = [i % n for i in range(videos)]
    predicted = [label if rng.random() < accuracy else (label ^ 1) % n for label in labels]
    report: dict[str, Any] = {"metrics": {}, "videos": videos, "split": "val", "step": best["step"]}
    if unscored:
        report |= {
            "videos_of_split": 40,
            "unscored": [{"id": i, "path": "x", "error": "cut off"} for i in range(unscored)],
        }
    (folder / "report.json").write_text(json.dumps(report))
    with (folder / "per_class.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["class", "videos"], *([name, labels.count(i)] for i, name in enumerate(classes))])
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = [
            [i, f"val/{i}.mp4", classes[a], classes[b], int(a == b)]
            for i, (a, b) in enumerate(zip(labels, predicted, strict=True))
        ]
        csv.writer(file).writerows([["id", "path", "label", "predicted", "correct"], *rows])


def make_sweep(folder: Path, *, runs: int = 24, epochs: int = 4, steps_per_epoch: int = 10) -> Path:
    """Write runs of 2 optimizers x 3 policies x seeds (beyond 24 runs also rates), three of them unfinished."""
    rates = [None] if runs <= 24 else [0.0003, 0.001, 0.003, 0.01, 0.03]
    cells = [(o, p, r) for o in ("sgd", "adamw") for p in ("step", "cosine", "cosine_restart") for r in rates]
    for number in range(runs):
        optimizer, policy, rate = cells[number % len(cells)]
        seed = number // len(cells)
        overrides = [f"optimizer={optimizer}", f"lr_policy={policy}", f"seed={seed}"]
        overrides += [f"optimizer.lr={rate}"] if rate is not None else []
        score = 0.7 + 0.08 * (optimizer == "adamw") + {"step": 0.0, "cosine": 0.06, "cosine_restart": 0.04}[policy]
        score -= 0.0 if rate is None else 0.12 * abs(math.log10(rate / (0.01 if optimizer == "sgd" else 0.001)))
        score += float(np.random.default_rng(number).normal(0, 0.02))
        ends = {3: ("failed", "loss is not finite at step 12"), 10: ("interrupted", ""), 17: (None, "")}
        status, error = ends.get(number, ("done", ""))
        make_run(
            folder / "_".join(sorted(overrides)), overrides, score=min(score, 0.99), status=status, error=error,
            epochs=epochs, steps_per_epoch=steps_per_epoch, seed=number,
        )  # fmt: skip
    return folder


if __name__ == "__main__":
    make_sweep(Path(sys.argv[1]), runs=int(sys.argv[2]), epochs=20, steps_per_epoch=25)
