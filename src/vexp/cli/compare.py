"""``vexp compare RUN_OR_SWEEP ... [metric=val/top1_acc] [out=FOLDER]``: runs side by side.

vexp compare runs/sweeps/which_policy
vexp compare runs/a runs/b metric=val/loss at=last keys=[optimizer]

Takes run folders, and folders that hold them at any depth. Prints what differs in the configs, mean ± std over seeds
and the effect of each key; writes index.html (one page, no server), curves.png, comparison.md, runs.csv, settings.csv.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from vexp.config.errors import near, value_error
from vexp.config.option_types import upgrade_saved
from vexp.config.overrides import help_requested, parse_command_options, run_command
from vexp.config.provenance import Provenance
from vexp.core.errors import ConfigError, UserError
from vexp.core.files import atomic_write, write_text
from vexp.tools.compare.comparison import Comparison, compare
from vexp.tools.compare.conclusion import conclusion
from vexp.tools.compare.config import Compare
from vexp.tools.compare.curves import plot_curves
from vexp.tools.compare.html_page import page
from vexp.tools.compare.runs import find_runs, read_runs
from vexp.tools.compare.tables import (
    console_tables,
    effect_statements,
    explanation,
    markdown,
    runs_csv,
    settings_csv,
    status_counts,
)

FOLDER = "comparison"
_NOTES_SHOWN = 12
_WIDTH = 132  # characters: on a narrower terminal lines wrap, but none is cut


def main() -> None:
    """The command line."""
    run_command(_main)


def _main() -> None:
    if help_requested():
        fields = [(f.name, f.metadata["doc"]) for f in dataclasses.fields(Compare)]
        print(__doc__, *(f"  {name:8} {doc}" for name, doc in fields), sep="\n")
        return
    options, places = _take(sys.argv[1:])
    out = _out(options, places)
    runs, faults = read_runs(find_runs(places), upgrade_saved)
    if not runs:
        raise UserError("\n".join(faults))
    made = compare(runs, options, faults)

    _print(made)
    try:
        for name, text in (
            *(("index.html", page(made, out)), ("comparison.md", markdown(made))),
            *(("runs.csv", runs_csv(made)), ("settings.csv", settings_csv(made))),
        ):
            write_text(out / name, text)
        with atomic_write(out / "curves.png") as temporary:
            plot_curves(temporary, made)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}; set out=FOLDER") from None
    print(f"written: {out / 'index.html'}, and comparison.md, runs.csv, settings.csv, curves.png beside it")


def _print(made: Comparison) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _WIDTH)
    print(f"{status_counts(made)}; {explanation(made)}; * the best\n")
    for table in console_tables(made):
        console.print(table)
        print()
    print("\n".join(effect_statements(made)))
    for note in made.notes[:_NOTES_SHOWN]:
        print(f"note: {note}")
    if len(made.notes) > _NOTES_SHOWN:
        print(f"note: {len(made.notes) - _NOTES_SHOWN} more in comparison.md")
    print("\n".join(conclusion(made)))


def _take(words: Sequence[str]) -> tuple[Compare, list[Path]]:
    """(options, folders): what is no ``option=value`` is a folder, which may well have a "=" in its name."""
    names = [field.name for field in dataclasses.fields(Compare)]
    _, rest = parse_command_options(words, dict.fromkeys(names))
    for word in rest:
        key = word.partition("=")[0]
        if "=" in word and not Path(word).exists() and "/" not in key:
            raise ConfigError(f"{word}: there is no option {key!r} and no such folder{near(key, names)}")
    if not rest:
        raise ConfigError("name run folders or a folder that holds them, vexp compare RUN_OR_SWEEP ...")
    given = [_as_list(word) for word in words if word not in rest]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Compare), OmegaConf.from_dotlist(given))
        options = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise value_error(error, Provenance(overrides=given)) from None
    except ValueError as error:
        raise ConfigError(f"{error} (command line)") from None
    assert isinstance(options, Compare)
    return options, [Path(word).expanduser() for word in rest]


def _as_list(word: str) -> str:
    """``over=seed,data.split_seed`` without brackets, too."""
    key, _, value = word.partition("=")
    return f"{key}=[{value}]" if key in ("over", "keys") and not value.startswith("[") else word


def _out(options: Compare, places: Sequence[Path]) -> Path:
    if options.out is not None:
        return Path(options.out).expanduser().absolute()
    only = places[0] if len(places) == 1 and not (places[0] / "config.yaml").exists() else Path()
    return only.absolute() / FOLDER


if __name__ == "__main__":
    main()
