"""Convert a config of a recognition model of mmaction2 0.x or 1.x to an experiment.

The config and the files that it is based on are read, and never executed. FOLDER/experiment/NAME.yaml is written, and
NAME.md beside it, which lists for every value of the source whether it was carried over, is equal to the default or is
not supported (and what to do), and the pitfalls that the source contains. Afterwards:

  vexp plan --config-dir FOLDER experiment=NAME
  vexp train --config-dir FOLDER experiment=NAME

Usage: vexp import CONFIG.py [out=FOLDER] [name=NAME] [model=OPTION]

Examples:
  vexp import tsm_r50.py
  vexp import tsm_r50.py out=my_conf name=mine
  vexp import custom.py model=tsn_r50
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.config.compose import compose
from vexp.config.defaults import defaults_of
from vexp.config.errors import near
from vexp.config.overrides import config_search_dirs, group_options
from vexp.core import files
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.tools.mmaction2.config_file import Source, read_config
from vexp.tools.mmaction2.convert import convert
from vexp.tools.mmaction2.report import Report, experiment_yaml, model_differences
from vexp.tools.mmaction2.result import CHOOSE, FILL_IN, ConversionResult


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    out: str = option("my_conf", "Folder with config groups of your own.")
    name: str | None = option(None, "Name of the experiment; null: that of the config.")
    model: str | None = option(None, "Model to use if vexp does not have the model of the source (see vexp models).")


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options = arguments.options
    if len(arguments.rest) != 1:
        raise ConfigError("name one config: vexp import CONFIG.py [out=FOLDER] [name=NAME]")
    path, out = Path(arguments.rest[0]).expanduser(), Path(options.out).expanduser()
    models = group_options("model", config_search_dirs((), arguments.config_dirs))
    if options.model is not None and options.model not in models:
        hint = near(options.model, models)
        raise ConfigError("no such model", key="model", value=options.model, origin=ORIGIN, hint=hint)
    name = options.name or re.sub(r"[^\w.-]", "_", path.stem)
    source = read_config(path)
    result = imported(source, options.model, arguments.config_dirs)
    command = " ".join([f"vexp train --config-dir {out} experiment={name}", *(f"{key}=..." for key in result.needed)])
    report = Report.of(result, source)
    folder = out / "experiment"
    files.ensure_writable_dir(folder, "set out=FOLDER")
    files.write_text(folder / f"{name}.yaml", experiment_yaml(result, source))
    files.write_text(folder / f"{name}.md", report.markdown(path.name, command))
    print(f"{path.name}: " + "\n".join(report.console()))
    print(f"\nwritten: {folder / name}.yaml; {name}.md lists the outcome of all {len(report.lines)} values")
    print(f"{command.replace('vexp train', 'vexp plan', 1)}\n{command}")
    return 0


def imported(source: Source, model: str | None = None, config_dirs: Sequence[Path] = ()) -> ConversionResult:
    """Convert a config to an experiment that composes; a value that vexp refuses becomes a placeholder.

    Raises:
        UserError: If the config has no recognition model, no experiment that composes can be made of it, or vexp cannot
            build its model as written and no ``model`` was chosen instead.
    """
    result = convert(source, defaults_of, model)
    result.drop_defaults()
    while (error := _refusal(result, source, config_dirs)) is not None:
        message = str(error).splitlines()[0]
        # The converted key that the error is about: the key itself, or the first one below it.
        key = next((key for key in result.values if f"{key}.".startswith(f"{error.key}.")), error.key)
        given = result.values.get(key)
        if not result.revoke(key, message.partition(" (")[0]):
            raise UserError(f"{source.path}: the converted experiment does not compose: {message}")
        if given is not None and given.node is not None and not key.startswith("model."):
            result.need(key, given.node, message.partition(" (")[0])
    differences = model_differences(result)
    if differences and model is None:
        nearest = result.choices["model"]
        raise UserError(
            f"{source.path}: refused: vexp cannot build the model as it is written here:\n"
            + "".join(f"  {what}\n" for what in differences)
            + f"the nearest model is {nearest}; to take it all the same: vexp import {source.path} model={nearest}"
        )
    result.replaced_model = differences
    return result


def _refusal(result: ConversionResult, source: Source, config_dirs: Sequence[Path]) -> ConfigError | None:
    """Compose the experiment without its placeholders and return the first error about another key, if there is one."""
    values = {key: given for key, given in result.values.items() if given.value != FILL_IN}
    choices = {group: option for group, option in result.choices.items() if option != CHOOSE}
    known = dataclasses.replace(result, values=values, choices=choices)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment" / "imported.yaml"
        path.parent.mkdir()
        path.write_text(experiment_yaml(known, source), encoding="utf-8")
        overrides = ["experiment=imported", *(f"{key}=given" for key in result.needed if key.endswith(".ann_file"))]
        try:
            compose(overrides, config_dirs=[folder, *config_dirs])
        except ConfigError as error:
            return next((each for each in error.errors if each.key not in result.needed), None)
    return None
