"""Running averages over the last steps, kept on the device: one synchronization per log line."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

_HISTORY = 50  # steps


@dataclass(slots=True)
class DeferredTop1:
    """Top-1 accuracy of a step that is computed when a line is logged, to save a tenth of the step of a small model."""

    logits: list[torch.Tensor] = field(default_factory=list)  # (n, classes) of each batch, on the device
    labels: list[torch.Tensor] = field(default_factory=list)  # int64 (n,) of each batch, on the device
    weight: float = 1.0  # of this process's clips among those of all; 1 if every process has as many


Value = float | torch.Tensor | DeferredTop1
Row = tuple[int, int, dict[str, Any]]  # (step, samples, Value by name)


class Meter:
    """Average of values over the last steps, each step weighted by its number of samples.

    The window is ``window`` steps long (mmcv's rule). It restarts with ``restart`` (at the beginning of an epoch), and
    with every ``mean`` if ``reset`` is set.

    In a run of several processes ``all_reduce_mean`` maps numbers of this process to their means over all processes.
    It is called once for the values of each step, when they are first read: all processes must read them together.
    """

    def __init__(
        self, window: int, *, reset: bool, all_reduce_mean: Callable[[list[float]], list[float]] | None = None
    ) -> None:
        self.window = window
        self.reset = reset
        self._all_reduce_mean = all_reduce_mean
        self._reduced = 0  # the last step whose values are means over the processes
        self._rows: list[Row] = []
        self._history: deque[Row] = deque(maxlen=_HISTORY)  # also the rows that have left the window

    def add(self, step: int, samples: int, values: dict[str, Value]) -> None:
        """Add the values of an optimizer step (1-based); tensors are detached scalars and stay on their device."""
        self._rows.append((step, samples, values))
        self._history.append(self._rows[-1])
        del self._rows[: -self.window]

    def add_to_last(self, name: str, value: float) -> None:
        """Increase a value of the last step, a number."""
        self._rows[-1][2][name] += value

    def restart(self) -> None:
        """Begin a new window."""
        self._rows.clear()

    def mean(self) -> dict[str, float]:
        """Return the weighted mean of each value over the steps that have it."""
        self._fetch(self._rows)
        sums: dict[str, float] = {}
        weights: dict[str, int] = {}
        for _, samples, values in self._rows:
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * samples
                weights[name] = weights.get(name, 0) + samples
        if self.reset:
            self.restart()
        return {name: total / weights[name] for name, total in sums.items()}

    def samples_per(self, name: str) -> float:
        """Return the samples of the window divided by the sum of a value; for a time, samples per second."""
        self._fetch(self._rows)
        total = sum(float(values[name]) for _, _, values in self._rows)
        return sum(samples for _, samples, _ in self._rows) / total

    def first_not_finite(self, name: str) -> int | None:
        """Return the first step in the window whose value is NaN or infinite; steps without the value are ignored."""
        self._fetch(self._rows)
        return next((step for step, _, values in self._rows if not math.isfinite(float(values.get(name, 0)))), None)

    def history(self) -> list[tuple[int, int, dict[str, float]]]:
        """Return (step, samples, values) of the last 50 steps of this process, oldest first, whatever the window."""
        self._fetch(self._history)
        return [(step, samples, {k: float(v) for k, v in values.items()}) for step, samples, values in self._history]

    def state_dict(self) -> dict[str, Any]:
        self._fetch(self._rows)
        return {"rows": [[step, samples, dict(values)] for step, samples, values in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows = [(step, samples, dict(values)) for step, samples, values in state["rows"]]
        self._reduced = self._rows[-1][0] if self._rows else 0

    def _fetch(self, rows: Iterable[Row]) -> None:
        """Replace values by numbers, and those of steps that were not yet reduced by means over the processes."""
        rows = list(rows)
        _copy_to_cpu(rows)
        pending = [values for step, _, values in rows if step > self._reduced]
        if self._all_reduce_mean is not None and pending:
            means = iter(self._all_reduce_mean([float(value) for values in pending for value in values.values()]))
            for values in pending:
                values.update({name: next(means) for name in values})
            self._reduced = rows[-1][0]


def _copy_to_cpu(rows: list[Row]) -> None:
    """Replace values on the device by numbers, with one copy to the CPU for each kind."""
    cells = [(values, name, value) for _, _, values in rows for name, value in values.items()]
    scalars = [cell for cell in cells if isinstance(cell[2], torch.Tensor)]
    if scalars:
        fetched = torch.stack([value for _, _, value in scalars]).tolist()
        for (values, name, _), number in zip(scalars, fetched, strict=True):
            values[name] = number
    counts = [cell for cell in cells if isinstance(cell[2], DeferredTop1)]
    if counts:
        logits = torch.cat([part for _, _, value in counts for part in value.logits])
        labels = torch.cat([part for _, _, value in counts for part in value.labels])
        right = iter((logits.argmax(1) == labels).tolist())
        for values, name, value in counts:
            clips = sum(map(len, value.labels))
            values[name] = sum(islice(right, clips)) / clips * value.weight
