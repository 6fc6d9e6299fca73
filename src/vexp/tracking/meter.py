"""Averages over the last steps, kept on the device: one synchronisation a log line."""

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
    """The share of clips whose highest logit is their label, counted when a line is logged: counting it at once would
    be a tenth of a small net's step. ``logits``: (n, classes) and ``labels``: int64 (n,) of each batch, on the device.
    ``weight``: of this process's clips among those of all, 1 where it has as many as the others.
    """

    logits: list[torch.Tensor] = field(default_factory=list)
    labels: list[torch.Tensor] = field(default_factory=list)
    weight: float = 1.0


Value = float | torch.Tensor | DeferredTop1
Row = tuple[int, int, dict[str, Any]]  # (step, samples, Value by name)


class Meter:
    """Values of the latest steps, each weighted by its number of samples.

    ``window`` steps are averaged (mmcv's rule). The window restarts with ``restart`` (an epoch begins), and with every
    ``mean`` where ``reset`` is set.

    Where several processes share a run, ``over_processes`` takes numbers of this one and gives their means over all of
    them. It is called once for each step's values, when they are first asked for: all must then ask alike.
    """

    def __init__(
        self, window: int, *, reset: bool, over_processes: Callable[[list[float]], list[float]] | None = None
    ) -> None:
        self.window = window
        self.reset = reset
        self._over_processes = over_processes
        self._shared = 0  # the last step whose values are means over the processes
        self._rows: list[Row] = []
        self._history: deque[Row] = deque(maxlen=_HISTORY)  # the same rows, and those that have left the window

    def add(self, step: int, samples: int, values: dict[str, Value]) -> None:
        """Values of optimizer step ``step`` (1-based); a tensor is a scalar without a graph and stays on its device."""
        row = (step, samples, values)
        self._rows.append(row)
        self._history.append(row)
        del self._rows[: -self.window]

    def restart(self) -> None:
        self._rows.clear()

    def mean(self) -> dict[str, float]:
        """The weighted mean of each value; a value that only some steps have is averaged over those."""
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
        """Samples of the window divided by the sum of a value: samples a second, of a time."""
        self._fetch(self._rows)
        total = sum(float(values[name]) for _, _, values in self._rows)
        return sum(samples for _, samples, _ in self._rows) / total

    def first_not_finite(self, name: str) -> int | None:
        """The earliest step in the window whose value is NaN or infinite; a step without the value is passed over."""
        self._fetch(self._rows)
        return next((step for step, _, values in self._rows if not math.isfinite(float(values.get(name, 0)))), None)

    def history(self) -> list[tuple[int, int, dict[str, float]]]:
        """(step, samples, values) of the last 50 steps of this process, whatever the window; oldest first."""
        self._fetch(self._history)
        return [(step, samples, {k: float(v) for k, v in values.items()}) for step, samples, values in self._history]

    def state_dict(self) -> dict[str, Any]:
        self._fetch(self._rows)
        return {"rows": [[step, samples, dict(values)] for step, samples, values in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows = [(step, samples, dict(values)) for step, samples, values in state["rows"]]
        self._shared = self._rows[-1][0] if self._rows else 0

    def _fetch(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        _fetch(rows)
        if self._over_processes is None:
            return
        new = [values for step, _, values in rows if step > self._shared]
        if new:
            means = iter(self._over_processes([float(value) for values in new for value in values.values()]))
            for values in new:
                values.update({name: next(means) for name in values})
            self._shared = rows[-1][0]


def _fetch(rows: Iterable[Row]) -> None:
    """Bring what waits on the device to the CPU, in one copy of each kind, and leave numbers in its place."""
    rows = list(rows)
    scalars = _waiting(rows, torch.Tensor)
    if scalars:
        fetched = torch.stack([value for _, _, value in scalars]).tolist()
        for (values, name, _), number in zip(scalars, fetched, strict=True):
            values[name] = number
    counts = _waiting(rows, DeferredTop1)
    if counts:
        logits = torch.cat([part for _, _, value in counts for part in value.logits])
        labels = torch.cat([part for _, _, value in counts for part in value.labels])
        right = iter((logits.argmax(1) == labels).tolist())
        for values, name, value in counts:
            clips = sum(len(part) for part in value.labels)
            values[name] = sum(islice(right, clips)) / clips * value.weight


def _waiting(rows: list[Row], kind: type) -> list[tuple[dict[str, Any], str, Any]]:
    return [(values, name, value) for _, _, values in rows for name, value in values.items() if isinstance(value, kind)]
