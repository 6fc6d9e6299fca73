"""A tiny dataset of temporal localization: features that show where the segments of two classes are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("jump", "run")
DURATION = 16.0  # seconds
LENGTH = 32  # features: one every half second
CHANNELS = 8
SUBSETS = {"train": ("training", 6), "val": ("validation", 4)}


def write_segment_data(folder: Path, seed: int = 0) -> Path:
    """Write annotations.json and features/NAME.npy; the last validation video has no segment."""
    rng = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    database: dict[str, Any] = {}
    for split, (subset, count) in SUBSETS.items():
        for number in range(count):
            name = f"{split}_{number}"
            features = rng.normal(0, 0.3, (LENGTH, CHANNELS)).astype(np.float32)
            rows = []
            for start in (1.0, 9.0)[: 0 if name == "val_3" else 2]:
                first, end = start + rng.integers(0, 3) / 2, start + rng.integers(7, 12) / 2
                label = int(rng.integers(2))
                features[int(2 * first) : int(2 * end), label] += 2.0
                rows.append({"segment": [first, end], "label": CLASSES[label]})
            np.save(folder / "features" / f"{name}.npy", features)
            database[name] = {"subset": subset, "duration": DURATION, "annotations": rows}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    return folder


def data_overrides(folder: Path) -> list[str]:
    """Return the overrides of a short run on the dataset."""
    return [
        "data=activitynet", f"data.features={folder / 'features'}",
        f"data.train.ann_file={folder / 'annotations.json'}", f"data.val.ann_file={folder / 'annotations.json'}",
        f"data.feature_dim={CHANNELS}", "data.num_workers=0",
        "device=cpu", "log=text", "log.plots=false", "log.interval=1", "backend.threads=1",
    ]  # fmt: skip


ACTIONFORMER = [
    "model=actionformer_tiny", "model.width=16", "model.levels=3", "model.window=5", "eval=segments",
    "data.length=null", "data.batch_size=3",
]  # fmt: skip
BMN = [
    "data.length=16", "data.batch_size=3", "model.hidden_1d=8", "model.hidden_2d=4", "model.hidden_3d=8",
    "model.num_samples=4",
]  # fmt: skip
