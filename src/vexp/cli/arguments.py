"""The arguments of a command: declared once, as a dataclass, for parsing, error messages and ``--help``."""

from __future__ import annotations

import argparse
import dataclasses
import re
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from vexp.core.errors import ConfigError, did_you_mean, format_value
from vexp.core.fields import ValidatedConfig
from vexp.runtime.threads import set_passive_omp_wait

if TYPE_CHECKING:
    from vexp.config.schema import Config

ORIGIN = "command line"
_KINDS: Mapping[Any, str] = {int: "a whole number", float: "a number"}
_WIDTH = 120  # characters of a line of --help
_OVERRIDES = "\n\nOverrides are those of vexp train; vexp train --help lists all config groups."

OptionsT = TypeVar("OptionsT", bound=ValidatedConfig)


@dataclass(frozen=True, slots=True)
class Arguments(Generic[OptionsT]):
    """The parsed command line."""

    options: OptionsT  # the command's own options
    rest: list[str]  # all other arguments: overrides of the config, names, folders
    config_dirs: list[Path]  # folders of ``--config-dir``

    def compose_run(self, overrides: Sequence[str] | None = None) -> Config:
        """Compose the config of a run and check its files; ``overrides`` are the other arguments unless given.

        Call it before torch is imported, so that an error takes no time and the threads of OpenMP wait passively.
        """
        from vexp.config.compose import compose  # imports Hydra

        config = compose(self.rest if overrides is None else overrides, config_dirs=self.config_dirs)
        config.data.check_files()
        set_passive_omp_wait()
        return config


@dataclass(frozen=True, slots=True)
class CommandLine(Generic[OptionsT]):
    """What a command accepts."""

    doc: str | None  # the docstring of its module: with the list of its options the text of --help
    options: type[OptionsT]  # dataclass of its own options: ``name=value``; a bool is also the flag ``--name``
    composes: bool = True  # whether it composes a config, and so accepts overrides and ``--config-dir``

    @property
    def usage(self) -> list[str]:
        """The ways to call the command, as ``vexp NAME ...``."""
        paragraph = re.search(r"^Usage:(.*?)(\n\n|\Z)", self.doc or "", re.DOTALL | re.MULTILINE)
        return [line.strip() for line in paragraph[1].splitlines()] if paragraph else []

    def parse(self, argv: Sequence[str]) -> Arguments[OptionsT]:
        """Split the options of the command from its other arguments.

        Raises:
            ConfigError: If an option is missing or invalid, or a flag does not exist.
        """
        fields = {field.name: field for field in dataclasses.fields(self.options)}
        hints = get_type_hints(self.options)
        flags = {f"--{name}": name for name in fields if hints[name] is bool}
        values: dict[str, Any] = {}
        rest: list[str] = []
        config_dirs: list[Path] = []
        if self.composes:
            from vexp.config.overrides import take_config_dirs  # imports Hydra

            config_dirs, argv = take_config_dirs(argv)
        for argument in argv:
            key, equals, text = argument.partition("=")
            if argument in flags:
                values[flags[argument]] = True
            elif argument.startswith("-"):
                known = [*flags, *(["--config-dir"] if self.composes else [])]
                hint = did_you_mean(argument, known) or (f"; the flags are {', '.join(known)}" if known else "")
                raise ConfigError("no such flag", key=argument, origin=ORIGIN, hint=hint)
            elif equals and key in fields and hints[key] is not bool:
                values[key] = _convert(key, text, hints[key], fields[key])
            elif text in ("true", "false") and f"--{key}" in flags:
                values[key] = text == "true"
            else:
                rest.append(argument)
        for name in fields:
            if _is_required(fields[name]) and name not in values:
                usage = "\n  ".join(f"usage: {line}" for line in self.usage)
                doc = str(fields[name].metadata["doc"]).rstrip(".")
                raise ConfigError(f"must be given: {doc[:1].lower()}{doc[1:]}\n  {usage}", key=name)
        try:
            return Arguments(self.options(**values), rest, config_dirs)
        except ConfigError as error:
            error.origin = error.origin or ORIGIN
            error.hint = error.hint or did_you_mean(str(error.value), fields[error.key].metadata["choices"] or ())
            raise

    def help(self) -> str:
        """The text of ``--help``."""
        hints = get_type_hints(self.options)
        rows = [_help_row(field, hints[field.name]) for field in dataclasses.fields(self.options)]
        if self.composes:
            rows.append(("--config-dir FOLDER", "Folder with your own config groups; may be repeated."))
        end = _OVERRIDES if any("overrides" in line for line in self.usage) else ""
        return help_text(self.doc or "", rows) + end


def help_text(doc: str, options: Sequence[tuple[str, str]]) -> str:
    """Return the text of ``--help``: the docstring, its usage first, and the (name, help) of the options."""
    paragraphs = doc.replace("``", "").strip().split("\n\n")
    lines = ["\n\n".join(sorted(paragraphs, key=lambda text: not text.startswith("Usage:")))]
    width = min(26, max((len(name) for name, _ in options), default=0))
    for number, (name, text) in enumerate(options):
        lines += [] if number else ["", "Options:"]
        lines += textwrap.wrap(f"  {name:{width}}  {text}", _WIDTH, subsequent_indent=" " * (width + 4))
    return "\n".join(lines)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _one_of(choices: Iterable[Any] | None) -> str:
    return f" One of {', '.join(map(str, choices))}." if choices else ""


def _help_row(field: dataclasses.Field[Any], hint: Any) -> tuple[str, str]:
    unit, choices = field.metadata["unit"], field.metadata["choices"]
    text = (
        field.metadata["doc"] + (f" [{unit}]" if unit else "") + (f" One of {', '.join(choices)}." if choices else "")
    )
    if hint is bool:
        return f"--{field.name}", text
    if _is_required(field):
        return f"{field.name}=...", f"{text} Required."
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return f"{field.name}={format_value(default)}", text


def _convert(key: str, text: str, hint: Any, field: dataclasses.Field[Any]) -> Any:
    """Convert the text of an option to its type; ``null`` is the default of an option that cannot be null."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if text == "null" and not _is_required(field):
        return None if type(None) in kinds else field.default
    kind = next(kind for kind in kinds if kind is not type(None))
    if not text.strip() and kind in (str, Path):
        raise ConfigError("must not be empty", key=key, value=text, origin=ORIGIN)
    if get_origin(kind) is list:
        items = [item.strip() for item in text.removeprefix("[").removesuffix("]").split(",")]
        if any(set("[]{}") & set(item) for item in items):
            raise ConfigError("must be a list, as in [a,b]", key=key, value=text, origin=ORIGIN)
        return [item for item in items if item]
    if kind is Path:
        return Path(text).expanduser().absolute()
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"must be {_KINDS[kind]}", key=key, value=text, origin=ORIGIN) from None


class FlagParser(argparse.ArgumentParser):
    """For a command with flags instead of ``name=value``: errors and help have the form of every command."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def format_help(self) -> str:
        actions = [action for action in self._actions if action.help and action.dest != "help"]
        return help_text(str(self.description), [_flag_row(action) for action in actions]) + "\n"

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help describes the arguments")


def path_argument(text: str) -> Path:
    """Convert an argument of a ``FlagParser``; the empty word, which would be the working folder, is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the conversion of an argument of a ``FlagParser`` to a number with these bounds."""

    def whole_number(text: str) -> int:
        number = int(text)
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be at least {least}" + (f", at most {most}" if most else ""))
        return number

    return whole_number


def _flag_row(action: argparse.Action) -> tuple[str, str]:
    """Return the name with the default, if there is one, and the help with the choices."""
    name = action.option_strings[-1] if action.option_strings else str(action.metavar)
    if action.option_strings and action.nargs != 0:
        name += f" {action.metavar or action.dest.upper() if action.default in (None, []) else action.default}"
    return name, str(action.help) + _one_of(action.choices)
