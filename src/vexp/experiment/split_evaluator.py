"""The predictions for one split, by all processes of a run; ``vexp.experiment.eval_save_schedule`` decides when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.evaluation.evaluator import Evaluator
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.report import write_report
from vexp.experiment.setup import view_forward
from vexp.experiment.views import views_text
from vexp.runtime.distributed import SINGLE_PROCESS, World
from vexp.runtime.signals import SignalHandler


class SplitEvaluator:
    """Evaluate models on a split; the workers of its loader stay between evaluations."""

    def __init__(
        self, config: Config, bad: BadSamples, criterion: nn.Module, device: torch.device, world: World = SINGLE_PROCESS
    ) -> None:
        self.config = config
        self.bad_samples = bad  # of the split: counts the videos that cannot be read
        self.dataset = dataset = bad.dataset
        self.world = world
        self.evaluator = Evaluator(criterion=criterion, forward=view_forward(config, device), options=config.eval)
        batch_size = config.data.eval_batch_size or config.data.batch_size
        self._sampler = SequentialSampler(len(dataset), batch_size, rank=world.rank, world_size=world.world_size)
        self._loader = make_loader(dataset, self._sampler, config.data, device, persistent=True)

    def predict(self, model: nn.Module, interrupt: SignalHandler | None = None) -> Predictions | None:
        """Return the predictions of all processes in the main process, None in the others.

        Raises:
            Interrupted: If ``interrupt`` receives a signal between two batches.
        """
        batches = iterate_batches(self._loader, self.bad_samples)
        if interrupt is not None:
            batches = interrupt.between(batches, self._sampler.rounds)
        output = self.evaluator.score(model, batches, name=self.dataset.source.name)
        self.bad_samples.sync()
        outputs = self.world.gather_object(output)
        if not self.world.is_main_process:
            return None
        predictions = self.evaluator.predictions(outputs)
        unscored = self.bad_samples.unscored(predictions.ids.tolist())
        assert unscored.keys() <= self.bad_samples.errors.keys(), "a readable video was not scored"
        return replace(predictions, unscored=unscored)

    def write_report(
        self,
        folder: Path,
        predictions: Predictions,
        results: dict[str, float],
        classes: Sequence[str],
        *,
        pipeline: str,
        weights: dict[str, Any],
    ) -> None:
        """Write the report of ``predict`` with its protocol: how the results were computed.

        ``weights`` are the checkpoint, step and epoch of the model, ``pipeline`` the split whose pipeline was used.
        """
        config = self.config
        protocol = {
            "split": self.bad_samples.split,
            "views": views_text(config, pipeline, predictions.views),
            "view_reduction": config.eval.view_reduction,
            "pipeline": {"split": pipeline, "steps": to_dict(config, types=True)["pipeline"][pipeline]},
            "img_norm": to_dict(config.img_norm),
            **weights,
            "ema": config.ema.decay is not None,
        }
        name, plots = self.dataset.source.name, config.log.plots
        write_report(folder, predictions, results, classes, name, protocol=protocol, options=config.eval, plots=plots)
