"""``python -m vexp.evaluate run=RUN [split=val|test] [checkpoint=best|last|FILE] [out=FOLDER] [overrides]``.

Measures a checkpoint of a run (``run=`` may also be the checkpoint file itself) exactly as its training did, and
writes predictions.csv, per_class.csv, confusion.png and report.json. Further words override the run's own config,
which the checkpoint carries: ``data.num_workers=8``, ``eval.view_reduction=mean_logit`` ...
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vexp.config.command_line import report_faults, take_options
from vexp.config.messages import ConfigError, near
from vexp.config.trained import checkpoint_of, open_checkpoint, run_folder
from vexp.data.options import SPLITS
from vexp.engine.threads import let_waiting_threads_sleep


def main() -> None:
    """The command line."""
    report_faults(_main)


def _main() -> None:
    options, words = take_options(sys.argv[1:], {"run": None, "split": "val", "checkpoint": None, "out": None})
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    split = options["split"] or "val"
    if options["run"] is None:
        raise ConfigError("run: name a run folder or a checkpoint, python -m vexp.evaluate run=RUN")
    if split not in SPLITS:
        raise ConfigError(f"split={split}: must be one of {', '.join(SPLITS)} (command line){near(split, SPLITS)}")
    path = checkpoint_of(Path(options["run"]).expanduser().absolute(), options["checkpoint"])

    let_waiting_threads_sleep()
    from vexp.engine.evaluation import evaluate_checkpoint

    config, state = open_checkpoint(path, words)
    folder = Path(options["out"]).expanduser().absolute() if options["out"] else report_folder(path, split)
    done = evaluate_checkpoint(config, path, state, split=split, folder=folder)

    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    if done.split != split:
        console.print(f"split={split}: data.{split} is not set, so these are the videos of {done.split}")
    if split == "test" and done.pipeline != split:
        console.print(f"split={split}: pipeline.{split} is not set, so these are the steps of {done.pipeline}")
    table = Table("metric", "value", title=f"{path.name}, {done.videos} videos of {done.split}, {done.views}")
    for name, value in done.results.items():
        table.add_row(name, f"{value:.6g}")
    console.print(table)
    console.print(f"predictions.csv, per_class.csv, confusion.png, report.json in {done.folder}")


def report_folder(path: Path, split: str) -> Path:
    """``eval`` of the run folder that holds the checkpoint; ``eval/test`` for another split than val."""
    run = run_folder(path)
    return run / "eval" if split == "val" else run / "eval" / split


if __name__ == "__main__":
    main()
