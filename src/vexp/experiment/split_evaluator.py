"""The predictions for one split, by all processes of a run; ``vexp.experiment.eval_save_schedule`` decides when."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.evaluation.evaluator import predict_batches
from vexp.evaluation.predictions import SplitPredictions
from vexp.runtime.distributed import SINGLE_PROCESS, World
from vexp.runtime.signals import SignalHandler
from vexp.task.base import Task


class SplitEvaluator:
    """Evaluate models on a split; the workers of its loader stay between evaluations."""

    def __init__(self, task: Task, bad: BadSamples, world: World = SINGLE_PROCESS) -> None:
        self.task = task
        self.bad_samples = bad  # of the split: counts the videos that cannot be read
        self.dataset = dataset = bad.dataset
        self.world = world
        data = task.config.data
        batch_size = data.eval_batch_size or data.batch_size
        self._sampler = SequentialSampler(len(dataset), batch_size, rank=world.rank, world_size=world.world_size)
        self._loader = make_loader(dataset, self._sampler, data, task.device, persistent=True)

    def predict(self, model: nn.Module, interrupt: SignalHandler | None = None) -> SplitPredictions | None:
        """Return the predictions of all processes in the main process, None in the others.

        Raises:
            Interrupted: If ``interrupt`` receives a signal between two batches.
            UserError: If no sample of the split can be read.
        """
        batches = iterate_batches(self._loader, self.bad_samples)
        if interrupt is not None:
            batches = interrupt.between(batches, self._sampler.rounds)
        name = self.dataset.source.name
        own = predict_batches(model, batches, lambda model, batch: self.task.predict(model, batch, name))
        self.bad_samples.sync()
        parts = self.world.gather_object(own)
        if not self.world.is_main_process:
            return None
        outputs = list(chain(*parts))
        if not outputs:
            raise UserError("evaluation: no video of the split can be read")
        predictions = self.task.gather(outputs)
        unscored = self.bad_samples.unscored(predictions.ids.tolist())
        assert unscored.keys() <= self.bad_samples.errors.keys(), "a readable video was not scored"
        return replace(predictions, unscored=unscored)

    def write_report(
        self,
        folder: Path,
        predictions: SplitPredictions,
        results: dict[str, float],
        *,
        pipeline: str,
        weights: dict[str, Any],
    ) -> None:
        """Write the report of ``predict`` with its protocol: how the results were computed.

        ``weights`` are the checkpoint, step and epoch of the model, ``pipeline`` the split whose pipeline was used.
        """
        config = self.task.config
        protocol = {
            "split": self.bad_samples.split,
            **self.task.protocol(predictions, pipeline),
            "pipeline": {"split": pipeline, "steps": to_dict(config, types=True)["pipeline"][pipeline]},
            "img_norm": to_dict(config.img_norm),
            **weights,
            "ema": config.ema.decay is not None,
        }
        self.task.write_report(folder, predictions, results, self.dataset.source.name, protocol=protocol)
