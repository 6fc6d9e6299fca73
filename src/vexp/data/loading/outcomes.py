"""Results of loading a sample or a batch that are not the sample or batch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError

if TYPE_CHECKING:
    from vexp.data.batch.batch import Batch, Sample


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that could not be loaded.

    It is a value, because an exception would reach the main process as the traceback of a worker.

    Attributes:
        id: Index of the sample in its source.
        message: What went wrong, with the name of the sample.
        epoch: Epoch (0-based) in which it happened; 0 in evaluation.
        fatal: The sample hung or crashed its worker process and must not be loaded again.
    """

    id: int
    message: str
    epoch: int = 0
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ReplacedSample:
    """The outcome of loading a bad sample with ``data.on_error=skip``.

    Attributes:
        sample: The sample that takes its place; None if the place stays empty.
        bad: The samples that failed, in the order in which they were tried.
    """

    sample: Sample | None
    bad: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class SkippedSample:
    """A batch from which bad samples were left out.

    Attributes:
        batch: The rest of the batch; None if it is empty.
        bad: The samples that failed.
    """

    batch: Batch | None
    bad: tuple[Failure, ...]

    def pin_memory(self) -> SkippedSample:
        """Pin the batch; called by ``torch.utils.data.DataLoader``."""
        return SkippedSample(None if self.batch is None else self.batch.pin_memory(), self.bad)


class SkipFailuresCollate:
    """Collate the outcomes of loading: the samples form a batch, the first ``Failure`` is returned instead of it.

    If samples were replaced or left out, the batch is returned inside of a ``SkippedSample``.
    """

    def __init__(self, collate: Callable[[Sequence[Sample]], Any]) -> None:
        self.collate = collate

    def __call__(self, outcomes: Sequence[Sample | Failure | ReplacedSample]) -> Any:
        samples: list[Sample] = []
        bad: list[Failure] = []
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                return outcome
            if isinstance(outcome, ReplacedSample):
                bad.extend(outcome.bad)
                if outcome.sample is not None:
                    samples.append(outcome.sample)
            else:
                samples.append(outcome)
        try:
            batch = self.collate(samples) if samples else None
        except UserError as error:  # samples of different shapes
            return Failure(samples[0].id, str(error))
        return SkippedSample(batch, tuple(bad)) if bad else batch
