"""Measure the epochs of a probe on a frozen encoder, with and without data.cache_features.

python scripts/bench/cached_features.py                       a small ViT and the built-in dataset, on the CPU
python scripts/bench/cached_features.py --epochs 3 model.width=192 model.depth=6 data.train_clips=20

The time of an epoch contains its evaluation. With the cache, epoch 1 begins once all features are computed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path

_PROBE = [
    "model=timesformer_divst", "model.num_frames=8", "model.img_size=64", "model.patch_size=16", "model.width=192",
    "model.depth=6", "model.heads=4", "model.probe=attentive", "model.probe_depth=2", "model.probe_heads=4",
    "model.freeze=[encoder]", "pipeline.train=${pipeline.val}", "log=text", "log.plots=false", "log.interval=1",
]  # fmt: skip


def epoch_seconds(folder: Path) -> list[float]:
    """Return the seconds of each epoch: of its steps and its evaluation."""
    seconds: dict[int, float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        seconds[row["epoch"]] = seconds.get(row["epoch"], 0.0) + row.get("time/step", 0.0) + row.get("time/eval", 0.0)
    return list(seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="overrides of the runs")
    arguments = parser.parse_args()
    import vexp
    import vexp.train

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["VEXP_CACHE"] = str(Path(temporary) / "cache")
        for cached in ("false", "true"):
            folder = Path(temporary) / cached
            own = [f"epochs={arguments.epochs}", f"data.cache_features={cached}", "log.reset_flag=true"]
            vexp.train.run(vexp.compose([*_PROBE, *own, *arguments.overrides]), folder)
            computed = re.findall(r"computed in ([\d.]+) s", (folder / "log.txt").read_text())
            filled = f"features in {sum(map(float, computed)):.1f} s, " if computed else ""
            epochs = ", ".join(f"{seconds:.1f} s" for seconds in epoch_seconds(folder))
            print(f"data.cache_features={cached}: {filled}epochs in {epochs}")


if __name__ == "__main__":
    main()
