"""What differs between two saved configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vexp.config.option_types import TARGET, TYPE, group_at, with_words
from vexp.core.errors import format_value


def diff_configs(old: dict[str, Any], new: dict[str, Any], *, leave_out: Sequence[str] = ()) -> list[str]:
    """Settings that differ, ``optimizer.lr 0.1 -> 0.05``; of an option that was exchanged only its name.

    Args:
        old, new: as ``vexp.config.instantiate.to_plain`` makes them, or as an earlier version did.
        leave_out: keys, with all below them, that do not count.
    """
    return list(_differences(with_words(old), with_words(new), "", leave_out))


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
