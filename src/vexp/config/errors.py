"""What Hydra, OmegaConf and YAML complain of, said again for the person who typed it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vexp.config.keys import all_keys, key_paths
from vexp.config.provenance import Provenance, display_path, locate, word_key
from vexp.config.schema import options
from vexp.core.errors import ConfigError
from vexp.optim.optimizers import unsupported_reason

_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}

#: Options of hydra/launcher and hydra/sweeper that come with an extra.
_EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "optuna": "optuna"}


def to_config_error(error: BaseException, origins: Provenance) -> str | None:
    """A failed composition in words; None for an error that is not about the configuration."""
    # Hydra chains with 'from' for overrides but only by context for YAML files
    chain = (error, error.__cause__, error.__context__)
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if isinstance(error, yaml.YAMLError):
        return _bad_yaml(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _unknown_option(error, origins)
    if isinstance(error, OverrideParseException):
        return _bad_grammar(error)
    if inner is not None:
        return explain_value(inner, origins, file=re.match(r"In '([^']+)'", str(error)))
    if several := re.match(r"Ambiguous value for argument '(?:\+\+)?(([^=]*)=(.*))'", str(error)):
        word, key, values = several.groups()
        return (
            f"{word}: is several values (command line)\n  a sweep over them: python -m vexp.train -m {word}; "
            f"a list: '{key}=[{values}]'; a text with commas: '{key}=\"{values}\"'"
        )
    if isinstance(error, HydraException):
        return " ".join(str(error).split()) + (f" ({error.__cause__})" if error.__cause__ else "")
    return None


def explain_value(
    error: OmegaConfBaseException, origins: Provenance, prefix: str = "", file: re.Match[str] | None = None
) -> str:
    """A value that its key does not take, or a key that its class does not have.

    ``prefix``: path of the node that was merged by itself; ``file``: the config file that Hydra was merging.
    """
    text = str(error.msg or error).splitlines()[0]
    named = re.search(r"full_key: (\S+)", str(error))  # interpolation errors leave .full_key unset
    key = ".".join(part for part in (prefix, str(error.full_key or (named[1] if named else ""))) if part)
    where = locate(origins.folders, file[1], key) if file and file[1] != "train" else origins.of(key)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and not text.startswith("Interpolation"):
        owner = error.object_type
        if dataclasses.is_dataclass(owner):
            names = [field.name for field in dataclasses.fields(owner)]
            return unknown_key(key, getattr(owner, "__name__", ""), names, origins, where)
        return unknown_key(key, "", [str(k) for k in getattr(error, "parent_node", None) or ()], origins, where)
    if match := re.match(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text, re.DOTALL):
        return f"{key}={match[1]}: must be {_KINDS.get(match[2], match[2])}{where}"
    if match := re.match(r"Value '(.*)' is not a valid bool", text, re.DOTALL):
        return f"{key}={match[1]}: must be true or false{where}"
    if "is not Optional" in text or "not supported for a non optional" in text.lower():
        return f"{key}=null: null is not allowed here{where}"
    if "is not a subclass of" in text or "Invalid type assigned" in text:
        keys = ", ".join(path.rpartition(".")[2] for path in key_paths() if path.rpartition(".")[0] == key) or "none"
        return f"{key}: holds several values and cannot be one itself{where}\n  keys: {keys}"
    if match := re.match(r"Interpolation key '(.*)' not found", text):
        return f"{key}: ${{{match[1]}}} refers to a key that does not exist{where}"
    return f"{key}: {text}{where}" if key else text


def missing(key: str, origins: Provenance) -> str:
    """A value that must be given."""
    group = options().get(key)
    if group is not None:
        return f"{key}: an option must be chosen, {key}=...{origins.of(key)}\n  options: {', '.join(group)}"
    doc = next((known.doc for known in all_keys() if known.path == key), "")
    return (
        f"{key}: a value must be given, {key}=..." + (f" ({doc})" if doc else "") + origins.of(key.rpartition(".")[0])
    )


def unknown_key(key: str, owner: str, names: Sequence[str], origins: Provenance, where: str | None = None) -> str:
    """A key that nobody reads, with the nearest that somebody does."""
    word = key.rpartition(".")[2]
    elsewhere = [path for path in key_paths() if path.rpartition(".")[2] == word and path != key]
    near_miss = near(word, names, prefix=key[: -len(word)])
    hint = f"; did you mean {' or '.join(elsewhere[:3])}?" if elsewhere else near_miss
    holder = f"{owner} has no {word!r}" if owner else f"there is no {word!r}"
    return f"{key}: {holder}{origins.of(key) if where is None else where}{hint}\n  keys: {', '.join(sorted(names))}"


def near(word: str, names: Iterable[str], *, prefix: str = "") -> str:
    """``; did you mean X?`` for the closest name, or nothing."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _unknown_option(error: MissingConfigException, origins: Provenance) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return f"no config named {name} in {', '.join(map(str, origins.folders))}"
    available = sorted(option for option in error.options or [] if not option.startswith("_"))
    word = next((w for w in origins.words if word_key(w).partition("@")[0] == group and name in w), None)
    asked = re.match(r"In '([^']+)'", str(error))
    where = f" (command line: {word})" if word else ""
    if not word and asked and asked[1] != "train":
        where = locate(origins.folders, asked[1], group)
    elif not word:
        where = _asked_by_a_choice(origins, group, name)
    if group.startswith("hydra/") and name in _EXTRAS:
        return extra_needed(group, name)
    if not available:
        return f"no group {group}{where}"
    refusal = unsupported_reason(name) if group == "optimizer" else None
    if refusal is not None:
        return f"{group}={name}: cannot train here: {refusal}{where}\n  options: {', '.join(available)}"
    return f"no option {name!r} in group {group}{where}{near(name, available)}\n  options: {', '.join(available)}"


def _asked_by_a_choice(origins: Provenance, group: str, name: str) -> str:
    """The line in the file of a chosen option (an experiment, say) that asks for ``GROUP: NAME``."""
    wanted = re.compile(rf"\b{re.escape(group)}(@\S+)?\s*:\s*{re.escape(name)}\b")
    for word in origins.words:
        choice, equals, option = word.lstrip("+").partition("=")
        for folder in origins.folders:
            path = folder / choice / f"{option}.yaml"
            if equals and path.is_file():
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    if wanted.search(line):
                        return f" ({display_path(path)}:{number})"
    return ""


def _bad_grammar(error: OverrideParseException) -> str:
    noise = ("See", "Error parsing")
    why = next((line for line in (error.message or "").splitlines() if line and not line.startswith(noise)), "")
    found = re.match(r"(?:mismatched|extraneous) input ('.*?')(?: expecting|$)|token recognition error at: (.*)", why)
    where = f" at {found[1] or found[2]}".replace("'<EOF>'", "its end") if found else ""  # the rest names grammar rules
    word = str(error.override).removeprefix("++")
    if "=" not in word:
        close = difflib.get_close_matches(word, key_paths(), n=1, cutoff=0.6)
        return f"{word}: not key=value (command line)" + (f"; did you mean {close[0]}=...?" if close else "")
    return (
        (
            f"{word}: cannot be read as key=value{where} (command line)\n"
            "  a value with one of = , : [ ] {{ }} $ ' or a space needs quotes inside the shell's: 'key=\"a=b\"'"
        )
        .replace("{{", "{")
        .replace("}}", "}")
    )


def _bad_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return f"not valid YAML: {problem}"
    return f"{display_path(Path(mark.name))}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {problem}"


def extra_needed(group: str, option: str) -> str:
    """``hydra/launcher=joblib`` where the package that does it is not installed."""
    return f"{group}={option}: needs a package that is not installed: pip install 'vexp[{_EXTRAS[option]}]'"


def wrong_group_value(key: str, value: str, names: Iterable[str]) -> str:
    """``optimizer=null``, ``optimizer=3``: a group takes the name of one of its options."""
    return f"{key}={value}: {key} takes the name of an option (command line)\n  options: {', '.join(names)}"


__all__ = [
    "ConfigError", "explain_value", "extra_needed", "missing", "near", "to_config_error", "unknown_key", "wrong_group_value",
]  # fmt: skip
