"""Try the overrides that might raise the speed of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import format_bytes
from vexp.tools.bench.advice import PROXIES, Candidate, Trial, candidates
from vexp.tools.bench.measure import STEP, Measurement, Speeds
from vexp.tools.bench.proxies import with_proxies

_SLOW_STEP = 2.0  # seconds
_PAIRS = 2  # measurements of a trial, without and with the override, if there is time


class Trials:
    """Trials of overrides with a run, within a time.

    Attributes:
        untried: The overrides for which there was no time.
        failed: Why a run with an override is not possible, by the override.
    """

    def __init__(self, run: Measurement, speeds: Speeds, compose: Callable[[str], Config], folder: Path) -> None:
        """Create the trials; ``compose`` returns the config with one more override, ``folder`` is for proxies."""
        self.run, self.speeds, self.compose, self.folder = run, speeds, compose, folder
        self.untried: list[str] = []
        self.failed: dict[str, str] = {}

    def measure(self, seconds: float) -> list[Trial]:
        """Return the trials of all candidates, as far as the time suffices: equal times, but twice for proxies."""
        chosen, trials, end = candidates(self.run, self.speeds.limit), list[Trial](), time.perf_counter() + seconds
        shares = [2 if candidate == PROXIES else 1 for candidate in chosen]
        for number, candidate in enumerate(chosen):
            left = end - time.perf_counter()
            if left < self._shortest():
                self.untried.append(candidate.override)
                continue
            try:
                trials.append(self._try(candidate, left * shares[number] / sum(shares[number:])))
            except UserError as error:  # for example, not enough memory, or a batch that is larger than the data set
                self.failed[candidate.override] = str(error)
        return trials

    @property
    def _is_slow(self) -> bool:
        """Whether to time the step alone: loading samples keeps up with slow steps, and would take time."""
        return self.speeds.limit == STEP and self._step_seconds > _SLOW_STEP

    @property
    def _step_seconds(self) -> float:
        return self.run.exp.plan.samples_per_step / self.speeds.step

    def _shortest(self) -> float:
        """Return the seconds of one measurement without and one with an override."""
        return 3 * self._step_seconds if self._is_slow else 2 * (self._step_seconds + self.run.overhead)

    def _try(self, candidate: Candidate, seconds: float) -> Trial:
        """Measure the run without and with an override alternately."""
        start, run, config = time.perf_counter(), self.run, self.compose(candidate.override)
        if candidate == PROXIES:
            run, other, size = with_proxies(run, self.folder, seconds / 2)
            candidate = replace(candidate, note=f"{candidate.note}; copies of about {format_bytes(round(size))}")
        else:
            other = Measurement(config)
            if config.data.cache == "proxy":
                other = other.with_source(run.exp.train_set.source)
        left = seconds - (time.perf_counter() - start)
        window = max(left / (2 * _PAIRS) - (0 if self._is_slow else self.run.overhead), left / (4 * _PAIRS))
        pairs = list[tuple[float, float]]()
        while len(pairs) < _PAIRS and (not pairs or time.perf_counter() - start < seconds * (1 - 1 / _PAIRS)):
            if self._is_slow:
                pairs.append((run.step(window), other.step(window)))
            else:
                pairs.append((run.training(window), other.training(window)))
        before, after = (sum(column) / len(column) for column in zip(*pairs, strict=True))
        return Trial(candidate, before, after, len({with_it > without for without, with_it in pairs}) == 1)
