"""When things happen in a run of known length. Torch-free: plan and explain say before a run what the loop will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vexp.config.schema import Config
from vexp.data.loading.step_plan import StepPlan


def step_plan(config: Config, num_samples: int) -> StepPlan:
    """How an epoch of so many training samples divides into steps."""
    data = config.data
    return StepPlan(num_samples, data.batch_size, config.grad.accumulate, data.train.drop_last, config.dist.nproc)


def total_steps(config: Config, plan: StepPlan) -> int:
    """Optimizer steps of the whole run."""
    return config.max_steps or (config.epochs or 0) * plan.steps_per_epoch


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps at which a run evaluates, saves and logs. Steps count completed optimizer steps, from 1.

    ``validates``: whether there is a validation split.
    """

    config: Config
    plan: StepPlan
    total_steps: int
    validates: bool

    @property
    def per_epoch(self) -> int:
        return self.plan.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs begun by the last step."""
        return -(-self.total_steps // self.per_epoch)

    def evaluations(self) -> list[int]:
        every, at_end = self.config.eval.every(), self.config.eval.at_end
        due = [s for s in self._steps() if every.due(s, self.per_epoch) or (s == self.total_steps and at_end)]
        return due if self.validates else []

    def checkpoints(self) -> list[int]:
        """Of the periodic ones and the last; the best is written beside them."""
        every, last = self.config.checkpoint.every(), self.config.checkpoint.save_last
        return [s for s in self._steps() if every.due(s, self.per_epoch) or (s == self.total_steps and last)]

    def log_lines(self) -> list[int]:
        return [s for s in self._steps() if self.config.log.due(s, self.per_epoch)]

    def warnings(self) -> list[str]:
        """What will not happen in this run although it is asked for."""
        config, found = self.config, []
        log, counted = config.log, min(self.per_epoch, self.total_steps) if config.log.by_epoch else self.total_steps
        if not any(log.due(step, self.per_epoch) for step in range(1, counted + 1)):
            what, mending = f"the run has {counted} steps", "choose a smaller one"
            if log.interval <= self.total_steps:
                what, mending = f"an epoch has {counted} steps", "log.by_epoch=false counts on over epochs"
            found.append(f"log.interval={log.interval}: {what}, so no training line is written; {mending}")
        for key, by_epoch, wanted in (
            ("eval.start", config.eval.by_epoch, config.eval.start),
            ("eval.interval", config.eval.by_epoch, config.eval.interval),
            ("checkpoint.interval", config.checkpoint.by_epoch, config.checkpoint.interval),
        ):
            length, unit = (self.total_steps // self.per_epoch, "epochs") if by_epoch else (self.total_steps, "steps")
            if wanted is not None and wanted > length:
                after = f"{length} {unit if length != 1 else unit[:-1]}"
                found.append(f"{key}={wanted}: the run ends after {after}, before it comes due")
        return found

    def in_words(self, steps: Sequence[int]) -> str:
        """``12: after epochs 1, 2, 3 ... 12``, or after steps where they fall inside of epochs."""
        if not steps:
            return "none"
        whole = all(step % self.per_epoch == 0 for step in steps)
        numbers = [step // self.per_epoch if whole else step for step in steps]
        shown = [str(number) for number in (numbers if len(numbers) <= 8 else [*numbers[:4], "...", *numbers[-2:]])]
        unit = ("epoch" if whole else "step") + "s" * (len(steps) > 1)
        return f"{len(steps)}: after {unit} {', '.join(shown).replace(', ...,', ' ...')}"

    def _steps(self) -> range:
        return range(1, self.total_steps + 1)
