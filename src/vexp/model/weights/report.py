"""The report of a load: what was done with every tensor."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.model.weights.matching import MatchResult
from vexp.model.weights.metadata import Metadata

_MAX_KEYS = 3  # keys listed of each kind


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The result of loading weights; ``str()`` formats it for the log."""

    source: str  # the file name or URL as given
    kind: str  # what wrote it: vexp, mmaction2, lightning, slowfast, torchvision, huggingface, or plain if unknown
    match: MatchResult
    metadata: Metadata
    notes: list[str]  # how the file was obtained and read

    @property
    def matched(self) -> list[str]:
        """Keys loaded with equal shapes."""
        return self.match.matched

    @property
    def reshaped(self) -> list[str]:
        """Keys loaded after a reshape."""
        return list(self.match.reshaped)

    @property
    def reinitialized(self) -> list[str]:
        """Keys of the model that keep their values: not in the file, or with another shape."""
        return list(self.match.reinitialized)

    @property
    def ignored(self) -> list[str]:
        """Keys of the file that are not in the model."""
        return self.match.ignored

    @property
    def share(self) -> float:
        """Fraction of the model's tensors that were loaded."""
        return self.match.share

    def warnings(self) -> list[str]:
        """Return warnings about probable mistakes: layers other than the classifier that keep their values."""
        missing = [key for key in self.reinitialized if key not in self.match.heads]
        warning = f"{len(missing)} tensors outside the classifier are not in the file and keep their values: "
        return [warning + _first_keys(missing)] if missing else []

    def details(self) -> str:
        """Format one line for each kind of result, with the count and the first keys."""
        rows = (
            ("matched", self.matched),
            ("reshaped", [f"{key} ({reason})" for key, reason in self.match.reshaped.items()]),
            ("re-initialized", [f"{key} ({reason})" for key, reason in self.match.reinitialized.items()]),
            ("ignored", self.ignored),
        )
        return "\n".join(f"  {name:14} {len(keys):4}  {_first_keys(keys)}".rstrip() for name, keys in rows)

    def __str__(self) -> str:
        notes = "; ".join([f"a {self.kind} file" if self.kind != "plain" else "a state dict", *self.notes])
        first = f"weights from {self.source} ({notes}): {self.match.matching} of {self.match.counted} tensors match"
        return "\n".join([first, self.details(), *(f"  {line}" for line in self.metadata.lines())])


def _first_keys(keys: list[str]) -> str:
    return ", ".join(keys[:_MAX_KEYS]) + (" ..." if len(keys) > _MAX_KEYS else "")
