"""Compare runs: the config keys that vary, mean and std over seeds, and the effect of each key.

Run folders, and folders that contain run folders at any depth, are accepted. index.html (one page, no server needed),
curves.png, comparison.md, runs.csv and settings.csv are written into the folder of ``out=``. With --watch, only
index.html is written, again and again until Ctrl-C, and a page that is open shows the newest values. --json and --sql
are for programs; docs/howto/compare.md explains their fields.

Usage: vexp compare RUN_OR_SWEEP ... [metric=val/top1_acc] [at=best|last] [over=seed] [keys=KEY,...] [out=FOLDER]
       vexp compare RUN_OR_SWEEP ... --watch [every=5]
       vexp compare RUN_OR_SWEEP ... [--json | json=FILE] [--sql | sql=FILE]

Examples:
  vexp compare runs/sweeps/which_policy
  vexp compare runs/sweeps/which_policy --watch
  vexp compare runs/a runs/b metric=val/loss at=last keys=optimizer,lr_policy
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import suppress
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
from vexp.tools.compare.export import document, write_sql
from vexp.tools.compare.html_page import page
from vexp.tools.compare.runs import find_runs, read_runs
from vexp.tools.compare.thumbnails import Thumbnails
from vexp.tools.compare.watch import LIVE_FILES, Watch, watch

_MAX_NOTES = 12  # in the terminal
_WIDTH = 132  # characters; on a narrower terminal lines wrap, and none is cut
_STDOUT, _SQL_FILE = "-", "runs.sqlite"
_FLAGS = {"--json": f"json={_STDOUT}", "--sql": f"sql={_SQL_FILE}"}  # without the name of a file

COMMAND = CommandLine(__doc__, Compare, composes=False)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse([_FLAGS.get(argument, argument) for argument in argv])
    folders, options = _folders(arguments.rest), arguments.options
    is_parent = len(folders) == 1 and not (folders[0] / "config.yaml").exists()
    default = (folders[0] if is_parent else Path()) / "comparison"
    out = Path(default if options.out is None else options.out).expanduser().absolute()
    sql = None if options.sql is None else out / _SQL_FILE if "--sql" in argv else Path(options.sql).expanduser()
    if options.watch and options.json == _STDOUT:
        raise ConfigError("--json cannot be combined with --watch; set json=FILE, which is refreshed")
    try:
        if options.watch:
            return _watch(folders, options, out, sql)
        runs, faults = read_runs(find_runs(folders))
        if not runs:
            raise UserError("\n".join(faults))
        comparison = Comparison(runs, options, faults)
        _write_formats(comparison, sql)
        if options.json == _STDOUT:
            return 0
        _print(comparison)
        _write(comparison, out)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}; set out=FOLDER") from None
    print(f"written: {out / 'index.html'}, and comparison.md, runs.csv, settings.csv, curves.png beside it")
    return 0


def _write(comparison: Comparison, out: Path) -> None:
    write_text(out / "index.html", page(comparison, out, videos=Thumbnails().of(comparison)))
    write_text(out / "comparison.md", tables.markdown(comparison))
    write_text(out / "runs.csv", tables.runs_csv(comparison))
    write_text(out / "settings.csv", tables.settings_csv(comparison))
    with atomic_write(out / "curves.png") as temporary:
        plot_curves(temporary, comparison)
    for name in LIVE_FILES:  # of an earlier --watch; a page that is still open stops to wait for another refresh
        with suppress(FileNotFoundError):
            (out / name).unlink()


def _write_formats(comparison: Comparison, sql: Path | None) -> None:
    """Write the documents for programs."""
    place = comparison.options.json
    try:
        if place is not None:
            text = json.dumps(document(comparison), indent=1, allow_nan=False)
            print(text) if place == _STDOUT else write_text(Path(place).expanduser(), text + "\n")
        if sql is not None:
            write_sql(sql, comparison)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _watch(folders: Sequence[Path], options: Compare, out: Path, sql: Path | None) -> int:
    printed = ""

    def message(text: str) -> None:
        nonlocal printed
        if text != printed:
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        printed = text

    def show(comparison: Comparison) -> None:
        _write_formats(comparison, sql)
        message("; ".join([tables.status_counts(comparison), *conclusion(comparison)]))

    print(f"watching; open {out / 'index.html'} in a browser; Ctrl-C ends", flush=True)
    watch(Watch(folders, options, out), show, message)
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
