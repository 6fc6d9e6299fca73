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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.cli.arguments import Arguments, CommandLine
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import write_text

if TYPE_CHECKING:
    from vexp.tools.bench.advice import Candidate, Trial
    from vexp.tools.bench.measure import Measurement

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

    run = Measurement(config)
    speeds = run.speeds(options.seconds * _SHARE)
    cost = run.sample_cost(min(options.seconds / 10, 5.0), speeds.step)
    tried = [] if options.no_trials else _trials(arguments, run, speeds.limit, options.seconds * (1 - _SHARE))
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
        "conclusion": conclusion(speeds, cost, tried),
    }
    print(_text(result))
    if options.json is not None:
        try:
            write_text(options.json, json.dumps(result, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{options.json}: cannot be written: {error.strerror or error}") from None
    return 0


def _trials(arguments: Arguments[_Options], run: Measurement, limit: str, seconds: float) -> list[Trial]:
    """Try the overrides that might raise the speed, and proxies if data loading limits it, for equal times."""
    from vexp.tools.bench.advice import candidates
    from vexp.tools.bench.measure import STEP
    from vexp.tools.bench.proxies import try_proxies

    chosen = candidates(run, limit)
    each = seconds / max(len(chosen) + (limit != STEP), 1)
    tried = [_try(arguments, run, candidate, limit, each / 4) for candidate in chosen]  # four measurements
    if limit != STEP:
        tried.append(try_proxies(run, each))
    return [trial for trial in tried if trial is not None]


def _try(
    arguments: Arguments[_Options], run: Measurement, candidate: Candidate, limit: str, seconds: float
) -> Trial | None:
    """Measure a candidate and the run alternately, twice each; None if the run cannot be done with it."""
    from vexp.tools.bench.advice import Trial
    from vexp.tools.bench.measure import STEP, Measurement

    try:
        other = Measurement(arguments.compose_run([*arguments.rest, candidate.override]))
        rates: list[tuple[float, float]] = []
        for _ in range(2):
            rates.append(
                (run.step(seconds), other.step(seconds))
                if limit == STEP
                else (run.training(seconds), other.training(seconds))
            )
    except UserError:
        return None  # for example, not enough memory, or a batch that is larger than the data set
    before, after = (sum(column) / len(column) for column in zip(*rates, strict=True))
    return Trial(candidate, before, after)


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
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, "", result["conclusion"]])
