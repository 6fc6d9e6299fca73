"""Convert a config of a recognition model of mmaction2 0.x or 1.x to an experiment.

The config (in Python, YAML or JSON) and the files that it is based on are read, and never executed.
FOLDER/experiment/NAME.yaml is written, and NAME.md beside it, which lists for every value of the source whether it was
carried over, is equal to the default or is not supported (and what to do). What differs, the values to fill in and the
pitfalls in the source are printed as well. A config whose model vexp cannot build as it is written is refused;
model=OPTION takes another model instead.

The tensors of the weights that the config names are counted if the file is on this machine.

Of a folder, every config in Python is converted, except those in folders named _base_. Afterwards:

  vexp plan --config-dir FOLDER experiment=NAME
  vexp train --config-dir FOLDER experiment=NAME

Usage: vexp import CONFIG.py [out=FOLDER] [name=NAME] [model=OPTION] [--overwrite] [--download]
       vexp import CONFIGS [out=FOLDER] [--overwrite] [--download]

Examples:
  vexp import tsm_r50.py out=my_conf name=mine
  vexp import custom.py model=tsn_r50
  vexp import configs/recognition out=my_conf
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.config.compose import compose
from vexp.config.defaults import defaults_of
from vexp.config.overrides import config_search_dirs, group_options
from vexp.config.schema import Config
from vexp.core import files
from vexp.core.errors import ConfigError, UserError, did_you_mean
from vexp.core.fields import ValidatedConfig, option
from vexp.tools.mmaction2.config_file import Source, read_config
from vexp.tools.mmaction2.convert import convert
from vexp.tools.mmaction2.report import Report, experiment_yaml, model_differences
from vexp.tools.mmaction2.result import CHOOSE, FILL_IN, ConversionResult
from vexp.tools.mmaction2.tree import Node
from vexp.tools.mmaction2.weights import weight_lines


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    out: str = option("my_conf", "Folder with config groups of your own.")
    name: str | None = option(None, "Name of the experiment; null: that of the config.")
    model: str | None = option(None, "Model to use if vexp does not have the model of the source (see vexp models).")
    overwrite: bool = option(False, "Replace experiments of the same name.")
    download: bool = option(False, "Download the weights that the config names, to count the tensors that fit.")


#: Outputs of a classifier for which the config has no usable number.
_USUAL_CLASSES, _MOST_CLASSES = 400, 1_000_000
COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options, path = arguments.options, _source(arguments.rest)
    models = group_options("model", config_search_dirs((), arguments.config_dirs))
    if options.model is not None and options.model not in models:
        hint = did_you_mean(options.model, models)
        raise ConfigError("no such model", key="model", value=options.model, origin=ORIGIN, hint=hint)
    out = Path(options.out).expanduser()
    if path.is_dir():
        return _import_folder(path, out, options, arguments.config_dirs)
    name = _experiment_name(path.stem) if options.name is None else _checked_name(options.name)
    report, command = _import_file(path, out, name, options, arguments.config_dirs)
    print(f"{path.name}: " + "\n".join(report.console()))
    folder = out / "experiment"
    print(f"\nwritten: {folder / name}.yaml; {name}.md lists the outcome of all {len(report.lines)} values")
    print(f"{command.replace('vexp train', 'vexp plan', 1)}\n{command}")
    return 0


def _source(rest: Sequence[str]) -> Path:
    """Return the config or folder that is to be imported."""
    for argument in rest:
        key, equals, _ = argument.partition("=")
        if equals and "/" not in key:
            names = [
                f"--{field.name}" if field.default is False else field.name for field in dataclasses.fields(_Options)
            ]
            raise ConfigError("no such option", key=key, origin=ORIGIN, hint=did_you_mean(key, names))
    if len(rest) != 1 or not rest[0].strip():
        raise ConfigError("name one config: vexp import CONFIG.py [out=FOLDER] [name=NAME]")
    if re.match(r"\w+://", rest[0]):
        raise ConfigError(f"{rest[0]}: an address is not read; download the config and its _base_ files")
    return Path(rest[0]).expanduser()


def _import_file(
    path: Path, out: Path, name: str, options: _Options, config_dirs: Sequence[Path]
) -> tuple[Report, str]:
    """Write the experiment and the report of one config; return the report and the command that trains."""
    written = out / "experiment" / f"{name}.yaml"
    if written.exists() and not options.overwrite:
        raise UserError(f"{written}: exists already; choose another name=NAME, or replace it with --overwrite")
    source = read_config(path)
    result = imported(source, options.model, config_dirs)
    classes = result.config.scalar("model", "cls_head", "num_classes")
    num_classes = classes if isinstance(classes, int) and 0 < classes < _MOST_CLASSES else _USUAL_CLASSES
    if result.experiment is not None:
        result.weights += weight_lines(result.experiment, num_classes, download=options.download)
    report = Report.of(result, source)
    words = ["vexp", "train", "--config-dir", str(out), f"experiment={name}"]
    command = " ".join([*map(shlex.quote, words), *(f"{key}=..." for key in result.needed)])
    files.ensure_writable_dir(written.parent, "set out=FOLDER")
    files.write_text(written, experiment_yaml(result, source))
    files.write_text(written.with_suffix(".md"), report.markdown(path.name, command))
    return report, command


def _import_folder(folder: Path, out: Path, options: _Options, config_dirs: Sequence[Path]) -> int:
    """Import every config below a folder; return 2 if none of them could be imported."""
    if options.name is not None or options.model is not None:
        raise ConfigError("name= and model= are for one config; import that one by itself")
    paths = [path for path in sorted(folder.rglob("*.py")) if path.name != "__init__.py"]
    paths = [path for path in paths if "_base_" not in path.relative_to(folder).parts]
    if not paths:
        raise UserError(f"{folder}: no configs in this folder")
    stems = Counter(path.stem for path in paths)
    counts: Counter[str] = Counter()
    rows = ["| config | result | experiment |", "|---|---|---|"]
    for path in paths:
        shown = str(path.relative_to(folder))
        name = _experiment_name(path.stem if stems[path.stem] == 1 else shown.removesuffix(".py"))
        try:
            text = _import_file(path, out, name, options, config_dirs)[0].headline
            counts["the same" if text.startswith("the same experiment") else "with differences"] += 1
        except UserError as error:
            first, *reasons = (line.strip() for line in str(error).splitlines())
            if reasons:  # what is missing of the model, and the nearest one with the command that takes it
                reasons[-1] = reasons[-1].partition(";")[0]
            text, name = "refused: " + ("; ".join(reasons) or first.replace(" refused:", "")), ""
            counts["refused"] += 1
        print(f"{shown}: {text}")
        rows.append(f"| {shown} | {text.replace('|', '/')} | {name and f'`{name}`'} |")
    summary = f"{len(paths)} configs: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())
    files.ensure_writable_dir(out, "set out=FOLDER")
    files.write_text(out / "imported.md", "\n".join([f"# Experiments from {folder}", "", summary, "", *rows, ""]))
    print(f"\n{summary}\nwritten: the experiments below {out / 'experiment'}, and this table as {out / 'imported.md'}")
    return 2 if counts["refused"] == len(paths) else 0


def _experiment_name(stem: str) -> str:
    """Return the name of the experiment of a config; one that cannot be chosen gets an ending."""
    name = re.sub(r"^\W+", "", re.sub(r"[^\w.-]", "_", stem)) or "config"
    return name if _name_rule(name) is None else f"{name}_imported"


def _checked_name(name: str) -> str:
    if (rule := _name_rule(name)) is not None:
        raise ConfigError(rule, key="name", value=name, origin=ORIGIN)
    return name


def _name_rule(name: str) -> str | None:
    """Return the rule that the name of an experiment breaks; None if it can be chosen with ``experiment=NAME``."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        return "must consist of letters, digits, _, . and -"
    if name in group_options("experiment", config_search_dirs()):
        return "is the name of an experiment of vexp, which would be found first"
    if re.fullmatch(r"(?i)true|false|null|[\d._]+(e\d+)?|inf|nan", name):
        return "must be a name, not a number or a constant"
    return None


def imported(source: Source, model: str | None = None, config_dirs: Sequence[Path] = ()) -> ConversionResult:
    """Convert a config to an experiment that composes; a value that vexp refuses becomes a placeholder.

    Raises:
        UserError: If the config has no recognition model, no experiment that composes can be made of it, or vexp cannot
            build its model as written and no ``model`` was chosen instead.
    """
    result = convert(source, defaults_of, model)
    result.drop_defaults()
    while isinstance(error := _composed(result, source, config_dirs), ConfigError):
        message = str(error).splitlines()[0]
        # The converted key that the error is about: the key itself, or the first one below it.
        key = next((key for key in result.values if f"{key}.".startswith(f"{error.key}.")), error.key)
        given = result.values.get(key)
        reason = message.partition(" (")[0]
        if key.startswith("pipeline.") and given is None and key.rpartition(".")[0].count(".") == 2:
            step = _step_of(result, source, key)
            result.need(key, step, "a value must be given, the transform has none")
            continue
        if not result.revoke(key, reason):
            raise UserError(f"{source.path}: the converted experiment does not compose: {message}")
        if given is not None and given.node is None and key.startswith("model."):
            result.missing.append((source.config.where, f"{reason} ({given.remark})"))
        elif given is not None and not key.startswith("model."):
            result.need(key, given.node, reason)
    differences = model_differences(result)
    if differences and model is None:
        nearest, again = result.choices["model"], shlex.quote(str(source.path))
        raise UserError(
            f"{source.path}: refused: vexp cannot build the model as it is written here:\n"
            + "".join(f"  {what}\n" for what in differences)
            + f"the nearest model is {nearest}; to take it all the same: vexp import {again} model={nearest}"
        )
    result.replaced_model, result.experiment = differences, error
    return result


def _step_of(result: ConversionResult, source: Source, key: str) -> Node | None:
    """Return the place in the source of the transform that a key of a pipeline belongs to."""
    step = key.rpartition(".")[0]
    found = (
        leaf for _, leaf in source.lines() if (outcome := result.outcomes.get(id(leaf))) and step in outcome.targets
    )
    return next(found, None)


def _composed(result: ConversionResult, source: Source, config_dirs: Sequence[Path]) -> Config | ConfigError | None:
    """Compose the experiment without its placeholders; return the first error about another key, if there is one.

    None if there is no other error, but the placeholders are needed.
    """
    values = {key: given for key, given in result.values.items() if given.value != FILL_IN}
    choices = {group: option for group, option in result.choices.items() if option != CHOOSE}
    known = dataclasses.replace(result, values=values, choices=choices)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment" / "imported.yaml"
        path.parent.mkdir()
        path.write_text(experiment_yaml(known, source), encoding="utf-8")
        overrides = ["experiment=imported", *(f"{key}=given" for key in result.needed if key.endswith(".ann_file"))]
        try:
            return compose(overrides, config_dirs=[folder, *config_dirs])
        except ConfigError as error:
            return next((each for each in error.errors if each.key not in result.needed), None)
