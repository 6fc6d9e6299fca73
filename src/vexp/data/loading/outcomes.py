"""Results of loading a sample or a batch that are not the sample or batch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.data.loading.plugin_errors import PluginError

if TYPE_CHECKING:
    from vexp.data.batch.batch import Batch, FeatureSample, Sample


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that could not be loaded.

    It is a value, because an exception would reach the main process as the traceback of a worker.
    """

    id: int  # index of the sample in its source
    message: str  # what went wrong, with the name of the sample
    epoch: int = 0  # 0-based, in which it happened; 0 in evaluation
    fatal: bool = False  # the sample hung or crashed its worker process and must not be loaded again


@dataclass(frozen=True, slots=True)
class RepeatedSample:
    """The samples of one video with ``data.train.repeat_augment`` > 1: the same frames, augmented independently."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ReplacedSample:
    """The outcome of loading a bad sample with ``data.on_error=skip``.

    ``sample`` takes its place (None: the place stays empty); ``bad`` are the samples that failed, in the order in which
    they were tried.
    """

    sample: Sample | RepeatedSample | FeatureSample | None
    bad: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class SkippedSample:
    """A batch from which the samples ``bad`` were left out; None if it is empty."""

    batch: Batch | None
    bad: tuple[Failure, ...]

    def pin_memory(self) -> SkippedSample:
        """Pin the batch; called by ``torch.utils.data.DataLoader``."""
        return SkippedSample(None if self.batch is None else self.batch.pin_memory(), self.bad)


@dataclass(frozen=True, slots=True)
class SkipFailuresCollate:
    """Collate the outcomes of loading: the samples form a batch, the first error is returned instead of it.

    Repeated samples follow each other at the distance of the number of videos: the first sample of every video, the
    second of every video and so on. Mixup therefore mixes a video with itself only if the batch has no other. If
    samples were replaced or left out, the batch is returned inside of a ``SkippedSample``.
    """

    collate: Callable[[Sequence[Any]], Any]

    def __call__(
        self, outcomes: Sequence[Sample | RepeatedSample | FeatureSample | Failure | ReplacedSample | PluginError]
    ) -> Any:
        videos: list[tuple[Sample | FeatureSample, ...]] = []
        bad: list[Failure] = []
        for outcome in outcomes:
            if isinstance(outcome, Failure | PluginError):
                return outcome
            if isinstance(outcome, ReplacedSample):
                bad += outcome.bad
                if outcome.sample is None:
                    continue
                outcome = outcome.sample
            videos.append(outcome.samples if isinstance(outcome, RepeatedSample) else (outcome,))
        samples = [sample for repeat in zip(*videos, strict=True) for sample in repeat]
        try:
            batch = self.collate(samples) if samples else None
        except UserError as error:  # samples of different shapes
            return Failure(samples[0].id, str(error))
        return SkippedSample(batch, tuple(bad)) if bad else batch
