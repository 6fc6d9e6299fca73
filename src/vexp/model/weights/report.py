"""What became of every tensor when weights were loaded."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.model.weights.matching import MatchResult
from vexp.model.weights.metadata import Metadata

_NAMED = 3  # keys named of each kind


@dataclass(frozen=True, slots=True)
class LoadReport:
    """``str()`` of it is what is printed. ``kind``: whose file it is; ``notes``: how it was come by and read."""

    source: str
    kind: str
    fit: MatchResult
    metadata: Metadata
    notes: list[str]

    @property
    def matched(self) -> list[str]:
        """Keys loaded as they are."""
        return self.fit.matched

    @property
    def reshaped(self) -> list[str]:
        """Keys loaded in another form of the same shape."""
        return list(self.fit.reshaped)

    @property
    def reinitialised(self) -> list[str]:
        """Keys of the net that keep the values they had: of another shape in the file, or not in it."""
        return list(self.fit.reinitialised)

    @property
    def ignored(self) -> list[str]:
        """Keys of the file that have no place in the net."""
        return self.fit.ignored

    @property
    def share(self) -> float:
        """Of the net's tensors that were loaded, 0..1."""
        return self.fit.share

    def warnings(self) -> list[str]:
        """What is likely not meant: layers beside the classifier that keep random values."""
        random = [key for key in self.reinitialised if key not in self.fit.heads]
        if not random:
            return []
        return [
            f"{len(random)} tensors beside the classifier are not in the file and keep their values: {_some(random)}"
        ]

    def details(self) -> str:
        """A line a kind, with the count and the first names."""
        rows = (
            ("matched", self.matched),
            ("reshaped", [f"{key} ({why})" for key, why in self.fit.reshaped.items()]),
            ("re-initialised", [f"{key} ({why})" for key, why in self.fit.reinitialised.items()]),
            ("ignored", self.ignored),
        )
        return "\n".join(f"  {name:14} {len(keys):4}  {_some(keys)}".rstrip() for name, keys in rows)

    def __str__(self) -> str:
        notes = "; ".join([f"a {self.kind} file" if self.kind != "plain" else "a state dict", *self.notes])
        lines = [f"weights from {self.source} ({notes}): {self.fit.fitting} of {self.fit.counted} tensors fit"]
        lines.append(self.details())
        lines += [f"  {line}" for line in self.metadata.lines()]
        lines += [f"  warning: {warning}" for warning in self.warnings()]
        return "\n".join(lines)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (" ..." if len(keys) > _NAMED else "")
