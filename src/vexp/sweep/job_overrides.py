"""The overrides of the jobs of a sweep, and the names of their folders."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Sweep, ValueType

from vexp.config.hydra_versions import MAX_VALUES, overrides_parser, written_out
from vexp.config.overrides import as_typed, group_options
from vexp.config.provenance import override_key
from vexp.core.errors import UserError, shorten, without_secrets

MAX_JOBS = MAX_VALUES  # of a sweep, and values of a key
_LONGEST_NAME = 100  # characters of the readable part; file systems allow 255 bytes
#: Overrides that define where and how jobs run, not what they compute.
_NOT_OF_A_JOB = re.compile(r"^[+~]*(hydra[./]|sweep[.=]|out_root=)")


@dataclass(frozen=True, slots=True)
class OptionNames:
    """Names of the options of a group, for ``glob(...)``.

    Hydra's own loader leaves out the folders of ``hydra.searchpath``, where those of the user are (hydra issue 3278).

    Attributes:
        folders: Folders in which options are looked for.
        loader: Hydra's loader, for groups of Hydra.
    """

    folders: Sequence[Path]
    loader: Any

    def get_group_options(self, group: str, *arguments: Any, **options: Any) -> list[str]:
        """Return the names, sorted."""
        names: list[str] = group_options(group, self.folders)
        return names or self.loader.get_group_options(group, *arguments, **options)


@dataclass(frozen=True, slots=True)
class SweepOverrides:
    """Overrides that are the same in every job (``fixed``), and those with several values or a range (``swept``)."""

    fixed: list[str]
    swept: list[Override]

    @classmethod
    def parse(cls, overrides: Sequence[str], loader: Any) -> SweepOverrides:
        """Parse overrides with Hydra's grammar; ``loader`` lists the options of ``glob(...)``.

        If a swept key has several overrides, the last one counts, as on every command line.
        """
        parsed = [
            (override_key(override.get_key_element()), override)
            for override in overrides_parser(loader).parse_overrides(list(overrides))
        ]
        last = dict(parsed)
        swept = {key for key, override in parsed if override.is_sweep_override()}
        kept = [override for key, override in parsed if key not in swept or override is last[key]]
        fixed = [str(override.input_line) for override in kept if not override.is_sweep_override()]
        return cls(fixed, [override for override in kept if override.is_sweep_override()])

    @property
    def keys(self) -> list[str]:
        """The swept keys, as named in the config."""
        return [override_key(override.get_key_element()) for override in self.swept]

    def grid(self) -> list[list[str]]:
        """Return the overrides of every job, the last key changing fastest; a value that is given twice counts once.

        Raises:
            UserError: If a key is swept over an interval or has no values, or there are more than ``MAX_JOBS``.
        """
        axes = [dict.fromkeys(values(override)) for override in self.swept]
        if (count := math.prod(map(len, axes))) > MAX_JOBS:
            sizes = " x ".join(str(len(axis)) for axis in axes)
            raise UserError(f"the sweep has {sizes} = {count:,} jobs, more than {MAX_JOBS:,}")
        return [[*self.fixed, *job] for job in itertools.product(*axes)]

    def name(self) -> str:
        """Return the default folder name of a sweep: its swept keys, and a digest of the fixed overrides.

        More values of a key extend the same sweep; another fixed override makes another sweep.
        """
        readable = _safe("_x_".join(sorted(self.keys))) or "one_job"
        fixed = [override for override in self.fixed if not _NOT_OF_A_JOB.match(override)]
        return readable + (f"-{digest(fixed)}" if fixed else "")


def values(override: Override) -> list[str]:
    """Return ``KEY=VALUE`` for every value of a swept override.

    Raises:
        UserError: If the override is an interval, which has no list of values, has no value or more than ``MAX_JOBS``,
            or a function such as ``range(...)`` is one of its values.
    """
    typed = shorten(as_typed([str(override.input_line)])[0], 200)
    if not override.is_discrete_sweep():
        raise UserError(f"{typed}: a grid needs values, a,b,c or range(...); hydra/sweeper=optuna accepts intervals")
    choice: Any = override.value()
    if isinstance(choice, ChoiceSweep) and any(isinstance(item, Sweep) for item in choice.list):
        raise UserError(f"{typed}: functions such as range(...) cannot be among several values; write the values out")
    if isinstance(choice, RangeSweep):
        choice = written_out(choice)
        override = replace(override, _value=choice, value_type=ValueType.CHOICE_SWEEP)
    if isinstance(choice, ChoiceSweep) and len(choice.list) > MAX_JOBS:
        raise UserError(f"{typed}: has more than {MAX_JOBS:,} values")
    listed = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not listed:
        raise UserError(f"{typed}: has no value, so the sweep has no job")
    return listed


def job_label(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the swept overrides of a job, as typed but for passwords."""
    return without_secrets(" ".join(_swept(overrides, keys))) or "the only job"


def job_name(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the folder name of a job: its swept overrides with shortened keys, then a digest of all its overrides.

    The name has safe characters and bounded length; the digest alone identifies the job.
    """
    swept = sorted(_swept(overrides, keys))
    parts = [f"{_shortest(override_key(override), keys)}={override.partition('=')[2]}" for override in swept]
    return (_safe("_".join(parts)) or "job") + f"-{digest(overrides)}"


def digest(overrides: Sequence[str]) -> str:
    """Return eight hexadecimal digits that identify what a job computes, independent of the order of its overrides."""
    text = "\n".join(sorted(as_typed(override for override in overrides if not _NOT_OF_A_JOB.match(override))))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _swept(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    return as_typed(override for override in overrides if override_key(override) in keys)


def _shortest(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key, or the whole key if another swept key has the same last part."""
    last, *others = (re.split(r"[./@]", name)[-1] for name in (key, *keys))
    return last if others.count(last) == 1 else key


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text)[:_LONGEST_NAME]
