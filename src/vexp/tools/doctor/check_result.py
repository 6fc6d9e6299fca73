"""One line of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found about one thing.

    Attributes:
        name: of the thing.
        status: ok, warning (works, but) or missing (cannot be used).
        text: in words.
        fix: the one command or setting that would mend it; empty where there is none.
        needed: vexp cannot train while it is missing.
        values: the same in numbers, for ``--json``.
    """

    name: str
    status: str
    text: str
    fix: str = ""
    needed: bool = False
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether vexp cannot train for it."""
        return self.needed and self.status == MISSING

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def problem(name: str, error: BaseException | str, *, fix: str = "", needed: bool = False) -> CheckResult:
    """Something that failed, in the first line of its own words."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    first = next((line for line in text.splitlines() if line.strip()), text)
    return CheckResult(name, MISSING, first[:200], fix, needed)
