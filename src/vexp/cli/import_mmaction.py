"""``vexp import CONFIG.py [out=FOLDER] [name=NAME] [model=OPTION]``.

Reads a config of a recognition model of mmaction2 0.x or 1.x, with the files that it builds on, and never runs any of
them. Writes FOLDER/experiment/NAME.yaml (FOLDER: my_conf, NAME: the config's own), which does what the config says, and
NAME.md beside it, which says of every value of the source what became of it: carried over, equal to the default,
not supported and what to do, and the traps that the source holds. Then

vexp plan --config-dir FOLDER experiment=NAME
python -m vexp.train --config-dir FOLDER experiment=NAME

``model=``: the net to take where vexp has none of the source's (vexp models lists those that it has).
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from vexp.config.compose import compose
from vexp.config.defaults import defaults_of
from vexp.config.errors import near
from vexp.config.overrides import group_options, parse_command_options, run_command
from vexp.core import files
from vexp.core.errors import ConfigError, UserError
from vexp.tools.mmaction2.config_file import Source, read_config
from vexp.tools.mmaction2.convert import convert
from vexp.tools.mmaction2.report import console, experiment_yaml, markdown
from vexp.tools.mmaction2.rules import ConversionResult


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    argv = sys.argv[1:]
    options, words = parse_command_options(argv, {"out": "my_conf", "name": None, "model": None})
    if len(words) != 1:
        raise ConfigError("name one config: vexp import CONFIG.py [out=FOLDER] [name=NAME]")
    path, out = Path(words[0]).expanduser(), Path(str(options["out"])).expanduser()
    if options["model"] is not None and options["model"] not in group_options("model"):
        known = group_options("model")
        raise ConfigError(f"model={options['model']}: no such net (command line){near(options['model'], known)}")
    name = options["name"] or re.sub(r"[^\w.-]", "_", path.stem)
    source = read_config(path)
    result = imported(source, options["model"])
    command = " ".join([
        "python -m vexp.train", f"--config-dir {out}", f"experiment={name}", *(f"{key}=..." for key in result.needed)
    ])  # fmt: skip
    folder = out / "experiment"
    files.ensure_writable_dir(folder, "set out=FOLDER")
    files.write_text(folder / f"{name}.yaml", experiment_yaml(result, source))
    files.write_text(folder / f"{name}.md", markdown(result, source, command))
    print("\n".join(console(result, source)))
    print(f"\nwritten: {folder / name}.yaml, and this report as {name}.md\n{command}")


def imported(source: Source, model: str | None = None) -> ConversionResult:
    """The experiment of a config, as vexp's own rules let it stand: what they refuse is taken out and reported.

    Raises:
        UserError: the config is not of a recognition model, or nothing that composes can be made of it.
    """
    result = convert(source, defaults_of, model)
    result.drop_defaults()
    while complaint := _complaint(result, source):
        key = re.match(r"[\w.]*", complaint)
        if key is None or not result.revoke(_held(result, key[0]), complaint.partition(" (")[0]):
            raise UserError(f"{source.path}: what was made of it does not compose: {complaint}")
    return result


def _complaint(result: ConversionResult, source: Source) -> str | None:
    """The first thing that vexp refuses in the experiment; None where it composes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment" / "imported.yaml"
        path.parent.mkdir()
        path.write_text(experiment_yaml(result, source), encoding="utf-8")
        try:
            compose(["experiment=imported", *(f"{key}=given" for key in result.needed)], config_dirs=[folder])
        except ConfigError as error:
            return str(error).splitlines()[0]
    return None


def _held(result: ConversionResult, key: str) -> str:
    """The value of the result that a complaint names: its own key, or the first below it."""
    return next((held for held in result.values if held == key or held.startswith(f"{key}.")), key)


if __name__ == "__main__":
    main()
