"""Evaluate a checkpoint as its training did, or rescore saved logits.

predictions.csv, per_class.csv, confusion.png and report.json are written into the folder of ``out=``. Overrides change
the config that the checkpoint carries: ``data.num_workers=8``, ``eval.view_reduction=mean_logit``.

``rescore=`` reads view_logits.npz, which ``eval.save_view_logits=true`` writes, and needs no model, data or GPU: for
another reduction of the views, other metrics, and 95 % bootstrap intervals over the videos.

Usage: vexp evaluate run=RUN [split=val|test] [checkpoint=best|last|FILE] [out=FOLDER] [overrides]
       vexp evaluate rescore=RUN_OR_FILE [split=val|test] [out=FOLDER] [resamples=1000] [eval overrides]

Examples:
  vexp evaluate run=RUN
  vexp evaluate run=RUN split=test checkpoint=last
  vexp evaluate rescore=RUN eval.view_reduction=mean_logit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from vexp.cli.arguments import ORIGIN, Arguments, CommandLine
from vexp.cli.trained_model import CHECKPOINT, open_run, plain_console
from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.config.preflight import working_directory_hint
from vexp.config.saved import saved_config
from vexp.core.errors import ConfigError, MissingInputError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.files import check_links
from vexp.data.sources.splits import SPLITS
from vexp.inference.checkpoint import run_folder


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    run: Path | None = option(None, "A run folder or a checkpoint.")
    rescore: Path | None = option(None, "A run folder or a view_logits.npz whose logits are scored again.")
    split: str = option("val", "Split to evaluate.", choices=SPLITS)
    checkpoint: str | None = option(None, CHECKPOINT)
    out: Path | None = option(None, "Folder of the reports; null: eval/ of the run folder.")
    resamples: int = option(1000, "rescore: number of bootstrap resamples.", ge=1, le=1_000_000)


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    run, rescore = arguments.options.run, arguments.options.rescore
    if rescore is not None:
        _rescore(rescore, arguments)
    elif run is not None:
        _evaluate(run, arguments)
    else:
        raise ConfigError("must be given: a run folder or a checkpoint\n  usage: vexp evaluate run=RUN", key="run")
    return 0


def _evaluate(run: Path, arguments: Arguments[_Options]) -> None:
    options = arguments.options
    path, config, state = open_run(run, options.checkpoint, arguments)
    from vexp.inference.evaluate import evaluate_checkpoint

    folder = options.out or _report_folder(run_folder(path), options.split)
    try:
        result = evaluate_checkpoint(config, path, state, split=options.split, folder=folder)
    except MissingInputError as error:
        raise UserError("\n".join([str(error), *working_directory_hint(run_folder(path))])) from None
    console, split = plain_console(), options.split
    if result.split != split:
        console.print(f"split={split}: data.{split} is not set, so these are the videos of {result.split}")
    if split == "test" and result.pipeline != split:
        console.print(f"split={split}: pipeline.{split} is not set, so these are the steps of {result.pipeline}")
    title = path.name, f"{result.videos} of {result.split}", result.views
    table = Table("metric", "value", title=", ".join(filter(None, title)))
    for name, value in result.results.items():
        table.add_row(name, f"{value:.6g}")
    console.print(table)
    console.print(f"report.json and its tables in {result.folder}")


def _rescore(source: Path, arguments: Arguments[_Options]) -> None:
    from vexp.evaluation.rescore import CONFIDENCE, rescore_into
    from vexp.evaluation.view_logits import FILE_NAME, load_view_logits

    options, overrides = arguments.options, arguments.rest
    for override in overrides:
        if not override.lstrip("+").startswith(("eval.", "eval=")):
            raise ConfigError(f"{override}: with rescore= only overrides of the eval group are accepted (command line)")
    path = source
    if source.is_dir():
        path = _report_folder(source, options.split) / FILE_NAME
        for name in (name for name in ("proposals.json", "boxes.csv") if path.with_name(name).exists()):
            rule = f"is for logits of recognition; vexp evaluate run=RUN, or vexp score answers={name}, measures again"
            raise ConfigError(rule, key="rescore", value=source, origin=ORIGIN)
    saved = load_view_logits(path)
    values = to_dict(compose(), types=True) | {"eval": saved.options}
    config = compose(overrides, saved=saved_config(values, path), config_dirs=arguments.config_dirs)
    folder = options.out or path.parent / "rescored"
    results, intervals = rescore_into(folder, saved, config.eval, source=path, resamples=options.resamples)

    title = f"{len(saved.ids)} videos, {saved.protocol['views']}, {config.eval.view_reduction}"
    table = Table("metric", "value", f"{CONFIDENCE:.0%} interval", title=title)
    for name, value in results.items():
        interval = f"{intervals[name].low:.4f} .. {intervals[name].high:.4f}" if name in intervals else ""
        table.add_row(name, f"{value:.6g}", interval)
    console = plain_console()
    console.print(table)
    console.print(f"intervals: percentiles of {options.resamples} bootstrap resamples of the videos, seed 0")
    console.print(f"report.json and its tables in {folder}")


def _report_folder(run: Path, split: str) -> Path:
    """Return ``eval`` of a run folder for the split val, ``eval/SPLIT`` for another.

    Raises:
        UserError: If it is a symbolic link out of the run folder.
    """
    check_links(run, ["eval", f"eval/{split}"])
    return run / "eval" if split == "val" else run / "eval" / split
