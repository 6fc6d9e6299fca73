"""The words after ``python -m vexp.train``: second names (lr, nproc), and what goes wrong, said in two lines."""

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

from vexp.config.errors import to_config_error, wrong_group_value
from vexp.config.provenance import Provenance, word_key
from vexp.config.schema import OPEN_GROUPS
from vexp.config.search_path import conf_dir, environment_dirs
from vexp.core.errors import ConfigError, UserError

#: Second names of keys, on the command line only: saved overrides and YAML use the first.
ALIASES = {"lr": "lr_policy", "nproc": "dist.nproc"}

_OVERRIDE = re.compile(r"^(?P<sign>~|\+{1,2})?(?P<key>[A-Za-z_][\w/]*)(?P<rest>(?:[.=@].*)?)$", re.DOTALL)
#: Keys below an open group. Hydra must take them even where the YAML of a class of the user's own does not list them;
#: ``load`` holds every key against the class.
_OPEN = re.compile(rf"(({'|'.join(OPEN_GROUPS)})|pipeline\.(train|val|test)\.\w+)\.\w")
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_FLAGS_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun", "--shell-completion", "-sc",
}  # fmt: skip


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(Hydra's flags with their values, overrides). Hydra 1.3 refuses overrides on both sides of a flag."""
    flags: list[str] = []
    words: list[str] = []
    expects_value = False
    for word in argv:
        if expects_value or word.startswith("-"):
            flags.append(word)
            expects_value = not expects_value and word in _FLAGS_WITH_VALUE
        elif flags and flags[-1] in ("--info", "-i") and "=" not in word:
            flags.append(word)
        else:
            words.append(word)
    return flags, words


def normalize(words: Sequence[str]) -> list[str]:
    """Overrides as Hydra knows them: second names replaced, values that no group takes refused.

    Raises:
        ConfigError: ``lr=0.01`` (the policy, not the rate), ``optimizer=null``, one key under both its names.
    """
    result: list[str] = []
    chosen: dict[str, str] = {}
    for word in words:
        match = _OVERRIDE.match(word)
        if match is None:
            result.append(word)
            continue
        key, rest = match["key"], match["rest"]
        values = rest[1:].split(",") if rest.startswith("=") else []
        if key in ALIASES:
            if key == "lr" and values and all(_NUMBER.match(value) for value in values):
                raise ConfigError(
                    f"{word}: {key} chooses the learning-rate policy (command line); "
                    f"the rate itself is optimizer.lr{rest}\n  options: {', '.join(group_options(ALIASES[key]))}"
                )
            key = ALIASES[key]
        if values and not match["sign"]:
            _check_choice(key, rest[1:], values)
            if chosen.setdefault(key, word) != word and key in ALIASES.values():
                raise ConfigError(f"{chosen[key]} and {word}: both choose {key} (command line), give one")
        sign = match["sign"] or ("++" if _OPEN.match(key + rest) else "")
        result.append(f"{sign}{key}{rest}")
    return result


def as_typed(words: Iterable[str]) -> list[str]:
    """Overrides without the mark that ``normalize`` gives to those of open groups."""
    return [word.removeprefix("++") for word in words]


def _check_choice(key: str, value: str, values: Sequence[str]) -> None:
    names = group_options(key)
    if names and any(v.lower() in ("null", "none", "~", "") or _NUMBER.match(v) for v in values):
        if key in ("experiment", "debug") and value.lower() == "null":
            raise ConfigError(f"{key}={value}: leave {key}= out to choose none (command line)")
        raise ConfigError(wrong_group_value(key, value, names))


def group_options(group: str) -> list[str]:
    """Names of a group's options, the user's own folders included; empty where there is no such group."""
    folders = (conf_dir(), *environment_dirs(), *flag_dirs(sys.argv[1:]))
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups_text() -> str:
    """Every group and its options, a group a line, the user's own folders included."""
    folders = (conf_dir(), *environment_dirs(), *flag_dirs(sys.argv[1:]))
    groups = sorted(
        {path.parent.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*/*.yaml")}
    )
    return "\n".join(f"  {group}={'|'.join(group_options(group))}" for group in groups)


def flag_dirs(argv: Sequence[str]) -> list[Path]:
    """The folders that ``--config-dir`` names."""
    return [Path(value) for flag, value in itertools.pairwise(argv) if flag in ("--config-dir", "-cd")]


def search_path_override(words: Sequence[str]) -> list[str]:
    """The override that adds the folders of the environment variable to Hydra's search path."""
    folders = environment_dirs()
    if not folders or any(word_key(word) == "hydra.searchpath" for word in words):
        return []
    return ["hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in folders) + "]"]


def config_search_dirs(flags: Sequence[str], words: Sequence[str]) -> list[Path]:
    """Where options are looked for, the shipped folder first."""
    named = [word for word in words if word_key(word) == "hydra.searchpath"]
    listed = re.findall(r"file://([^'\",\]]+)", "".join(named))
    return [conf_dir(), *environment_dirs(), *flag_dirs(flags), *map(Path, listed)]


def parse_command_options(
    words: Sequence[str], names: Mapping[str, str | None]
) -> tuple[dict[str, str | None], list[str]]:
    """A door's own ``key=value`` words (``run=``, ``split=`` ...) apart from the overrides of the config."""
    own = dict(names)
    rest = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in own:
            own[key] = None if value == "null" else value
        else:
            rest.append(word)
    return own, rest


def run_command(door: Callable[[], Any], about: str | None = None) -> None:
    """Run a door: what a user can mend is said in a few lines with exit status 2, without a traceback.

    With HYDRA_FULL_ERROR=1 the exceptions come through. With ``about``, ``--help`` prints it instead.
    """
    if about is not None and help_requested():
        print(about)
        return
    if os.environ.get("HYDRA_FULL_ERROR") in ("1", "true"):
        door()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # documented by Hydra: it raises instead of printing and leaving
    try:
        door()
    except UserError as error:
        exit_with_error(str(error))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        flags, words = split_flags(sys.argv[1:])
        text = to_config_error(error, Provenance(words=as_typed(words), folders=config_search_dirs(flags, words)))
        if text is None:
            raise
        exit_with_error(text)
    except BrokenPipeError:  # the reader has seen enough: | head
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
