"""Overrides of the command line: aliases of keys (lr, nproc), flags, and the errors that end a command."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from vexp.config.errors import not_an_option
from vexp.config.options import OPEN_GROUPS
from vexp.config.provenance import COMMAND_LINE, override_key
from vexp.config.search_path import conf_dir, environment_dirs
from vexp.core.documents import DEPTH_LIMIT
from vexp.core.errors import ConfigError, did_you_mean

#: Aliases of keys, on the command line only; saved overrides and YAML use the key itself.
ALIASES = {"lr": "lr_policy", "nproc": "dist.nproc"}

_OVERRIDE = re.compile(r"^(?P<sign>~|\+{1,2})?(?P<key>[A-Za-z_][\w/]*)(?P<rest>(?:[.=@].*)?)$", re.DOTALL)
#: Keys below an open group. Hydra must accept them even if the YAML of a custom class does not list them;
#: ``instantiate`` checks every key against the class.
_OPEN = re.compile(rf"(({'|'.join(OPEN_GROUPS)})|pipeline\.(train|val|test)\.\w+)\.\w")
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
#: What Hydra reads as a value that is no text, and so no name of an option.
_NO_NAME = re.compile(
    r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[-+]?\d[\d_]*)?|[-+]?(inf|nan)|null|none|true|false|~|", re.IGNORECASE
)
_LONGEST_NAME = 200  # characters of a key or an option, whose file needs a name of at most 255 bytes
_MOST_DIGITS = 4300  # of a whole number; Python reads no longer one
_SEARCH_PATH = "hydra.searchpath"
_FLAGS_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun", "--shell-completion", "-sc",
}  # fmt: skip


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into Hydra's flags with their values, and overrides; Hydra 1.3 wants overrides in one block."""
    flags: list[str] = []
    overrides: list[str] = []
    expects_value = False
    for argument in argv:
        if expects_value or argument.startswith("-"):
            flags.append(argument)
            expects_value = not expects_value and argument in _FLAGS_WITH_VALUE
        elif flags and flags[-1] in ("--info", "-i") and "=" not in argument:
            flags.append(argument)
        else:
            overrides.append(argument)
    return flags, overrides


def check_flags(flags: Sequence[str]) -> None:
    """Check that Hydra knows the flags; it would print its whole usage for one that it does not know.

    Raises:
        ConfigError: If it does not.
    """
    from vexp.config.hydra_versions import argument_parser

    known = list(argument_parser()._option_string_actions)
    for flag in flags:
        name = flag.partition("=")[0]
        if name.startswith("-") and not any(each.startswith(name) for each in known):  # argparse takes beginnings
            hint = f"; an override has no dashes: {flag.lstrip('-')}" if "=" in flag else did_you_mean(name, known)
            raise ConfigError("no such option (vexp train --help lists them)", key=flag, origin=COMMAND_LINE, hint=hint)


def normalize(overrides: Sequence[str], folders: Sequence[Path] | None = None) -> list[str]:
    """Return overrides in Hydra's form: aliases replaced, keys of open groups marked with ``++``.

    Args:
        overrides: As typed.
        folders: Folders in which options are looked for (``config_search_dirs``); None: those without ``--config-dir``.

    Raises:
        ConfigError: For ``lr=0.01`` (the policy, not the rate), ``optimizer=null``, one key under both its names.
    """
    result: list[str] = []
    chosen: dict[str, str] = {}
    for override in overrides:
        match = _OVERRIDE.match(override)
        if match is None:
            result.append(override)
            continue
        key, rest = match["key"], match["rest"]
        _check_size(override)
        values = rest[1:].split(",") if rest.startswith("=") else []
        if key in ALIASES:
            if key == "lr" and values and all(_NUMBER.match(value) for value in values):
                raise ConfigError(
                    "lr chooses the learning-rate policy", key=key, value=rest[1:], origin=COMMAND_LINE,
                    hint=f"; the rate itself is optimizer.lr{rest}\n"
                    f"  options: {', '.join(group_options(ALIASES[key], folders))}",
                )  # fmt: skip
            key = ALIASES[key]
        if values and match["sign"] != "~":
            _check_choice(key, rest[1:], values, folders)
        is_second = values and not match["sign"] and chosen.setdefault(key, override) != override
        if is_second and key in ALIASES.values():
            raise ConfigError(f"is set by {chosen[key]} and by {override}; give one", key=key, origin=COMMAND_LINE)
        sign = match["sign"] or ("++" if _OPEN.match(key + rest) else "")
        result.append(f"{sign}{key}{rest}")
    return result


def as_typed(overrides: Iterable[str]) -> list[str]:
    """Return overrides without the ``++`` that ``normalize`` adds to those of open groups."""
    return [override.removeprefix("++") for override in overrides]


def _check_size(override: str) -> None:
    """Check that Hydra can read an override: its key, its numbers and its nesting are limited."""
    key, _, value = override.partition("=")
    rule = "is longer than the name of any key" if len(key) > _LONGEST_NAME else ""
    if re.search(rf"\d{{{_MOST_DIGITS + 1}}}", value):
        rule = f"has a number of more than {_MOST_DIGITS} digits"
    elif max(accumulate((char in "[{(") - (char in "]})") for char in value), default=0) > DEPTH_LIMIT:
        rule = f"has more than {DEPTH_LIMIT} nested lists and mappings"
    if rule:
        raise ConfigError(rule, key=key, value=value, origin=COMMAND_LINE)


def _check_choice(key: str, value: str, values: Sequence[str], folders: Sequence[Path] | None) -> None:
    names = group_options(key, folders)
    values = [name.strip(" []") for name in values]
    if names and any(_NO_NAME.fullmatch(name) or len(name) > _LONGEST_NAME for name in values):
        if key in ("experiment", "debug") and value.lower() == "null":
            raise ConfigError(f"leave {key}= out to choose none", key=key, value=value, origin=COMMAND_LINE)
        raise not_an_option(key, value, names)


def group_options(group: str, folders: Sequence[Path] | None = None) -> list[str]:
    """Names of a group's options, those of the user's folders included; empty if there is no such group."""
    folders = config_search_dirs() if folders is None else folders
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups_text(folders: Sequence[Path] | None = None) -> str:
    """Every group and its options, one group per line, those of the user's folders included."""
    folders = config_search_dirs() if folders is None else folders
    groups = sorted(
        {path.parent.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*/*.yaml")}
    )
    return "\n".join(f"  {group}={'|'.join(group_options(group, folders))}" for group in groups)


def take_config_dirs(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Split the folders of ``--config-dir`` from the other arguments.

    Raises:
        ConfigError: If a folder does not exist.
    """
    folders: list[Path] = []
    others: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            value = value if equals else next(remaining, "")
            folders.append(Path(value).expanduser().absolute())
            if not value or not os.path.isdir(folders[-1]):  # Path.is_dir raises an error for a name that is too long
                raise ConfigError("no such folder", key=f"{flag} {value}", origin=COMMAND_LINE)
        else:
            others.append(argument)
    return folders, others


def add_search_path(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Return the overrides with ``config_dirs`` and the folders of VEXP_CONFIG_PATH added to Hydra's search path."""
    folders = [*(Path(folder).expanduser().absolute() for folder in config_dirs), *environment_dirs()]
    if not folders:
        return list(overrides)
    typed = [override for override in overrides if override_key(override) == _SEARCH_PATH]
    entries = [override.partition("=")[2].strip().removeprefix("[").removesuffix("]") for override in typed]
    entries += [f"'vexp-folder://{folder}'" for folder in dict.fromkeys(folders)]
    return [*(override for override in overrides if override not in typed), f"{_SEARCH_PATH}=[{','.join(entries)}]"]


def config_search_dirs(overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> list[Path]:
    """The folders in which options are looked for, each once, in Hydra's order: the shipped folder first."""
    typed = [override for override in overrides if override_key(override) == _SEARCH_PATH]
    listed = [Path(path) for path in re.findall(r"(?:file|vexp-folder)://([^'\",\]]+)", "".join(typed))]
    folders = [Path(folder).expanduser().absolute() for folder in config_dirs]
    return list(dict.fromkeys([conf_dir(), *listed, *folders, *environment_dirs()]))
