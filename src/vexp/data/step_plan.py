"""How samples divide into optimizer steps: numbers alone, so that a run's length is known before torch is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How an epoch divides into optimizer steps and those into batches.

    A step takes ``accumulate`` batches of ``batch_size`` samples; an epoch's last step takes what is left (with
    ``drop_last`` there is none unless it is whole), so that no step mixes two epochs.
    """

    num_samples: int
    batch_size: int
    accumulate: int
    drop_last: bool

    @property
    def samples_per_step(self) -> int:
        return self.batch_size * self.accumulate

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
        """Sizes of the batches of a step (0-based, any epoch)."""
        start = step % self.steps_per_epoch * self.samples_per_step
        size = min(self.samples_per_step, self.num_samples - start)
        return [min(self.batch_size, size - done) for done in range(0, size, self.batch_size)]
