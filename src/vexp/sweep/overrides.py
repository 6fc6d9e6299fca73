"""The words of a sweep: which of them are swept, the cells they span, and the names that follow from them."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from vexp.config.overrides import as_typed
from vexp.config.provenance import override_key
from vexp.core.errors import UserError

_LONGEST_NAME = 100  # of the readable part; file systems take 255 bytes
#: What says where and how jobs run, not what they compute.
_NOT_OF_A_JOB = re.compile(r"^[+~]*(hydra[./]|sweep[.=]|out_root=)")


@dataclass(frozen=True, slots=True)
class SweepOverrides:
    """``fixed``: the same in every job; ``swept``: those with several values or a range."""

    fixed: list[str]
    swept: list[Override]

    @classmethod
    def parse(cls, words: Sequence[str], loader: Any) -> SweepOverrides:
        """Read overrides with Hydra's grammar; ``loader`` lists the options of ``glob(...)``. Of several words for a
        key that one of them sweeps, the last counts, as on every command line."""
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
        last = {override_key(override.get_key_element()): override for override in overrides}
        swept = {override_key(override.get_key_element()) for override in overrides if override.is_sweep_override()}
        overrides = [o for o in overrides if (key := override_key(o.get_key_element())) not in swept or o is last[key]]
        fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        return cls(fixed, [override for override in overrides if override.is_sweep_override()])

    @property
    def keys(self) -> list[str]:
        """The swept keys, as they are named in the config."""
        return [override_key(override.get_key_element()) for override in self.swept]

    def grid(self) -> list[list[str]]:
        """The overrides of every cell, the last key changing fastest; a value given twice counts once.

        Raises:
            UserError: a key is swept over a range without steps.
        """
        axes = [list(dict.fromkeys(values(override))) for override in self.swept]
        return [[*self.fixed, *cell] for cell in itertools.product(*axes)]

    def name(self) -> str:
        """The folder of a sweep that nobody named: its swept keys, and a digest of the words that do not change.

        More values of a key make the same sweep larger, another fixed word makes another sweep.
        """
        fixed = [word for word in self.fixed if not _NOT_OF_A_JOB.match(word)]
        readable = _safe("_x_".join(sorted(self.keys))) or "one_job"
        return readable + (f"-{digest(fixed)}" if fixed else "")


def values(override: Override) -> list[str]:
    """``KEY=VALUE`` for every value of a swept word.

    Raises:
        UserError: an interval has no list of values.
    """
    key = override.get_key_element()
    if not override.is_discrete_sweep():
        word = as_typed([str(override.input_line)])[0]
        raise UserError(f"{word}: a grid needs values, a,b,c or range(...); a search takes it: hydra/sweeper=optuna")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def label(words: Sequence[str], keys: Sequence[str]) -> str:
    """The words of a job that tell it from its neighbours, as they were typed."""
    return " ".join(as_typed(word for word in words if override_key(word) in keys)) or "the only job"


def job_name(words: Sequence[str], keys: Sequence[str]) -> str:
    """The folder name of a job: its swept words with the last parts of their keys, then a digest of all its words.

    Safe characters, of bounded length; the digest alone tells jobs apart.
    """
    swept = sorted(as_typed(word for word in words if override_key(word) in keys))
    shown = [f"{_shortest(override_key(word), keys)}={word.partition('=')[2]}" for word in swept]
    return (_safe("_".join(shown)) or "job") + f"-{digest(words)}"


def digest(words: Sequence[str]) -> str:
    """Eight hexadecimal digits of what a job computes, whatever the order of its words."""
    text = "\n".join(sorted(as_typed(word for word in words if not _NOT_OF_A_JOB.match(word))))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _shortest(key: str, keys: Sequence[str]) -> str:
    """The last part of a key; all of it where another swept key ends alike."""
    last = re.split(r"[./@]", key)[-1]
    return last if sum(re.split(r"[./@]", other)[-1] == last for other in keys) == 1 else key


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text)[:_LONGEST_NAME]
