"""The result of one check: one line of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: Name of the checked item.
        status: ``ok``, ``warning`` (usable with restrictions) or ``missing`` (unusable).
        text: Description of the result.
        fix: The command or setting that fixes the problem; empty if there is none.
        needed: Whether training is impossible while the item is missing.
        values: The measured values, for ``--json``.
    """

    name: str
    status: str
    text: str
    fix: str = ""
    needed: bool = False
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def prevents_training(self) -> bool:
        return self.needed and self.status == MISSING

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def failure(name: str, error: BaseException | str, *, fix: str = "", needed: bool = False) -> CheckResult:
    """Return the result of a check that failed, described by the first line of its error message."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    first_line = next((line for line in text.splitlines() if line.strip()), text)
    return CheckResult(name, MISSING, first_line[:200], fix, needed)
