"""Find the keys that a name means, and list every place that set a key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from vexp.config.compose import FILLED_IN
from vexp.config.keys import Key, all_keys, config_keys, key_paths, keys_of, parts_of, to_yaml_text
from vexp.config.options import options
from vexp.config.overrides import ALIASES
from vexp.config.provenance import ConfigEntry, Provenance, display_path
from vexp.config.schema import Config
from vexp.core.errors import ConfigError, did_you_mean
from vexp.tools.explain.former_names import ELSEWHERE, all_names, strip_prefix

Entry = tuple[Key, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """The keys that a name means.

    Attributes:
        entries: Keys of this run, with their values.
        group: The dotted path that holds all ``entries``, if the name means a group or a part of one.
        unused: Keys of options that this run has not chosen.
        note: Explanation of a name that means no key.
    """

    entries: list[Entry] = field(default_factory=list)
    group: str = ""
    unused: list[Key] = field(default_factory=list)
    note: str = ""


def find(name: str, config: Config) -> Found:
    """Find the keys that ``name`` means.

    Args:
        name: A dotted path, ``lr`` for ``lr_policy``, the end of a path, ``Class`` or ``Class.argument``, the name of
            an option, or a name in mmaction2 or SlowFast.
        config: The configuration of the run.

    Raises:
        ConfigError: If no key has or had this name; the hint has the nearest names.
    """
    first, dot, rest = name.partition(".")
    path = ALIASES.get(first, first) + dot + rest
    entries = list(config_keys(config))
    exact = _at(path, entries)
    if exact is not None:
        return exact
    if found := _matching(lambda key: key.path == path, entries):
        return found
    plain_name = strip_prefix(name)
    for matches in (
        lambda key: plain_name in (key.owner.__name__.lower(), f"{key.owner.__name__}.{key.name}".lower()),
        lambda key: key.path.endswith(f".{path}"),
        lambda key: plain_name in all_names(key),
        lambda key: any(known.endswith(f".{plain_name}") for known in all_names(key)),
        lambda key: any(known.startswith(f"{plain_name}.") for known in all_names(key)),
    ):
        if found := _matching(matches, entries):
            return found
    for classes in options().values():
        if path in classes:
            return Found(unused=[key for key in all_keys() if key.owner is classes[path]])
    if name in ELSEWHERE:
        return Found(note=ELSEWHERE[name])
    hint = _near(name, [key for key, _ in entries])
    raise ConfigError("no such key, and no former name of one", key=name, hint=hint)


def history(key: Key, value: Any, provenance: Provenance) -> list[ConfigEntry]:
    """List every place that set a key, the strongest first; the last is the default of its dataclass, if it has one."""
    source = key.source()
    where = f"default, {display_path(source[0])}:{source[1]}" if source is not None else "default"
    default = [] if key.required else [ConfigEntry(key.default_text, where)]
    entries = default + provenance.settings(key.path)
    if key.path in FILLED_IN and entries[-1].text != to_yaml_text(value):
        entries.append(ConfigEntry(to_yaml_text(value), FILLED_IN[key.path]))
    return entries[::-1]


def options_with(key: Key) -> list[str]:
    """Return ``GROUP=OPTION`` for every option that has this key."""
    return [
        f"{group}={name}"
        for group, classes in options().items()
        for name, cls in classes.items()
        if any((known.path, known.declared_in) == (key.path, key.declared_in) for known in keys_of(cls, group))
    ]


def _at(path: str, entries: Iterable[Entry]) -> Found | None:
    """The value, entry of a list or group at a dotted path of this run; None if there is none."""
    leaves = [(key, value) for key, value in entries if not parts_of(value)]
    below = [(key, value) for key, value in leaves if key.path.startswith(f"{path}.")]
    if below:
        return Found(below, group=path)
    for key, value in leaves:
        if key.path == path:
            return Found([(key, value)])
        if path.startswith((f"{key.path}.", f"{key.path}[")):
            return Found([(key, _item(value, path, path[len(key.path) :]))])
    return None


def _item(value: Any, path: str, rest: str) -> Any:
    """The entry of a list or dict at ``[0]``, ``.0`` or ``.left``."""
    for part in re.findall(r"[^.\[\]]+", rest):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ConfigError(f"there is no {part} in {to_yaml_text(value)}", key=path) from None
    return value


def _matching(matches: Callable[[Key], bool], entries: Iterable[Entry]) -> Found | None:
    """The keys of this run that match; otherwise those of options that it has not chosen."""
    matching = [(key, value) for key, value in entries if matches(key)]
    groups = [key.path for key, value in matching if parts_of(value)]
    if groups:
        return _at(groups[0], entries)
    if matching:
        return Found(matching)
    unused = list({(key.path, key.declared_in): key for key in all_keys() if matches(key)}.values())
    return Found(unused=unused) if unused else None


def _near(name: str, keys: Iterable[Key]) -> str:
    """``; did you mean A or B?`` for the closest keys, last parts of keys and former names."""
    known = {path: path for path in key_paths()}
    for key in (*all_keys(), *keys):
        known.setdefault(key.name, key.path)
        for former in all_names(key):
            known.setdefault(former, key.path)
    return did_you_mean(strip_prefix(name), known, count=3, shown=known.__getitem__)
