"""Division of samples into optimizer steps; pure arithmetic, so that the length of a run is known without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)  # without slots, for the properties that every step reads
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

    @cached_property
    def samples_per_batch(self) -> int:
        """Samples in a batch, over all processes."""
        return self.batch_size * self.world_size

    @cached_property
    def samples_per_step(self) -> int:
        """Samples in an optimizer step, over all processes."""
        return self.samples_per_batch * self.accumulate

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        complete, remaining = divmod(self.num_samples, self.samples_per_step)
        return complete + (remaining > 0 and not self.drop_last)

    def summary(self) -> dict[str, int]:
        """Return the numbers that determine which samples an optimizer step sees; they are saved in checkpoints."""
        return {name: getattr(self, name) for name in ("num_samples", "samples_per_step", "steps_per_epoch")}

    def batch_sizes(self, step: int) -> list[int]:
        """Return the sizes of the batches of an optimizer step (0-based, in any epoch), over all processes."""
        start = step % self.steps_per_epoch * self.samples_per_step
        size = min(self.samples_per_step, self.num_samples - start)
        return [min(self.samples_per_batch, size - done) for done in range(0, size, self.samples_per_batch)]

    def part(self, size: int, rank: int) -> slice:
        """Return the samples that process ``rank`` takes of a batch of ``size``.

        The parts are equal, except that the first ones may be one sample longer; a part is empty if there are more
        processes than samples.
        """
        return slice(*(-(-size * index // self.world_size) for index in (rank, rank + 1)))

    def own(self, size: int, rank: int) -> int:
        """Return the length of the part of process ``rank``."""
        return len(range(size)[self.part(size, rank)])
