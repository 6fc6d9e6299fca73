"""Is training waiting for its data, and what would help? In words."""

from __future__ import annotations

from dataclasses import dataclass

_HINT_ABOVE = 0.25  # of the time: below it more workers gain little


@dataclass(slots=True)
class DataWaitMeter:
    """Seconds of training steps and how much of them was spent waiting for data, over log lines.

    The first line is left out where there are others: the workers were starting.
    """

    lines: int = 0
    waited: float = 0.0
    total: float = 0.0

    def add(self, waited: float, total: float) -> None:
        """Mean seconds a step of one log line."""
        if self.lines == 1:
            self.waited = self.total = 0.0
        self.lines += 1
        self.waited += waited
        self.total += total

    @property
    def share(self) -> float:
        return self.waited / self.total if self.total else 0.0


def verdict(share: float, *, workers: int, cores: int) -> str:
    """What ``share`` of the time spent waiting for data means and what to do; "" where there is nothing to do.

    Args:
        share: 0..1.
        workers: processes that make samples (0: the training process makes them itself).
        cores: that this process may use.
    """
    if share < _HINT_ABOVE:
        return ""
    begin = f"waiting for data {share:.0%} of the time: "
    if workers == 0:
        return begin + "data.num_workers=0 makes samples between the steps; leave it to null (one worker a core)"
    if workers < cores:
        return begin + f"raise data.num_workers ({workers} now, {cores} cores are there)"
    return begin + (
        f"all {cores} cores make samples, so each must cost less: store the videos smaller (short side near the "
        "pipeline's) or with more key frames, take fewer or nearer frames, or more cores"
    )
