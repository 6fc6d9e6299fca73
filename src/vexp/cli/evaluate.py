"""``vexp evaluate run=RUN [split=val|test] [checkpoint=best|last|FILE] [out=FOLDER] [overrides]``.

Measures a checkpoint of a run (``run=`` may also be the checkpoint file itself) exactly as its training did, and
writes predictions.csv, per_class.csv, confusion.png and report.json. Further words override the run's own config,
which the checkpoint carries: ``data.num_workers=8``, ``eval.view_reduction=mean_logit`` ...

``vexp evaluate rescore=RUN_OR_FILE [split=] [out=FOLDER] [resamples=1000] [eval.view_reduction=...]``

Scores view_logits.npz (``eval.save_view_logits=true`` writes it) again, without net, data or GPU: another way to
reduce the views, other metrics, and 95 % bootstrap intervals over the videos.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vexp.config.compose import SavedConfig, compose
from vexp.config.errors import near
from vexp.config.instantiate import to_dict
from vexp.config.overrides import parse_command_options, run_command
from vexp.config.preflight import working_directory_hint
from vexp.core.errors import ConfigError, MissingInputError, UserError
from vexp.data.sources.splits import SPLITS
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

_OPTIONS = {"run": None, "rescore": None, "split": "val", "checkpoint": None, "out": None, "resamples": "1000"}


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    options, words = parse_command_options(sys.argv[1:], _OPTIONS)
    split = options["split"] or "val"
    if split not in SPLITS:
        raise ConfigError(f"split={split}: must be one of {', '.join(SPLITS)} (command line){near(split, SPLITS)}")
    out = Path(options["out"]).expanduser().absolute() if options["out"] else None
    if options["rescore"] is not None:
        _rescore(Path(options["rescore"]).expanduser().absolute(), split, out, str(options["resamples"]), words)
        return
    if options["run"] is None:
        raise ConfigError("run: name a run folder or a checkpoint, vexp evaluate run=RUN")
    path = find_checkpoint(Path(options["run"]).expanduser().absolute(), options["checkpoint"])
    _evaluate(path, split, out or report_folder(path, split), words)


def _evaluate(path: Path, split: str, folder: Path, words: list[str]) -> None:
    set_passive_omp_wait()
    from vexp.inference.evaluate import evaluate_checkpoint

    config, state = open_checkpoint(path, words)
    console = _console()
    try:
        done = evaluate_checkpoint(config, path, state, split=split, folder=folder)
    except MissingInputError as error:
        raise UserError("\n".join([str(error), *working_directory_hint(run_folder(path))])) from None
    if done.split != split:
        console.print(f"split={split}: data.{split} is not set, so these are the videos of {done.split}")
    if split == "test" and done.pipeline != split:
        console.print(f"split={split}: pipeline.{split} is not set, so these are the steps of {done.pipeline}")
    table = Table("metric", "value", title=f"{path.name}, {done.videos} of {done.split}, {done.views}")
    for name, value in done.results.items():
        table.add_row(name, f"{value:.6g}")
    console.print(table)
    console.print(f"report.json and its tables in {done.folder}")


def _rescore(named: Path, split: str, out: Path | None, resamples: str, words: list[str]) -> None:
    from vexp.evaluation.rescore import CONFIDENCE, rescore_into
    from vexp.evaluation.view_logits import FILE_NAME, load_view_logits

    if not resamples.isdecimal() or int(resamples) < 1:
        raise ConfigError(f"resamples={resamples}: must be a number >= 1 (command line)")
    strangers = [word for word in words if not word.lstrip("+").startswith(("eval.", "eval="))]
    if strangers:
        raise ConfigError(f"{strangers[0]}: rescore only takes words of the eval group (command line)")
    path = report_folder(named / "checkpoints" / "_", split) / FILE_NAME if named.is_dir() else named
    saved = load_view_logits(path)
    values = to_dict(compose(), types=True) | {"eval": saved.options}
    config = compose(words, saved=SavedConfig(values, path))
    folder = out or path.parent / "rescored"
    results, intervals = rescore_into(folder, saved, config.eval, source=path, resamples=int(resamples))

    table = Table(
        "metric", "value", f"{CONFIDENCE:.0%} interval",
        title=f"{len(saved.ids)} videos, {saved.protocol['views']}, {config.eval.view_reduction}",
    )  # fmt: skip
    for name, value in results.items():
        between = f"{intervals[name].low:.4f} .. {intervals[name].high:.4f}" if name in intervals else ""
        table.add_row(name, f"{value:.6g}", between)
    console = _console()
    console.print(table)
    console.print(f"intervals: percentiles of {resamples} bootstrap resamples of the videos, seed 0")
    console.print(f"report.json and its tables in {folder}")


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def report_folder(path: Path, split: str) -> Path:
    """``eval`` of the run folder that holds the checkpoint; ``eval/test`` for another split than val."""
    run = run_folder(path)
    return run / "eval" if split == "val" else run / "eval" / split


if __name__ == "__main__":
    main()
