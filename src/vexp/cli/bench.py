"""Measure how fast a run is on this machine, what limits it, and which override helps.

Data loading alone, the training step alone on batches in memory, and both together are timed; the share of the step
alone that training reaches shows what better data loading could gain. Overrides that might help are tried one by one,
alternating with the run as given.

Usage: vexp bench [overrides] [seconds=120] [json=FILE] [--no-trials]

Examples:
  vexp bench model=r3d_18 pipeline=clip_16x4_112 data=folder data.root=videos
  vexp bench seconds=30 --no-trials
  vexp bench experiment=tsm_k400 data.train.ann_file=train.txt json=bench.json
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import write_text

_SHARE = 0.4  # of the time for the run as given; the rest is for the trials


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    seconds: float = option(120.0, "Approximate time of all measurements together.", unit="seconds", ge=1, le=86_400)
    json: Path | None = option(None, "File for the result as JSON (null: none is written).")
    no_trials: bool = option(False, "Do not try overrides.")


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(["--no_trials" if argument == "--no-trials" else argument for argument in argv])
    options = arguments.options
    config = arguments.compose_run()
    if config.dist.nproc > 1:
        raise ConfigError("one process is measured; leave it out", key="dist.nproc", value=config.dist.nproc)
    from vexp.tools.bench.advice import conclusion, limit_of
    from vexp.tools.bench.measure import Measurement
    from vexp.tools.bench.proxies import with_proxies
    from vexp.tools.bench.trials import Trials

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vexp-") as folder:
        run = Measurement(config)
        if config.data.cache == "proxy":
            _, run, _ = with_proxies(run, Path(folder), options.seconds / 3)
        speeds = run.speeds(options.seconds * _SHARE)
        cost = run.sample_cost(min(options.seconds / 10, 5.0), speeds.step)
        trials = Trials(run, speeds, lambda override: arguments.compose_run([*arguments.rest, override]), Path(folder))
        left = options.seconds - (time.perf_counter() - start)
        tried = [] if options.no_trials else trials.measure(left)
    flops = run.sample_flops()
    result = {
        "device": str(run.exp.device),
        "workers": run.workers,
        "samples_per_second": asdict(speeds),
        "share_of_step_alone": speeds.share,
        "limit": limit_of(speeds, cost),
        "milliseconds_per_sample": asdict(cost),
        "tflops": None if flops is None else flops * speeds.training / 1e12,
        "trials": [asdict(trial) | {"gain": trial.gain} for trial in tried],
        "untried": trials.untried,
        "failed": trials.failed,
        "conclusion": conclusion(speeds, cost, tried, trials.untried),
    }
    print(_text(result))
    if options.json is not None:
        try:
            write_text(options.json, json.dumps(result, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{options.json}: cannot be written: {error.strerror or error}") from None
    return 0


def _text(result: dict[str, Any]) -> str:
    speeds, cost = result["samples_per_second"], result["milliseconds_per_sample"]
    rows = [
        ("data loading alone", f"{speeds['loading']:.4g} samples/s with {result['workers']} workers"),
        ("training step alone", f"{speeds['step']:.4g} samples/s on {result['device']}"),
        ("training", f"{speeds['training']:.4g} samples/s, {result['share_of_step_alone']:.0%} of the step alone"),
        ("time of a sample", ", ".join(f"{name} {value:.3g}" for name, value in cost.items() if value) + " ms"),
    ]
    if result["tflops"] is not None:
        rows.append(("model operations", f"{result['tflops']:.3g} TFLOP/s in training"))
    rows += [(trial["candidate"]["override"], f"{trial['gain']:+.0%} when tried") for trial in result["trials"]]
    rows += [(override, f"cannot be tried: {reason}") for override, reason in result["failed"].items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, "", result["conclusion"]])
