"""The result of one check: one line of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    name: str
    status: str  # OK, WARNING (usable with restrictions) or MISSING (unusable)
    text: str
    fix: str = ""  # the command or setting that fixes the problem; empty if there is none
    needed: bool = False  # training is impossible while the item is missing
    values: dict[str, Any] = field(default_factory=dict)  # measured, for ``--json``

    @property
    def prevents_training(self) -> bool:
        return self.needed and self.status == MISSING


def ok_or_warning(name: str, text: str, fix: str, **values: Any) -> CheckResult:
    """Return a warning if there is something to fix, else ok."""
    return CheckResult(name, WARNING if fix else OK, text, fix, values=values)


def failure(name: str, error: BaseException | str, *, fix: str = "", needed: bool = False) -> CheckResult:
    """Return the result of a check that failed, described by the first line of its error message."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    first_line = next((line for line in text.splitlines() if line.strip()), text)
    return CheckResult(name, MISSING, first_line[:200], fix, needed)
