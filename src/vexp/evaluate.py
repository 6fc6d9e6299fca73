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
from vexp.config.compose import Saved, compose
from vexp.config.messages import ConfigError, near
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
    from vexp import checkpoint
    from vexp.engine.evaluation import evaluate_checkpoint

    state = checkpoint.load(path)
    if not {"config", "model", "classes"} <= state.keys():
        raise ConfigError(f"{path}: is no checkpoint of a vexp run (it holds {', '.join(list(state)[:5])})")
    config = compose(words, saved=Saved(state["config"], path))
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


def checkpoint_of(run: Path, wanted: str | None) -> Path:
    """The checkpoint file that is meant: a file itself; of a run folder the best, else the last.

    Raises:
        ConfigError: there is none.
    """
    if run.is_file():
        return run
    if not run.is_dir():
        raise ConfigError(f"run={run}: no such run folder or checkpoint")
    if wanted is not None and Path(wanted).expanduser().is_file():
        return Path(wanted).expanduser().absolute()
    folder = run / "checkpoints"
    names = [f"{wanted}.pth", wanted] if wanted is not None else ["best.pth", "last.pth"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = ", ".join(sorted(path.name for path in folder.glob("*.pth"))) or "none"
    raise ConfigError(f"run={run}: has no checkpoint {wanted or 'best.pth or last.pth'}; there: {there}")


def report_folder(path: Path, split: str) -> Path:
    """``eval`` of the run folder that holds the checkpoint; ``eval/test`` for another split than val."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return run / "eval" if split == "val" else run / "eval" / split


if __name__ == "__main__":
    main()
