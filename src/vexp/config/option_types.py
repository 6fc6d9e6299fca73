"""How a file names the option of an open group or of a pipeline transform, and how old files are brought up to date.

A built-in option is named by its name in ``options()``, ``type: sgd``: its class may move to another module without
changing a file. ``_target_: PACKAGE.CLASS`` is for classes that are not part of vexp.
"""

from __future__ import annotations

from typing import Any

from vexp.config.options import OPEN_GROUPS, options
from vexp.core.errors import ConfigError, did_you_mean

#: The key that holds the name of an option. No option may have a field of this name.
TYPE = "type"
TARGET = "_target_"
_BUILT_IN = "vexp."

#: Keys of configurations saved by earlier versions -> their names today.
RENAMED_KEYS = {"data.exact_colour": "data.exact_color"}
#: (key of an option, its value in configurations saved by earlier versions) -> the value today.
RENAMED_VALUES = {("test_positions", "centres"): "centers"}


def group_at(path: str) -> str | None:
    """The group whose option a dotted path of the configuration holds; None if it holds none."""
    parts = path.split(".")
    if parts[0] == "pipeline" and len(parts) == 3:  # pipeline.SPLIT.NAME
        return "transform"
    return path if path in OPEN_GROUPS else None


def option_name(group: str, cls: type[Any]) -> str | None:
    """The name of the option with this class, the first of several; None if the group has no built-in option of it."""
    place = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, known in options()[group].places.items() if known == place), None)


def is_built_in(target: str) -> bool:
    """Whether ``_target_: target`` means a built-in option, as files of vexp 0.1.0 name them."""
    return target.startswith(_BUILT_IN)


def class_of_name(group: str, name: str) -> type[Any]:
    """The class of ``type: name``.

    Raises:
        ConfigError: If the group has no such option.
    """
    known = options()[group]
    if name not in known:
        raise ConfigError(f"must be one of {', '.join(known)}", key=TYPE, value=name, hint=did_you_mean(name, known))
    return known[name]


def class_of_target(group: str | None, target: str) -> type[Any]:
    """The class of ``_target_: vexp.MODULE.CLASS``, found by the name of the class, whatever its module is now.

    Args:
        group: None for a place within an option, where one of any group may stand.
        target: The dotted path.

    Raises:
        ConfigError: If there is no such option.
    """
    for candidate in options() if group is None else [group]:
        name = _name_of_target(candidate, target)
        if name is not None:
            return options()[candidate][name]
    hint = f"; {TYPE}: takes {', '.join(options()[group])}" if group is not None else ""
    raise ConfigError(f"vexp has no {group or 'option'} of that name", key=TARGET, value=target, hint=hint)


def _name_of_target(group: str, target: Any) -> str | None:
    end = ":" + str(target).rpartition(".")[2]
    names = (name for name, place in options()[group].places.items() if place.endswith(end))
    return next(names, None) if is_built_in(str(target)) else None


def upgrade_saved(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Convert the values of a saved configuration of any version to today's form.

    Keys of ``RENAMED_KEYS`` and values of ``RENAMED_VALUES`` get their new names; built-in options that vexp 0.1.0
    named by ``_target_`` are named by ``type``.
    """
    prefix = f"{path}." if path else ""
    upgraded: dict[str, Any] = {}
    for key, value in values.items():
        full = f"{prefix}{key}"
        new = RENAMED_KEYS[full][len(prefix) :] if full in RENAMED_KEYS else key
        if isinstance(value, str):
            value = RENAMED_VALUES.get((key, value), value)
        upgraded[new] = upgrade_saved(value, full) if isinstance(value, dict) else value
    group = group_at(path)
    name = _name_of_target(group, upgraded.get(TARGET)) if group is not None else None
    if name is None:
        return upgraded
    return {TYPE: name, **{key: value for key, value in upgraded.items() if key != TARGET}}
