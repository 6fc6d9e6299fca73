"""The steps after which a run evaluates, saves and logs.

The loop, ``vexp plan`` and ``vexp explain`` ask the same functions, which need no torch. ``vexp.core.interval`` has the
rule of an interval, ``vexp.evaluation.config`` and ``vexp.checkpoint.config`` have the options.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

from vexp.config.schema import Config
from vexp.core.log import plural
from vexp.data.loading.step_plan import ListPlan, StepPlan

_MAX_CHECKED = 1000  # steps of a schedule; they repeat, so that the first ones show whether all are ends of epochs


def step_plan(config: Config, num_samples: int) -> StepPlan:
    """Return how an epoch of ``num_samples`` training samples is divided into steps."""
    data, train = config.data, config.data.train
    sizes = tuple(train.batch_sizes or [data.batch_size] * len(train.ann_files))
    common = num_samples, data.batch_size, config.grad.accumulate, train.drop_last, config.dist.nproc
    if train.mix == "samples":
        return StepPlan(*common)
    ratio = tuple(int(share) for share in train.ratio or [1] * len(sizes))
    return ListPlan(num_samples, sizes[0], *common[2:], sizes=sizes, ratio=ratio, together=train.mix == "losses")


def total_steps(config: Config, plan: StepPlan) -> int:
    """Return the number of optimizer steps of the whole run."""
    return config.max_steps or (config.epochs or 0) * plan.steps_per_epoch


class Steps(Sequence[int]):
    """Increasing steps, given by a function that counts them, so that those of a long run need no list."""

    def __init__(self, count: Callable[[int], int], total: int) -> None:
        """Take ``count(step)``, the number of steps up to and including ``step``, for those up to ``total``."""
        self._count, self._total = count, total

    def __len__(self) -> int:
        return self._count(self._total)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        indices = range(len(self))[index]
        if isinstance(indices, range):
            return [self[i] for i in indices]
        return bisect_left(range(self._total), indices + 1, key=self._count)


@dataclass
class Schedule:
    """The steps after which a run of known length evaluates, saves and logs.

    A step is the number of completed optimizer steps: 1 after the first one. ``validates`` is whether there is a
    validation split.
    """

    config: Config
    plan: StepPlan
    total_steps: int
    validates: bool

    def __post_init__(self) -> None:
        self._evaluation, self._checkpoint = self.config.eval.every(), self.config.checkpoint.every()

    @property
    def per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.plan.steps_per_epoch

    def evaluates_before(self, step: int) -> bool:
        """Return whether a run that starts after ``step`` steps evaluates before it trains."""
        return self.validates and self.config.eval.before_training(step, self.per_epoch)

    def evaluates_after(self, step: int) -> bool:
        """Return whether an evaluation follows ``step``: by ``eval.interval``, or as the last one (``eval.at_end``)."""
        is_last = step == self.total_steps
        is_due = self._evaluation.due(step, self.per_epoch) or (is_last and self.config.eval.at_end)
        return self.validates and is_due

    def saves_after(self, step: int, *, early_stopped: bool = False) -> bool:
        """Return whether a periodic checkpoint, or that of the last step, follows ``step``.

        Best checkpoints, and those of an interrupted run, are written in addition.
        """
        is_last = early_stopped or step == self.total_steps
        return self._checkpoint.due(step, self.per_epoch) or (is_last and self.config.checkpoint.save_last)

    def logs_after(self, step: int) -> bool:
        """Return whether a log line follows ``step``."""
        return self.config.log.due(step, self.per_epoch)

    def evaluations(self) -> Steps:
        """Return the steps after which the run evaluates."""
        return self._steps(self._evaluation.count, self.evaluates_after) if self.validates else Steps(lambda _: 0, 0)

    def checkpoints(self) -> Steps:
        """Return the steps after which a checkpoint is written; best checkpoints are not known in advance."""
        return self._steps(self._checkpoint.count, self.saves_after)

    def log_lines(self) -> Steps:
        """Return the steps after which a log line is written."""
        return self._steps(self.config.log.count, self.logs_after)

    def _steps(self, count: Callable[[int, int], int], happens_after: Callable[[int], bool]) -> Steps:
        """Return the steps that ``count`` counts, and the last step of the run if it ``happens_after`` that."""
        total, per_epoch = self.total_steps, self.per_epoch
        before = count(total - 1, per_epoch)
        end = before + happens_after(total)
        return Steps(lambda step: count(step, per_epoch) if step < total else end, total)

    def warnings(self) -> dict[str, str]:
        """Return warnings about settings that have no effect in a run of this length, by key."""
        config, log, warnings = self.config, self.config.log, dict[str, str]()
        counted = min(self.per_epoch, self.total_steps) if log.by_epoch else self.total_steps
        if not log.count(counted, self.per_epoch):
            reason, fix = f"the run has {plural(counted, 'step')}", "choose a smaller interval"
            if log.interval <= self.total_steps:
                reason, fix = f"an epoch has {plural(counted, 'step')}", "log.by_epoch=false counts across epochs"
            text = f"log.interval={log.interval}: {reason}, so no training line is written; {fix}"
            warnings["log.interval"] = text
        for group, name in (("eval", "start"), ("eval", "interval"), ("checkpoint", "interval")):
            options, key = getattr(config, group), f"{group}.{name}"
            by_epoch, value = options.by_epoch, getattr(options, name)
            length, unit = (self.total_steps // self.per_epoch, "epoch") if by_epoch else (self.total_steps, "step")
            if value is not None and value > length:
                warnings[key] = f"{key}={value}: never reached, the run ends after {plural(length, unit)}"
        return warnings

    def length_text(self) -> str:
        """Describe the length of the run: ``8 optimizer steps = 2 epochs of 4 steps``."""
        epochs = self.total_steps / self.per_epoch
        unit = "epoch" if epochs == 1 else "epochs"
        return f"{plural(self.total_steps, 'optimizer step')} = {epochs:g} {unit} of {plural(self.per_epoch, 'step')}"

    def step_text(self) -> str:
        """Describe the samples of a step: ``8 samples per step (batch 2 x accumulate 2 x 2 processes)``."""
        plan, repeats = self.plan, self.config.data.train.repeat_augment
        if isinstance(plan, ListPlan):
            sizes = (str(size * plan.accumulate * plan.world_size * repeats) for size in plan.sizes)
            lists = ("+", "each list") if plan.together else ("or", "one list, in turn")
            return f"{f' {lists[0]} '.join(sizes)} samples per step, of {lists[1]}"
        samples = plural(min(plan.samples_per_step, plan.num_samples) * repeats, "sample")
        accumulated = f" x accumulate {plan.accumulate}" if plan.accumulate > 1 else ""
        processes = f" x {plural(plan.world_size, 'process')}" if plan.world_size > 1 else ""
        repeated = f" x {plural(repeats, 'repeat')}" if repeats > 1 else ""
        factors = f"{accumulated}{processes}{repeated}"
        factors = f" (batch {plan.batch_size}{factors})" if factors else ""
        return f"{samples} per step{factors}"

    def describe_steps(self, steps: Sequence[int]) -> str:
        """Describe steps as ``12: after epochs 1, 2, 3 ... 12``, or by step if they are not all ends of epochs."""
        if not steps:
            return "none"
        by_epoch = all(step % self.per_epoch == 0 for step in islice(steps, _MAX_CHECKED))
        listed = [*steps] if len(steps) <= 8 else [*steps[:4], *steps[-2:]]
        shown = [str(step // self.per_epoch if by_epoch else step) for step in listed]
        shown[4:4] = ["..."] if len(steps) > 8 else []
        unit = ("epoch" if by_epoch else "step") + "s" * (len(steps) > 1)
        return f"{len(steps)}: after {unit} {', '.join(shown).replace(', ...,', ' ...')}"
