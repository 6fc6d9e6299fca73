"""How long training waits for its data, and what would help."""

from __future__ import annotations

from dataclasses import dataclass

_HINT_ABOVE = 0.25  # share of the time; more workers gain little below it


@dataclass(slots=True)
class DataWaitMeter:
    """Share of the training time spent waiting for data, over log lines.

    The first line is ignored once there are others: the workers were starting.
    """

    lines: int = 0
    waited: float = 0.0
    total: float = 0.0

    def add(self, waited: float, total: float) -> None:
        """Add the mean seconds per step of one log line."""
        if self.lines == 1:
            self.waited = self.total = 0.0
        self.lines += 1
        self.waited += waited
        self.total += total

    @property
    def share(self) -> float:
        """Share of the time, 0..1."""
        return self.waited / self.total if self.total else 0.0


def data_wait_hint(share: float, *, workers: int, cores: int) -> str:
    """Return how to reduce the ``share`` (0..1) of the time spent waiting for data; empty if there is nothing to do.

    ``workers`` is the number of data loading workers (0: the training process makes the samples), ``cores`` the number
    of CPU cores that this process may use.
    """
    if share < _HINT_ABOVE:
        return ""
    if workers == 0:
        hint = "data.num_workers=0 makes samples between the steps; set it to null (one worker per core)"
    elif workers < cores:
        hint = f"raise data.num_workers ({workers} now, {cores} cores available)"
    else:
        hint = (
            f"all {cores} cores make samples, so each sample must be cheaper: store the videos at a smaller size "
            "(short side near the pipeline's) or with more key frames, sample fewer or closer frames, or use more cores"
        )
    return f"waiting for data {share:.0%} of the time: {hint}"
