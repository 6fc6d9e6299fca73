"""Evaluation on the validation split during training, by all processes of the run."""

from __future__ import annotations

from dataclasses import replace

from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SampleLoader, SequentialSampler, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.evaluation.predictions import Predictions
from vexp.experiment.setup import Experiment, make_evaluator
from vexp.runtime.signals import SignalHandler
from vexp.training.state import TrainState


class Validator:
    """Compute the predictions for the validation split; the workers of its loader stay between evaluations."""

    def __init__(self, exp: Experiment, dataset: ClipDataset, bad_samples: BadSamples) -> None:
        """Configure the validation.

        Args:
            exp: The experiment.
            dataset: The validation split.
            bad_samples: Counts the videos that cannot be read.
        """
        self.exp = exp
        self.dataset = dataset
        self.bad_samples = bad_samples
        self.evaluator = make_evaluator(exp.config, exp.criterion, exp.device)
        self._sampler = SequentialSampler(
            len(dataset),
            exp.config.data.eval_batch_size or exp.config.data.batch_size,
            rank=exp.world.rank,
            world_size=exp.world.world_size,
        )
        self._loader: SampleLoader | None = None

    def predict(self, state: TrainState, interrupt: SignalHandler) -> Predictions | None:
        """Return the predictions of all processes in the main process, None in the others.

        Raises:
            Interrupted: If a signal is received between two batches.
        """
        if self._loader is None:
            self._loader = make_loader(
                self.dataset, self._sampler, self.exp.config.data, self.exp.device, persistent=True
            )
        batches = interrupt.between(iterate_batches(self._loader, self.bad_samples), self._sampler.rounds)
        output = self.evaluator.score(state.evaluated_model(), batches, name=self.dataset.source.name)
        self.bad_samples.sync()
        parts = self.exp.world.gather_object(output)
        if not self.exp.world.is_main_process:
            return None
        predictions = self.evaluator.predictions(parts)
        unscored = self.bad_samples.unscored(predictions.ids.tolist())
        assert unscored.keys() <= self.bad_samples.errors.keys(), "a readable video was not scored"
        return replace(predictions, unscored=unscored)

    def close(self) -> None:
        """Stop the workers."""
        self._loader = None
