"""How samples divide into optimizer steps: numbers alone, so that a run's length is known before torch is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How an epoch divides into optimizer steps, those into batches, and each batch among the processes of the run.

    A step takes ``accumulate`` batches of ``processes`` times ``batch_size`` samples; an epoch's last step takes what
    is left (with ``drop_last`` there is none unless it is whole), so that no step mixes two epochs. One process with
    batches of 8 and two with batches of 4 hence see the same samples in every step.
    """

    num_samples: int
    batch_size: int
    accumulate: int
    drop_last: bool
    processes: int = 1

    @property
    def samples_per_batch(self) -> int:
        """Of all processes together."""
        return self.batch_size * self.processes

    @property
    def samples_per_step(self) -> int:
        return self.samples_per_batch * self.accumulate

    @property
    def steps_per_epoch(self) -> int:
        whole, rest = divmod(self.num_samples, self.samples_per_step)
        return whole + (rest > 0 and not self.drop_last)

    def summary(self) -> dict[str, int]:
        """What gives a step its place in the training: with the same numbers step n sees the same samples."""
        return {
            "num_samples": self.num_samples,
            "samples_per_step": self.samples_per_step,
            "steps_per_epoch": self.steps_per_epoch,
        }

    def batch_sizes(self, step: int) -> list[int]:
        """Sizes of the batches of a step (0-based, any epoch), of all processes together."""
        start = step % self.steps_per_epoch * self.samples_per_step
        size = min(self.samples_per_step, self.num_samples - start)
        return [min(self.samples_per_batch, size - done) for done in range(0, size, self.samples_per_batch)]

    def part(self, size: int, rank: int) -> slice:
        """The samples of a batch of ``size`` that are process ``rank``'s: equal parts, the first ones a sample longer.

        Empty where there are more processes than samples.
        """
        start, stop = (-(-size * number // self.processes) for number in (rank, rank + 1))
        return slice(start, stop)

    def own(self, size: int, rank: int) -> int:
        """The length of that part."""
        part = self.part(size, rank)
        return int(part.stop - part.start)
