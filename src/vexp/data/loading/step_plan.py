"""Division of samples into optimizer steps; pure arithmetic, so that the length of a run is known without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple


class StepBatch(NamedTuple):
    """A batch of an optimizer step, over all processes."""

    start: int  # position of its first sample in the order of the epoch
    size: int  # number of its samples
    averaged: int  # samples of the step over which its loss is averaged
    part: int = 0  # number of the list that its samples are from; 0 if batches mix the lists


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Division of an epoch into optimizer steps, of steps into batches, and of batches among the processes of a run.

    A step consists of ``accumulate`` batches of ``world_size * batch_size`` samples. The last step of an epoch takes
    the remaining samples (with ``drop_last``, an incomplete one is dropped), so that no step mixes two epochs. One
    process with batches of 8 and two processes with batches of 4 therefore see the same samples in every step.
    """

    num_samples: int
    batch_size: int
    accumulate: int
    drop_last: bool
    world_size: int = 1

    @property
    def samples_per_batch(self) -> int:
        """Samples in a batch, over all processes."""
        return self.batch_size * self.world_size

    @property
    def samples_per_step(self) -> int:
        """Samples in an optimizer step, over all processes."""
        return self.samples_per_batch * self.accumulate

    @property
    def steps_per_pass(self) -> int:
        """Optimizer steps that ``num_samples`` take."""
        complete, remaining = divmod(self.num_samples, self.samples_per_step)
        return complete + (remaining > 0 and not self.drop_last)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.steps_per_pass

    @property
    def sections(self) -> list[int]:
        """Samples of the sections of an epoch's order, each of which is shuffled by itself."""
        return [self.num_samples]

    def summary(self) -> dict[str, int]:
        """Return the numbers that determine which samples an optimizer step sees; they are saved in checkpoints."""
        return {name: getattr(self, name) for name in ("num_samples", "samples_per_step", "steps_per_epoch")}

    def batches(self, step: int) -> list[StepBatch]:
        """Return the batches of an optimizer step (0-based, in any epoch)."""
        return _batches(0, self.num_samples, step % self.steps_per_epoch, self.samples_per_batch, self.accumulate)

    def batch_sizes(self, step: int) -> list[int]:
        """Return the sizes of the batches of an optimizer step (0-based, in any epoch), over all processes."""
        return [batch.size for batch in self.batches(step)]

    def part(self, size: int, rank: int) -> slice:
        """Return the samples that process ``rank`` takes of a batch of ``size``.

        The parts are equal, except that the first ones may be one sample longer; a part is empty if there are more
        processes than samples.
        """
        return slice(*(-(-size * index // self.world_size) for index in (rank, rank + 1)))

    def own(self, size: int, rank: int) -> int:
        """Return the length of the part of process ``rank``."""
        return len(range(size)[self.part(size, rank)])


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan(StepPlan):
    """A plan whose batches have samples of one list each; ``num_samples`` and ``batch_size`` are the first list's.

    An epoch is a pass through the first list, and as many samples of each other list as its steps take; they have a
    section each. With ``together``, a step has ``accumulate`` batches of every list. Otherwise a step is of one list:
    ``ratio[0]`` steps of the first list in turn with ``ratio[i]`` of list i, which follow the first of them (the order
    of mmaction2's OmniSourceRunner).
    """

    sizes: tuple[int, ...]  # samples in a batch of each list on each device
    ratio: tuple[int, ...]
    together: bool

    @property
    def _cycles(self) -> int:
        return -(-self.steps_per_pass // self.ratio[0])

    @property
    def steps_per_epoch(self) -> int:
        return self.steps_per_pass + (0 if self.together else self._cycles * sum(self.ratio[1:]))

    @property
    def sections(self) -> list[int]:
        steps = [self.steps_per_pass if self.together else self._cycles * share for share in self.ratio]
        per_step = [size * self.world_size * self.accumulate for size in self.sizes]
        return [self.num_samples, *(count * size for count, size in zip(steps[1:], per_step[1:], strict=True))]

    def summary(self) -> dict[str, int]:
        return {**StepPlan.summary(self), "samples_of_lists": sum(self.sections)}

    def batches(self, step: int) -> list[StepBatch]:
        sections, step = self.sections, step % self.steps_per_epoch
        starts = [0, *accumulate(sections)]
        steps = enumerate([step] * len(sections)) if self.together else [self._turn(step)]
        return [
            batch._replace(part=part)
            for part, turn in steps
            for batch in _batches(
                starts[part], sections[part], turn, self.sizes[part] * self.world_size, self.accumulate
            )
        ]

    def _turn(self, step: int) -> tuple[int, int]:
        """Return the list of a step of an epoch, and how many steps of this list precede it in the epoch."""
        first, *others = self.ratio
        cycle, place = divmod(step, sum(self.ratio))
        for part, share in enumerate(others, 1):
            if 0 < place <= share:
                return part, cycle * share + place - 1
            place -= share if place else 0
        return 0, cycle * first + place


def _batches(start: int, samples: int, step: int, per_batch: int, count: int) -> list[StepBatch]:
    """Return the batches of a step: ``count`` of ``per_batch`` samples, or fewer at the end of ``samples``."""
    done = step * per_batch * count
    total = min(per_batch * count, samples - done)
    first = start + done
    return [StepBatch(first + taken, min(per_batch, total - taken), total) for taken in range(0, total, per_batch)]
