"""The arguments of a command: declared once, as a dataclass, for parsing, error messages and ``--help``."""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from vexp.core.errors import ConfigError, format_value
from vexp.core.fields import ValidatedConfig

_ORIGIN = "command line"
_KINDS: Mapping[Any, str] = {int: "a whole number", float: "a number"}

OptionsT = TypeVar("OptionsT", bound=ValidatedConfig)


@dataclass(kw_only=True, slots=True)
class NoOptions(ValidatedConfig):
    """For a command that has no options of its own."""


@dataclass(frozen=True, slots=True)
class Arguments(Generic[OptionsT]):
    """The parsed command line.

    Attributes:
        options: The command's own options.
        rest: All other arguments: overrides of the config, names, folders.
        config_dirs: Folders of ``--config-dir``.
    """

    options: OptionsT
    rest: list[str]
    config_dirs: list[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine(Generic[OptionsT]):
    """What a command accepts.

    Attributes:
        usage: The arguments in one line, or several for several ways to call the command.
        options: Dataclass of the command's own options: ``name=value``; a bool is the flag ``--name``.
        examples: Commands without the leading ``vexp``.
        composes: Whether the command composes a config, and so accepts overrides and ``--config-dir``.
    """

    usage: Sequence[str]
    options: type[OptionsT]
    examples: Sequence[str] = ()
    composes: bool = True

    def parse(self, argv: Sequence[str]) -> Arguments[OptionsT]:
        """Split the options of the command from its other arguments.

        Raises:
            ConfigError: If an option is missing or invalid, or a flag does not exist.
        """
        fields = {field.name: field for field in dataclasses.fields(self.options)}
        hints = get_type_hints(self.options)
        values: dict[str, Any] = {}
        rest: list[str] = []
        config_dirs: list[Path] = []
        if self.composes:
            from vexp.config.overrides import take_config_dirs  # imports Hydra

            config_dirs, argv = take_config_dirs(argv)
        for argument in argv:
            key, equals, text = argument.partition("=")
            if argument.startswith("-"):
                values[self._flag(argument, hints)] = True
            elif equals and key in fields and hints[key] is not bool:
                values[key] = _convert(key, text, hints[key], fields[key])
            else:
                rest.append(argument)
        self._check_required(fields.values(), values)
        try:
            return Arguments(self.options(**values), rest, config_dirs)
        except ConfigError as error:
            error.origin = error.origin or _ORIGIN
            error.hint = error.hint or _near(str(error.value), fields[error.key].metadata["choices"])
            raise

    def _flag(self, argument: str, hints: Mapping[str, Any]) -> str:
        flags = {f"--{name}": name for name, hint in hints.items() if hint is bool}
        if argument not in flags:
            known = [*flags, *(["--config-dir"] if self.composes else [])]
            hint = f"; the flags are {', '.join(known)}" if known else ""
            raise ConfigError("no such flag", key=argument, origin=_ORIGIN, hint=_near(argument, known) or hint)
        return flags[argument]

    def _check_required(self, fields: Any, values: Mapping[str, Any]) -> None:
        for field in fields:
            if _is_required(field) and field.name not in values:
                usage = "\n  ".join(f"usage: vexp {line}" for line in self.usage)
                doc = str(field.metadata["doc"]).rstrip(".")
                raise ConfigError(f"must be given: {doc[:1].lower()}{doc[1:]}\n  {usage}", key=field.name)

    def help(self, description: str) -> str:
        """The text of ``--help``."""
        lines = [f"{'usage:' if n == 0 else '      '} vexp {line}" for n, line in enumerate(self.usage)]
        lines += ["", description.strip().replace("``", "")]
        if self.examples:
            lines += ["", "examples:", *(f"  vexp {example}" for example in self.examples)]
        rows = [
            _help_row(field, get_type_hints(self.options)[field.name]) for field in dataclasses.fields(self.options)
        ]
        if self.composes:
            rows.append(("--config-dir FOLDER", "Folder with config groups of your own; may be repeated."))
        if rows:
            width = min(28, max(len(name) for name, _ in rows))
            lines += ["", "options:", *(f"  {name:{width}}  {text}" for name, text in rows)]
        if any("overrides" in line for line in self.usage):
            lines += ["", "Overrides are those of vexp train; vexp train --help lists all config groups."]
        return "\n".join(lines)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _help_row(field: dataclasses.Field[Any], hint: Any) -> tuple[str, str]:
    choices = field.metadata["choices"]
    unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
    text = str(field.metadata["doc"]) + unit + (f" One of {', '.join(choices)}." if choices else "")
    if hint is bool:
        return f"--{field.name}", text
    if _is_required(field):
        return f"{field.name}=...", f"{text} Required."
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    return f"{field.name}={format_value(default)}", text


def _convert(key: str, text: str, hint: Any, field: dataclasses.Field[Any]) -> Any:
    """Convert the text of an option to its type; ``null`` is the default of an option that cannot be null."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if text == "null" and not _is_required(field):
        return None if type(None) in kinds else field.default
    kind = next(kind for kind in kinds if kind is not type(None))
    if get_origin(kind) is list:
        items = [item.strip() for item in text.removeprefix("[").removesuffix("]").split(",")]
        if any(set("[]{}") & set(item) for item in items):
            raise ConfigError("must be a list, as in [a,b]", key=key, value=text, origin=_ORIGIN)
        return [item for item in items if item]
    if kind is Path:
        return Path(text).expanduser().absolute()
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"must be {_KINDS[kind]}", key=key, value=text, origin=_ORIGIN) from None


def _near(word: str, names: Sequence[str]) -> str:
    from vexp.config.errors import near  # imports Hydra, and only an error needs it

    return near(word, names) if names else ""


class FlagParser(argparse.ArgumentParser):
    """For a command with flags instead of ``name=value``: errors are those of every command, help has the defaults."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": _HelpFormatter, "allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help describes the arguments")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the lines of the description, and append every default that is set."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.default not in (None, False, [], argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if has_default else action.help
