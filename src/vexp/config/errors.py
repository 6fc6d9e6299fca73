"""Convert errors of Hydra, OmegaConf and YAML to ``ConfigError``: key, value, rule, origin and a suggestion."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vexp.config.keys import all_keys, key_paths
from vexp.config.options import options
from vexp.config.provenance import COMMAND_LINE, Provenance, display_path, locate, override_key
from vexp.core.errors import UNSET, ConfigError, did_you_mean, missing_package
from vexp.optim.optimizers import unsupported_reason

_NOT_DELETED = re.compile(r"Could not delete from config|does not support deletion|list indices must be integers")
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}

#: Options of hydra/launcher and hydra/sweeper that come with an extra of the same package -> the extra.
_EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "optuna": "optuna"}


def to_config_error(error: BaseException, provenance: Provenance) -> ConfigError | None:
    """Convert the error of a failed composition; return None if it is not about the configuration."""
    # Hydra chains with 'from' for overrides, but only by context for YAML files.
    chain = (error, error.__cause__, error.__context__)
    if any(isinstance(e, KeyboardInterrupt) for e in chain):  # OmegaConf converts that, too
        raise KeyboardInterrupt from None
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if isinstance(error, yaml.YAMLError):
        return _yaml_error(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _unknown_option(error, provenance)
    if isinstance(error, OverrideParseException):
        return _grammar_error(error)
    if _NOT_DELETED.search(str(error)) and (deletion := _deletion_error(str(error), provenance)) is not None:
        return deletion
    if inner is not None:
        return value_error(inner, provenance, file=re.match(r"In '([^']+)'", str(error)))
    if several := re.match(r"Ambiguous value for argument '(?:\+\+)?(([^=]*)=(.*))'", str(error)):
        override, key, values = several.groups()
        return ConfigError(
            "several values given to a single run", key=key, value=values, origin=COMMAND_LINE,
            hint=f"\n  a sweep over them: vexp train -m {override}; a list: '{key}=[{values}]'; "
            f"a text with commas: '{key}=\"{values}\"'",
        )  # fmt: skip
    if isinstance(error, HydraException) or _raised_by_hydra(error):
        text = " ".join(str(error).split()) or type(error).__name__
        return ConfigError(shorten(text, 400) + (f" ({error.__cause__})" if error.__cause__ else ""))
    return None


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether the innermost frame that is not of the standard library belongs to Hydra, OmegaConf, ANTLR or PyYAML."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [root for root in (name.partition(".")[0] for name in modules) if root not in sys.stdlib_module_names]
    return bool(ours) and ours[-1] in ("hydra", "omegaconf", "antlr4", "yaml")


def value_error(
    error: OmegaConfBaseException, provenance: Provenance, prefix: str = "", file: re.Match[str] | None = None
) -> ConfigError:
    """Convert an error of OmegaConf: a value of a wrong type, or a key that its class does not have.

    Args:
        error: The error.
        provenance: Where the values of the config were written.
        prefix: Path of the node that was merged by itself.
        file: Names the config file that Hydra was merging.
    """
    text = str(error.msg or error).splitlines()[0]
    full_key = re.search(r"full_key: (\S+)", str(error))  # interpolation errors leave .full_key unset
    key = ".".join(part for part in (prefix, str(error.full_key or (full_key[1] if full_key else ""))) if part)
    origin = locate(provenance.folders, file[1], key) if file and file[1] != "train" else provenance.describe(key)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and not text.startswith("Interpolation"):
        owner = error.object_type
        if dataclasses.is_dataclass(owner):
            names = [field.name for field in dataclasses.fields(owner)]
            return unknown_key(key, getattr(owner, "__name__", ""), names, origin)
        return unknown_key(key, "", [str(k) for k in getattr(error, "parent_node", None) or ()], origin)
    rule, value, hint = _broken_rule(error, text, key)
    return ConfigError(rule, key=key, value=value, origin=origin, hint=hint)


def _broken_rule(error: OmegaConfBaseException, text: str, key: str) -> tuple[str, Any, str]:
    """(rule, value, hint) of an error of OmegaConf about the value of ``key``."""
    if match := re.match(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text, re.DOTALL):
        return f"must be {_KINDS.get(match[2], match[2])}", match[1], ""
    if match := re.match(r"Value '(.*)' is not a valid bool", text, re.DOTALL):
        return "must be true or false", match[1], ""
    if "is not Optional" in text or "not supported for a non optional" in text.lower():
        return "null is not allowed here", None, ""
    if "is not a subclass of" in text or "Invalid type assigned" in text:
        keys = ", ".join(path.rpartition(".")[2] for path in key_paths() if path.rpartition(".")[0] == key) or "none"
        return "is a group of keys and takes no single value", UNSET, f"\n  keys: {keys}"
    if match := re.match(r"Interpolation key '(.*)' not found", text):
        return f"${{{match[1]}}} refers to a key that does not exist", UNSET, ""
    return text, UNSET, ""


def missing_value(key: str, provenance: Provenance) -> ConfigError:
    """The error of a key without a default that was not given a value."""
    group = options().get(key)
    if group is not None:
        return ConfigError(
            f"an option must be chosen, {key}=...", key=key, origin=provenance.describe(key),
            hint=f"\n  options: {', '.join(group)}",
        )  # fmt: skip
    doc = next((known.doc for known in all_keys() if known.path == key), "")
    rule = f"a value must be given, {key}=..." + (f" ({doc.rstrip('.')})" if doc else "")
    return ConfigError(rule, key=key, origin=provenance.describe(key.rpartition(".")[0]))


def unknown_key(key: str, owner: str, names: Sequence[str], origin: str) -> ConfigError:
    """The error of a key that does not exist, with the nearest that does.

    Args:
        key: The dotted key.
        owner: Name of the class that has no such field; empty for a plain node.
        names: The keys that exist at that place.
        origin: Where the key was written.
    """
    name = key.rpartition(".")[2]
    elsewhere = [path for path in key_paths() if path.rpartition(".")[2] == name and path != key]
    if elsewhere:
        hint = f"; did you mean {' or '.join(elsewhere[:3])}?"
    else:
        hint = did_you_mean(name, names, shown=lambda near: key[: -len(name)] + near)
    rule = f"{owner} has no {name!r}" if owner else f"there is no {name!r}"
    return ConfigError(rule, key=key, origin=origin, hint=f"{hint}\n  keys: {', '.join(sorted(names))}")


def _unknown_option(error: MissingConfigException, provenance: Provenance) -> ConfigError:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return ConfigError(f"no config named {name} in {', '.join(map(str, provenance.folders))}")
    available = sorted(option for option in error.options or [] if not option.startswith("_"))
    override = next(
        (text for text in provenance.overrides if override_key(text).partition("@")[0] == group and name in text), None
    )
    file = re.match(r"In '([^']+)'", str(error))
    if override:
        origin = COMMAND_LINE if override.lstrip("+") == f"{group}={name}" else f"{COMMAND_LINE}: {override}"
    elif file and file[1] != "train":
        origin = locate(provenance.folders, file[1], group)
    else:
        origin = _origin_of_choice(provenance, group, name)
    if group.startswith("hydra/") and name in _EXTRAS:
        return extra_needed(group, name)
    if not available:
        return ConfigError("there is no such group of options", key=group, value=name, origin=origin)
    listed = f"\n  options: {', '.join(available)}"
    reason = unsupported_reason(name) if group == "optimizer" else None
    if reason is not None:
        return ConfigError(f"cannot train here: {reason}", key=group, value=name, origin=origin, hint=listed)
    return ConfigError(
        "no such option", key=group, value=name, origin=origin, hint=did_you_mean(name, available) + listed
    )


def _origin_of_choice(provenance: Provenance, group: str, name: str) -> str:
    """The line in the file of a chosen option (an experiment, say) that chooses ``GROUP: NAME``."""
    pattern = re.compile(rf"\b{re.escape(group)}(@\S+)?\s*:\s*{re.escape(name)}\b")
    for override in provenance.overrides:
        choice, equals, option = override.lstrip("+").partition("=")
        for folder in provenance.folders:
            path = folder / choice / f"{option}.yaml"
            if equals and os.path.isfile(path):  # False for a name that is too long
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    if pattern.search(line):
                        return f"{display_path(path)}:{number}"
    return ""


def _deletion_error(text: str, provenance: Provenance) -> ConfigError | None:
    """The error of ``~KEY`` for a key that a config always has, or for an item of a list; None without such a word."""
    deleted = [override[1:].partition("=")[0] for override in provenance.overrides if override.startswith("~")]
    # Hydra names neither an item of a list nor the key that it belongs to.
    key = next((key for key in deleted if re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", text)), None)
    key = key or next((key for key in reversed(deleted) if key.rpartition(".")[2].isdecimal()), None)
    if key is None:
        return None
    owner, _, name = key.rpartition(".")
    if name.isdecimal():
        return ConfigError(
            "an item of a list cannot be removed", key=f"~{key}", origin=COMMAND_LINE,
            hint=f"; write the list without it: '{owner}=[...]'",
        )  # fmt: skip
    if key not in key_paths():
        return unknown_key(key, "", [path for path in key_paths() if path.rpartition(".")[0] == owner], COMMAND_LINE)
    return ConfigError(
        "is a key that every config has and cannot be removed", key=f"~{key}", origin=COMMAND_LINE,
        hint=f"; set it: {key}=VALUE (null where it may be empty)",
    )  # fmt: skip


def _grammar_error(error: OverrideParseException) -> ConfigError:
    noise = ("See", "Error parsing", "Error when parsing")
    reason = next((line for line in (error.message or "").splitlines() if line and not line.startswith(noise)), "")
    found = re.match(
        r"(?:mismatched|extraneous) input ('.*?')(?: expecting|$)|token recognition error at: (.*)", reason
    )
    place = f" at {found[1] or found[2]}".replace("'<EOF>'", "its end") if found else ""  # the rest names grammar rules
    key, equals, value = str(error.override).removeprefix("++").partition("=")
    if not equals:
        hint = did_you_mean(key, key_paths(), shown=lambda near: f"{near}=...")
        return ConfigError("not key=value", key=key, origin=COMMAND_LINE, hint=hint)
    return ConfigError(
        f"cannot be read as key=value{place}", key=key, value=value, origin=COMMAND_LINE,
        hint="\n  a value with one of = , : [ ] { } $ ' or a space needs quotes inside the shell's: 'key=\"a=b\"'",
    )  # fmt: skip


def _yaml_error(error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    rule = f"not valid YAML: {getattr(error, 'problem', None) or error}"
    if mark is None:
        return ConfigError(rule)
    return ConfigError(rule, key=f"{display_path(Path(mark.name))}:{mark.line + 1}:{mark.column + 1}")


def extra_needed(group: str, option: str) -> ConfigError:
    """The error of an option, such as ``hydra/launcher=joblib``, whose package is not installed."""
    return ConfigError(missing_package(_EXTRAS[option]), key=group, value=option)


def not_an_option(group: str, value: str, names: Iterable[str]) -> ConfigError:
    """The error of ``optimizer=null`` or ``optimizer=3``: a group takes the name of one of its options."""
    return ConfigError(
        f"{group} takes the name of an option", key=group, value=value, origin=COMMAND_LINE,
        hint=f"\n  options: {', '.join(names)}",
    )  # fmt: skip
