"""Evaluate a checkpoint as its training did, or rescore saved logits.

predictions.csv, per_class.csv, confusion.png and report.json are written into the folder of ``out=``. Overrides change
the config that the checkpoint carries: ``data.num_workers=8``, ``eval.view_reduction=mean_logit``.

``rescore=`` reads view_logits.npz, which ``eval.save_view_logits=true`` writes, and needs no model, data or GPU: for
another reduction of the views, other metrics, and 95 % bootstrap intervals over the videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vexp.cli.arguments import Arguments, CommandLine
from vexp.config.compose import compose
from vexp.config.saved import saved_config
from vexp.config.instantiate import to_dict
from vexp.config.preflight import working_directory_hint
from vexp.core.errors import ConfigError, MissingInputError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.data.sources.splits import SPLITS
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait


@dataclass(kw_only=True, slots=True)
class EvaluateOptions(ValidatedConfig):
    run: Path | None = option(None, "A run folder or a checkpoint.")
    rescore: Path | None = option(None, "A run folder or a view_logits.npz whose logits are scored again.")
    split: str = option("val", "Split to evaluate.", choices=SPLITS)
    checkpoint: str | None = option(None, "best, last or a file; null: the best, else the last.")
    out: Path | None = option(None, "Folder of the reports; null: eval/ of the run folder.")
    resamples: int = option(1000, "rescore: number of bootstrap resamples.", ge=1)


COMMAND = CommandLine(
    usage=[
        "evaluate run=RUN [split=val|test] [checkpoint=best|last|FILE] [out=FOLDER] [overrides]",
        "evaluate rescore=RUN_OR_FILE [split=val|test] [out=FOLDER] [resamples=1000] [eval overrides]",
    ],
    options=EvaluateOptions,
    examples=[
        "evaluate run=RUN",
        "evaluate run=RUN split=test checkpoint=last",
        "evaluate rescore=RUN eval.view_reduction=mean_logit",
    ],
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    if arguments.options.rescore is not None:
        _rescore(arguments.options.rescore, arguments)
    elif arguments.options.run is not None:
        _evaluate(arguments.options.run, arguments)
    else:
        raise ConfigError("must be given: a run folder or a checkpoint\n  usage: vexp evaluate run=RUN", key="run")
    return 0


def _evaluate(run: Path, arguments: Arguments[EvaluateOptions]) -> None:
    options = arguments.options
    split = options.split
    path = find_checkpoint(run, options.checkpoint)
    folder = options.out or report_folder(path, split)
    set_passive_omp_wait()
    from vexp.inference.evaluate import evaluate_checkpoint

    config, state = open_checkpoint(path, arguments.rest, arguments.config_dirs)
    console = _console()
    try:
        result = evaluate_checkpoint(config, path, state, split=split, folder=folder)
    except MissingInputError as error:
        raise UserError("\n".join([str(error), *working_directory_hint(run_folder(path))])) from None
    if result.split != split:
        console.print(f"split={split}: data.{split} is not set, so these are the videos of {result.split}")
    if split == "test" and result.pipeline != split:
        console.print(f"split={split}: pipeline.{split} is not set, so these are the steps of {result.pipeline}")
    table = Table("metric", "value", title=f"{path.name}, {result.videos} of {result.split}, {result.views}")
    for name, value in result.results.items():
        table.add_row(name, f"{value:.6g}")
    console.print(table)
    console.print(f"report.json and its tables in {result.folder}")


def _rescore(source: Path, arguments: Arguments[EvaluateOptions]) -> None:
    from vexp.evaluation.rescore import CONFIDENCE, rescore_into
    from vexp.evaluation.view_logits import FILE_NAME, load_view_logits

    options, overrides = arguments.options, arguments.rest
    for override in overrides:
        if not override.lstrip("+").startswith(("eval.", "eval=")):
            raise ConfigError(f"{override}: with rescore= only overrides of the eval group are accepted (command line)")
    path = report_folder(source / "checkpoints" / "_", options.split) / FILE_NAME if source.is_dir() else source
    saved = load_view_logits(path)
    values = to_dict(compose(), types=True) | {"eval": saved.options}
    config = compose(overrides, saved=saved_config(values, path), config_dirs=arguments.config_dirs)
    folder = options.out or path.parent / "rescored"
    results, intervals = rescore_into(folder, saved, config.eval, source=path, resamples=options.resamples)

    table = Table(
        "metric", "value", f"{CONFIDENCE:.0%} interval",
        title=f"{len(saved.ids)} videos, {saved.protocol['views']}, {config.eval.view_reduction}",
    )  # fmt: skip
    for name, value in results.items():
        interval = f"{intervals[name].low:.4f} .. {intervals[name].high:.4f}" if name in intervals else ""
        table.add_row(name, f"{value:.6g}", interval)
    console = _console()
    console.print(table)
    console.print(f"intervals: percentiles of {options.resamples} bootstrap resamples of the videos, seed 0")
    console.print(f"report.json and its tables in {folder}")


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def report_folder(path: Path, split: str) -> Path:
    """Return ``eval`` of the checkpoint's run folder for the split val, ``eval/SPLIT`` for another."""
    run = run_folder(path)
    return run / "eval" if split == "val" else run / "eval" / split
