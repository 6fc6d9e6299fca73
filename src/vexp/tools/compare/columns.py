"""The keys in which the configs of runs differ, in as few columns as possible.

``optimizer=sgd,adamw`` changes a dozen values below ``optimizer``. Values that follow from the option have no column of
their own; others that differ (``optimizer.lr``) have one. Runs with equal cells therefore have equal configs, except
for ``NON_RESULT_KEYS``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vexp.tools.compare.runs import Run

#: Keys, including all below them, that do not affect the results of a run.
NON_RESULT_KEYS = ("out_root", "run_name", "resume", "sweep", "log", "checkpoint.out_dir", "data.cache_dir", "hydra")

#: Keys that name the option of a group: ``type`` for one of vexp; next to ``_target_`` it is an argument.
_OPTION_KEYS = ("_target_", "type")


@dataclass(frozen=True, slots=True)
class Column:
    """A key and its value in every run; None if a run's config does not have it."""

    key: str
    values: tuple[str | None, ...]

    @property
    def varies(self) -> bool:
        return len(set(self.values)) > 1


def varying_keys(runs: Sequence[Run]) -> list[Column]:
    """Return the keys that vary among ``runs``: overridden keys in their order, then the others by name."""
    keys = _in_order(run.config for run in runs)
    leaves = [Column(key, tuple(run.config.get(key) for run in runs)) for key in keys]
    leaves = [leaf for leaf in leaves if leaf.varies and not below(leaf.key, NON_RESULT_KEYS)]
    overridden = [key for key in _in_order(run.overrides for run in runs) if not below(key, NON_RESULT_KEYS)]
    groups = {key[: dot.start()] for key in keys for dot in re.finditer(r"\.", key)}
    options = _options(runs, leaves, [key for key in overridden if key not in keys], groups)

    def follows(leaf: Column, option: Column) -> bool:
        """Return whether the value follows from the option; experiment and debug options can set any key."""
        inside = option.key not in groups or below(leaf.key, (option.key,))
        pairs = set(zip(option.values, leaf.values, strict=True))
        return inside and leaf.key not in overridden and len(pairs) == len(set(option.values))

    kept = [leaf for leaf in leaves if not any(follows(leaf, option) for option in options)]
    order = {key: place for place, key in enumerate(overridden)}
    return sorted([*options, *kept], key=lambda column: (order.get(column.key, len(order)), column.key))


def below(key: str, nodes: Iterable[str]) -> bool:
    """Return whether ``key`` is one of ``nodes`` or below one."""
    return _below(key, tuple(nodes))


@lru_cache(maxsize=1 << 16)  # thousands of runs have the same keys
def _below(key: str, nodes: tuple[str, ...]) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _in_order(mappings: Iterable[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _options(
    runs: Sequence[Run], leaves: Sequence[Column], overridden: Sequence[str], groups: set[str]
) -> list[Column]:
    """Return a column for every node whose option varies, whether overridden or visible by its class."""
    classes = [leaf.key.rpartition(".")[0] for leaf in leaves if leaf.key.rpartition(".")[2] in _OPTION_KEYS]
    options = []
    for node in dict.fromkeys([*overridden, *classes]):
        if node not in groups:  # experiment, debug
            options.append(Column(node, tuple(run.overrides.get(node) for run in runs)))
        elif any(below(leaf.key, (node,)) for leaf in leaves):  # otherwise two names of the same values
            options.append(Column(node, tuple(_names(runs, node))))
    return [column for column in options if column.varies]


def _names(runs: Sequence[Run], node: str) -> list[str | None]:
    """Return the option of every run: its override, or that of another run with the same class or values."""
    parts = [{key: value for key, value in run.config.items() if below(key, (node,))} for run in runs]
    targets = [part.get(f"{node}._target_") or part.get(f"{node}.type") for part in parts]
    overrides = [run.overrides.get(node) for run in runs]
    by_class = _unique_names(targets, overrides)
    by_values = _unique_names([str(part) for part in parts], overrides)
    names: list[str | None] = []
    for part, target, override in zip(parts, targets, overrides, strict=True):
        name = override or by_class.get(target) or by_values.get(str(part))
        names.append((name or (target.rpartition(".")[2] if target else "default")) if part else None)
    return names


def _unique_names(marks: Sequence[str | None], names: Sequence[str | None]) -> dict[str | None, str]:
    """Map each mark to the name that the runs with it have, if it is unique."""
    by_mark: dict[str | None, set[str]] = defaultdict(set)
    for mark, name in zip(marks, names, strict=True):
        if mark is not None and name is not None:
            by_mark[mark].add(name)
    return {mark: next(iter(used)) for mark, used in by_mark.items() if len(used) == 1}
