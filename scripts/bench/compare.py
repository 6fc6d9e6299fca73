"""Measure vexp compare with thousands of runs: the command, the page in headless Chromium, and a refresh of --watch.

python scripts/bench/compare.py                         2,000 runs of 20 epochs: 400 settings of 5 seeds
python scripts/bench/compare.py --runs 500 --keep DIR   keep the run folders and the page in DIR, and reuse the folders
python scripts/bench/compare.py --no-browser            without Chromium and playwright

The run folders contain what training writes, with curves of random numbers; no video is read and nothing is trained.
"First paint" and "first contentful paint" are Chromium's own, from the start of the navigation. An action (sort,
filter) is timed from the event to the end of the second frame after it, when its result is on the screen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

_SEEDS, _EPOCHS, _LINES = 5, 20, 10  # seeds of a setting, epochs of a run, log lines of an epoch
_STEPS = 100  # of an epoch
_OPTIMIZERS, _POLICIES, _RATES = ("sgd", "adamw"), ("step", "cosine", "cosine_restart", "poly"), 50
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def make_runs(folder: Path, count: int) -> None:
    """Write ``count`` run folders: optimizers x learning-rate policies x learning rates, each with five seeds."""
    import yaml

    from vexp import compose
    from vexp.config.instantiate import to_dict

    cells = list(itertools.product(range(_RATES), _OPTIMIZERS, _POLICIES))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    texts = {
        (optimizer, policy): yaml.dump(
            to_dict(compose([f"optimizer={optimizer}", f"lr_policy={policy}"]), types=True),
            Dumper=dumper,
            sort_keys=False,
        )
        for optimizer, policy in itertools.product(_OPTIMIZERS, _POLICIES)
    }
    for number in range(count):
        cell, seed = divmod(number, _SEEDS)
        place, optimizer, policy = cells[cell % len(cells)]
        rate = float(f"{10 ** (-4 + 3 * place / (_RATES - 1)):.4g}")
        text = re.sub(r"^seed: .*$", f"seed: {seed}", texts[optimizer, policy], flags=re.MULTILINE)
        text = re.sub(r"(^optimizer:\n(?:  .*\n)*?  lr: ).*$", rf"\g<1>{rate!r}", text, flags=re.MULTILINE)
        _write_run(folder / f"run_{number:05d}", text, [optimizer, policy, rate, seed], number)


def _write_run(folder: Path, config: str, setting: list[Any], number: int) -> None:
    rng = random.Random(number)
    optimizer, policy, rate, seed = setting
    peak = 0.002 if optimizer == "adamw" else 0.02
    final = 0.86 - 0.18 * abs(math.log10(rate / peak)) + 0.02 * (policy == "cosine") + rng.gauss(0, 0.015)
    final = min(max(final, 0.02), 0.99)
    lines = []
    for epoch in range(1, _EPOCHS + 1):
        reached = final * (1 - 0.9 * math.exp(-4 * epoch / _EPOCHS)) + rng.gauss(0, 0.008)
        for line in range(1, _LINES + 1):
            step = (epoch - 1) * _STEPS + line * _STEPS // _LINES
            loss = 2.1 - 1.9 * reached + rng.gauss(0, 0.08)
            record = {"mode": "train", "step": step, "epoch": epoch, "lr": rate * (1 - step / (_EPOCHS * _STEPS + 1))}
            lines.append(record | {"loss": loss, "top1_acc": reached + rng.gauss(0, 0.02), "time/step": 0.2})
        metrics = {"top1_acc": reached, "top5_acc": (1 + reached) / 2, "mean_class_accuracy": reached * 0.98}
        lines.append({"mode": "val", "step": epoch * _STEPS, "epoch": epoch} | metrics | {"loss": 2.2 - 2 * reached})
    (folder / "eval").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    overrides = [f"optimizer={optimizer}", f"lr_policy={policy}", f"optimizer.lr={rate!r}", f"seed={seed}"]
    (folder / "overrides.yaml").write_text(json.dumps(overrides))
    (folder / "env.json").write_text(json.dumps({"packages": {"vexp": "0.1.0"}}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    report = {"metrics": {}, "videos": 40, "split": "val", "step": _EPOCHS * _STEPS}
    (folder / "eval" / "report.json").write_text(json.dumps(report))
    best = {"metric": "top1_acc", "score": final, "step": _EPOCHS * _STEPS, "epoch": _EPOCHS}
    result = {"status": "done", "step": _EPOCHS * _STEPS, "best": best, "seconds": 400 + rng.gauss(0, 9)}
    if number % 97:  # the others are still running
        (folder / "result.json").write_text(json.dumps(result))


def measure_command(runs: Path, out: Path) -> dict[str, float]:
    """Return seconds and peak memory of ``vexp compare``, and the size of its page."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "vexp", "compare", runs, f"out={out}"], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB on Linux
    return {"command [s]": seconds, "peak memory [MB]": memory / 1024, "page [MB]": _size(out / "index.html")}


def _size(path: Path) -> float:
    return path.stat().st_size / 1e6


def measure_formats(runs: Path, out: Path) -> dict[str, float]:
    """Return seconds and size of the documents for programs."""
    measured = {}
    for name, argument in (("json", f"json={out / 'comparison.json'}"), ("sql", f"sql={out / 'runs.sqlite'}")):
        start = time.perf_counter()
        command = [sys.executable, "-m", "vexp", "compare", runs, f"out={out / name}", argument]
        subprocess.run(command, check=True, capture_output=True)
        measured[f"command with {name}= [s]"] = time.perf_counter() - start
        measured[f"{name} [MB]"] = _size(Path(argument.partition("=")[2]))
    return measured


def measure_refresh(runs: Path, out: Path) -> dict[str, float]:
    """Return the seconds of one refresh of --watch: the first, one without a change, and one with one new record."""
    from vexp.tools.compare.config import Compare
    from vexp.tools.compare.watch import Watch

    watch, measured = Watch([runs], Compare(), out), {}
    for name in ("first round", "round without a change", "round with a new record"):
        if name.endswith("record"):
            with (runs / "run_00000" / "metrics.jsonl").open("a") as file:
                step = _EPOCHS * _STEPS + 1
                file.write(json.dumps({"mode": "train", "step": step, "epoch": _EPOCHS, "loss": 0.5}) + "\n")
        start = time.perf_counter()
        watch.refresh()
        measured[f"--watch, {name} [s]"] = time.perf_counter() - start
    return measured


_TIMED = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  const start = performance.now();
  ACTION;
  await frame(); await frame();
  return performance.now() - start;
}"""
_SORT = "[...document.querySelectorAll('#runs th button')].find((b) => b.textContent === '{}').click()"
_FILTER = "const box = document.querySelector('#filter'); box.value = '{}'; box.dispatchEvent(new Event('input'))"
_METRIC = "const list = document.querySelector('#metric'); list.value = 1; list.dispatchEvent(new Event('change'))"
_ACTIONS = {
    "sort by a metric": _SORT.format("val/loss"),
    "sort by a key": _SORT.format("optimizer.lr"),
    "sort by folder": _SORT.format("folder"),
    "filter": _FILTER.format("sgd cosine"),
    "clear the filter": _FILTER.format(""),
    "scroll the table": "document.querySelector('#runs .scroll').scrollTop = 20000",
    "select a run": "document.querySelector('#runs tbody input').click()",
    "another metric": _METRIC,
}


def measure_page(page_file: Path, rounds: int = 5) -> dict[str, float]:
    """Return the median milliseconds of loading the page and of actions on it, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    measured: dict[str, list[float]] = {}
    with sync_playwright() as driver:
        path = next(filter(None, map(shutil.which, _BROWSERS)), None)
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(page_file.as_uri())
            page.wait_for_selector("#runs tbody tr td")
            paints = page.evaluate("performance.getEntriesByType('paint').map((e) => [e.name, e.startTime])")
            values = {name.replace("-", " "): start for name, start in paints}
            values["load event"] = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            values |= {name: page.evaluate(_TIMED.replace("ACTION", action)) for name, action in _ACTIONS.items()}
            page.locator("#curves").scroll_into_view_if_needed()
            page.wait_for_selector("#curves canvas")
            for name, value in values.items():
                measured.setdefault(f"{name} [ms]", []).append(value)
            heap = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize : 0") / 1e6
            measured.setdefault("heap of the page [MB]", []).append(heap)
            page.close()
        browser.close()
    return {name: statistics.median(values) for name, values in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="folder of the run folders and of the page (default: temporary)")
    parser.add_argument("--no-browser", action="store_true")
    arguments = parser.parse_args()
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / f"runs_{arguments.runs}", Path(place) / "comparison"
        if not folder.exists():
            make_runs(folder, arguments.runs)
        measured = measure_command(folder, out) | measure_formats(folder, out) | measure_refresh(folder, out)
        if not arguments.no_browser:
            measured |= measure_page(out / "index.html")
    print(f"{arguments.runs} runs, {os.cpu_count()} cores")
    for name, value in measured.items():
        print(f"{name:40} {value:10.2f}")


if __name__ == "__main__":
    main()
