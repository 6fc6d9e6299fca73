"""Overrides of the command line: aliases of keys (lr, nproc), flags, and the errors that end a command."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from vexp.config.errors import not_an_option, to_config_error
from vexp.config.provenance import COMMAND_LINE, Provenance, override_key
from vexp.config.schema import OPEN_GROUPS
from vexp.config.search_path import conf_dir, environment_dirs
from vexp.core.errors import ConfigError, UserError

#: Aliases of keys, on the command line only; saved overrides and YAML use the key itself.
ALIASES = {"lr": "lr_policy", "nproc": "dist.nproc"}

_OVERRIDE = re.compile(r"^(?P<sign>~|\+{1,2})?(?P<key>[A-Za-z_][\w/]*)(?P<rest>(?:[.=@].*)?)$", re.DOTALL)
#: Keys below an open group. Hydra must accept them even if the YAML of a custom class does not list them; ``instantiate``
#: checks every key against the class.
_OPEN = re.compile(rf"(({'|'.join(OPEN_GROUPS)})|pipeline\.(train|val|test)\.\w+)\.\w")
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
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


def normalize(overrides: Sequence[str]) -> list[str]:
    """Return overrides in Hydra's form: aliases replaced, keys of open groups marked with ``++``.

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
        values = rest[1:].split(",") if rest.startswith("=") else []
        if key in ALIASES:
            if key == "lr" and values and all(_NUMBER.match(value) for value in values):
                raise ConfigError(
                    "lr chooses the learning-rate policy", key=key, value=rest[1:], origin=COMMAND_LINE,
                    hint=f"; the rate itself is optimizer.lr{rest}\n"
                    f"  options: {', '.join(group_options(ALIASES[key]))}",
                )  # fmt: skip
            key = ALIASES[key]
        if values and not match["sign"]:
            _check_choice(key, rest[1:], values)
            if chosen.setdefault(key, override) != override and key in ALIASES.values():
                raise ConfigError(f"is set by {chosen[key]} and by {override}; give one", key=key, origin=COMMAND_LINE)
        sign = match["sign"] or ("++" if _OPEN.match(key + rest) else "")
        result.append(f"{sign}{key}{rest}")
    return result


def as_typed(overrides: Iterable[str]) -> list[str]:
    """Return overrides without the ``++`` that ``normalize`` adds to those of open groups."""
    return [override.removeprefix("++") for override in overrides]


def _check_choice(key: str, value: str, values: Sequence[str]) -> None:
    names = group_options(key)
    if names and any(v.lower() in ("null", "none", "~", "") or _NUMBER.match(v) for v in values):
        if key in ("experiment", "debug") and value.lower() == "null":
            raise ConfigError(f"leave {key}= out to choose none", key=key, value=value, origin=COMMAND_LINE)
        raise not_an_option(key, value, names)


def group_options(group: str) -> list[str]:
    """Names of a group's options, those of the user's folders included; empty if there is no such group."""
    folders = (conf_dir(), *environment_dirs(), *flag_dirs(sys.argv[1:]))
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups_text() -> str:
    """Every group and its options, one group per line, those of the user's folders included."""
    folders = (conf_dir(), *environment_dirs(), *flag_dirs(sys.argv[1:]))
    groups = sorted(
        {path.parent.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*/*.yaml")}
    )
    return "\n".join(f"  {group}={'|'.join(group_options(group))}" for group in groups)


def flag_dirs(argv: Sequence[str]) -> list[Path]:
    """The folders that ``--config-dir`` names."""
    return [Path(value) for flag, value in itertools.pairwise(argv) if flag in ("--config-dir", "-cd")]


def search_path_override(overrides: Sequence[str]) -> list[str]:
    """The override that adds the folders of the environment variable to Hydra's search path, if there are any."""
    folders = environment_dirs()
    if not folders or any(override_key(override) == "hydra.searchpath" for override in overrides):
        return []
    return ["hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in folders) + "]"]


def config_search_dirs(flags: Sequence[str], overrides: Sequence[str]) -> list[Path]:
    """The folders in which options are looked for, the shipped folder first."""
    named = [override for override in overrides if override_key(override) == "hydra.searchpath"]
    listed = [Path(path) for path in re.findall(r"file://([^'\",\]]+)", "".join(named))]
    return list(dict.fromkeys([conf_dir(), *environment_dirs(), *flag_dirs(flags), *listed]))


def parse_command_options(
    arguments: Sequence[str], defaults: Mapping[str, str | None]
) -> tuple[dict[str, str | None], list[str]]:
    """Split a command's own ``key=value`` arguments (``run=``, ``split=`` ...) from the overrides of the config.

    Args:
        arguments: As typed.
        defaults: The command's own keys and their defaults.

    Returns:
        The command's options, and the overrides.
    """
    options = dict(defaults)
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in options:
            options[key] = None if value == "null" else value
        else:
            overrides.append(argument)
    return options, overrides


def run_command(command: Callable[[], Any], about: str | None = None) -> None:
    """Run a command: an error that the user can fix is printed in a few lines, with exit status 2 and no traceback.

    With HYDRA_FULL_ERROR=1 exceptions are not caught. With ``about``, ``--help`` prints it instead.
    """
    if about is not None and help_requested():
        print(about)
        return
    if os.environ.get("HYDRA_FULL_ERROR") in ("1", "true"):
        command()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # documented by Hydra: it raises instead of printing and exiting
    try:
        command()
    except UserError as error:
        exit_with_error(str(error))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        flags, overrides = split_flags(sys.argv[1:])
        folders = config_search_dirs(flags, overrides)
        config_error = to_config_error(error, Provenance(overrides=as_typed(overrides), folders=folders))
        if config_error is None:
            raise
        exit_with_error(str(config_error))
    except BrokenPipeError:  # the reader of the pipe has ended: | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("vexp: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def help_requested() -> bool:
    """Whether -h or --help is on the command line."""
    return bool({"-h", "--help"} & set(sys.argv[1:]))


def exit_with_error(message: str) -> NoReturn:
    """End the command with a message and exit status 2."""
    print(f"vexp: error: {message}", file=sys.stderr)
    raise SystemExit(2)
