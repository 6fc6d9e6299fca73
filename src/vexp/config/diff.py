"""List the differences between two saved configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vexp.config.option_types import TARGET, TYPE, group_at, upgrade_saved
from vexp.core.errors import format_value


def diff_configs(old: dict[str, Any], new: dict[str, Any], *, leave_out: Sequence[str] = ()) -> list[str]:
    """Return the values that differ as ``optimizer.lr 0.1 -> 0.05``; of an exchanged option only its name.

    Args:
        old: A configuration as ``to_dict(config, types=True)`` of this or an earlier version returned it.
        new: The configuration to compare it with, of the same form.
        leave_out: Keys that are not compared, nor is anything below them.
    """
    return list(_differences(upgrade_saved(old), upgrade_saved(new), "", leave_out))


def _differences(old: dict[str, Any], new: dict[str, Any], path: str, leave_out: Sequence[str]) -> Iterator[str]:
    if group_at(path) is not None:
        names = [str(side.get(TARGET) or side.get(TYPE)) for side in (old, new)]
        if names[0] != names[1]:
            yield f"{path} {names[0].rpartition('.')[2]} -> {names[1].rpartition('.')[2]}"
            return
    for key in dict.fromkeys([*old, *new]):
        before, now = old.get(key), new.get(key)
        name = f"{path}.{key}" if path else key
        if before == now or name in leave_out:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, name, leave_out)
        elif isinstance(before, dict) or isinstance(now, dict):
            yield f"{name} {'added' if before is None else 'left out' if now is None else 'exchanged'}"
        else:
            yield f"{name} {format_value(before)} -> {format_value(now)}"
