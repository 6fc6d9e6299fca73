"""In what the configs of runs differ, in as few columns as tell it.

``optimizer=sgd,adamw`` changes a dozen values below ``optimizer``. Where these follow from the option, one column with
its name says it; a value that differs beyond that (``optimizer.lr``) has its own column. So two runs with equal cells
have equal configs, but for the keys of ``BOOKKEEPING``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vexp.tools.compare.runs import Run

#: Keys, with all below them, that say where a run writes and not what it computes.
BOOKKEEPING = ("out_root", "run_name", "resume", "sweep", "log", "checkpoint.out_dir", "data.cache_dir", "hydra")

#: Keys by which a config names the option of a group: ``type`` one of vexp; next to ``_target_`` it is an argument.
_OPTION_KEYS = ("_target_", "type")


@dataclass(frozen=True, slots=True)
class Column:
    """One key and its value in every run; None where a run's config does not have it."""

    key: str
    values: tuple[str | None, ...]


def columns(runs: Sequence[Run]) -> list[Column]:
    """What differs among ``runs``: first what was typed, in the order of the words, then the rest by key."""
    known = _in_order(run.config for run in runs)
    leaves = [Column(key, tuple(run.config.get(key) for run in runs)) for key in known]
    leaves = [leaf for leaf in leaves if _differs(leaf) and not below(leaf.key, BOOKKEEPING)]
    typed = [key for key in _in_order(run.words for run in runs) if not below(key, BOOKKEEPING)]
    groups = {node for key in known for node in _nodes(key)}
    options = _options(runs, leaves, [key for key in typed if key not in known], groups)

    def follows(leaf: Column, option: Column) -> bool:
        """Whether the value follows from the chosen option; an experiment or debug option reaches everywhere."""
        inside = option.key not in groups or below(leaf.key, (option.key,))
        pairs = set(zip(option.values, leaf.values, strict=True))
        return inside and leaf.key not in typed and len(pairs) == len(set(option.values))

    kept = [leaf for leaf in leaves if not any(follows(leaf, option) for option in options)]
    order = {key: place for place, key in enumerate(typed)}
    return sorted([*options, *kept], key=lambda column: (order.get(column.key, len(order)), column.key))


def below(key: str, nodes: Iterable[str]) -> bool:
    """Whether ``key`` is one of ``nodes`` or lies below one."""
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _nodes(key: str) -> list[str]:
    """``a``, ``a.b`` of ``a.b.c``."""
    parts = key.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _in_order(mappings: Iterable[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _differs(column: Column) -> bool:
    return len(set(column.values)) > 1


def _options(runs: Sequence[Run], leaves: Sequence[Column], typed: Sequence[str], groups: set[str]) -> list[Column]:
    """A column for every node of which runs have different options: those that were typed, and other classes."""
    classes = [leaf.key.rpartition(".")[0] for leaf in leaves if leaf.key.rpartition(".")[2] in _OPTION_KEYS]
    made = []
    for node in dict.fromkeys([*typed, *classes]):
        if node not in groups:  # experiment, debug
            made.append(Column(node, tuple(run.words.get(node) for run in runs)))
        elif any(below(leaf.key, (node,)) for leaf in leaves):  # else: the same values under two names
            made.append(Column(node, tuple(_names(runs, node))))
    return [column for column in made if _differs(column)]


def _names(runs: Sequence[Run], node: str) -> list[str | None]:
    """The option of every run: the word that was typed, or that another run with the same class or values typed."""
    parts = [{key: value for key, value in run.config.items() if below(key, (node,))} for run in runs]
    targets = [part.get(f"{node}._target_") or part.get(f"{node}.type") for part in parts]
    words = [run.words.get(node) for run in runs]
    by_class = _word_of_each(targets, words)
    by_values = _word_of_each([str(part) for part in parts], words)
    names: list[str | None] = []
    for part, target, word in zip(parts, targets, words, strict=True):
        name = word or by_class.get(target) or by_values.get(str(part))
        names.append((name or (target.rpartition(".")[2] if target else "default")) if part else None)
    return names


def _word_of_each(marks: Sequence[str | None], words: Sequence[str | None]) -> dict[str | None, str]:
    """mark -> the word that all runs with it typed, where it is one."""
    found: dict[str | None, set[str]] = {}
    for mark, word in zip(marks, words, strict=True):
        if mark is not None and word is not None:
            found.setdefault(mark, set()).add(word)
    return {mark: next(iter(typed)) for mark, typed in found.items() if len(typed) == 1}
