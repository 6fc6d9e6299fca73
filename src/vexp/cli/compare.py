"""Compare runs: the config keys that vary, mean and std over seeds, and the effect of each key.

Run folders, and folders that contain run folders at any depth, are accepted. index.html (one page, no server needed),
curves.png, comparison.md, runs.csv and settings.csv are written into the folder of ``out=``.

Usage: vexp compare RUN_OR_SWEEP ... [metric=val/top1_acc] [at=best|last] [over=seed] [keys=KEY,...] [out=FOLDER]

Examples:
  vexp compare runs/sweeps/which_policy
  vexp compare runs/a runs/b metric=val/loss at=last
  vexp compare runs keys=optimizer,lr_policy out=comparison
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError, UserError, did_you_mean
from vexp.core.files import atomic_write, write_text
from vexp.tools.compare import tables
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.conclusion import conclusion
from vexp.tools.compare.config import Compare
from vexp.tools.compare.curves import plot_curves
from vexp.tools.compare.html_page import page
from vexp.tools.compare.runs import find_runs, read_runs

_MAX_NOTES = 12  # in the terminal
_WIDTH = 132  # characters; on a narrower terminal lines wrap, and none is cut

COMMAND = CommandLine(__doc__, Compare, composes=False)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    folders = _folders(arguments.rest)
    options = arguments.options
    is_parent = len(folders) == 1 and not (folders[0] / "config.yaml").exists()
    default = (folders[0] if is_parent else Path()) / "comparison"
    out = Path(default if options.out is None else options.out).expanduser().absolute()
    runs, faults = read_runs(find_runs(folders))
    if not runs:
        raise UserError("\n".join(faults))
    comparison = Comparison(runs, options, faults)

    _print(comparison)
    try:
        write_text(out / "index.html", page(comparison, out))
        write_text(out / "comparison.md", tables.markdown(comparison))
        write_text(out / "runs.csv", tables.runs_csv(comparison))
        write_text(out / "settings.csv", tables.settings_csv(comparison))
        with atomic_write(out / "curves.png") as temporary:
            plot_curves(temporary, comparison)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}; set out=FOLDER") from None
    print(f"written: {out / 'index.html'}, and comparison.md, runs.csv, settings.csv, curves.png beside it")
    return 0


def _print(comparison: Comparison) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _WIDTH)
    print(f"{tables.status_counts(comparison)}; {tables.explanation(comparison)}; * the best\n")
    for table in tables.console_tables(comparison):
        console.print(table)
        print()
    print("\n".join(tables.effect_statements(comparison)))
    for note in comparison.notes[:_MAX_NOTES]:
        print(f"note: {note}")
    if len(comparison.notes) > _MAX_NOTES:
        print(f"note: {len(comparison.notes) - _MAX_NOTES} more in comparison.md")
    print("\n".join(conclusion(comparison)))


def _folders(arguments: Sequence[str]) -> list[Path]:
    """All arguments that are not ``option=value``; a folder may have a "=" in its name."""
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if equals and not Path(argument).exists() and "/" not in key:
            hint = did_you_mean(key, [field.name for field in dataclasses.fields(Compare)])
            raise ConfigError(f"{argument}: there is no option {key!r} and no such folder{hint}")
    if not all(arguments) or not arguments:  # the empty word would be the working folder
        raise ConfigError("name run folders or a folder that contains them: vexp compare RUN_OR_SWEEP ...")
    return [Path(argument).expanduser() for argument in arguments]
