"""Recognition: the class or classes of a whole video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vexp.config.schema import Config
from vexp.core.errors import ConfigError
from vexp.data.batch.batch import Batch
from vexp.data.sources.base import Source
from vexp.evaluation.evaluator import BatchScores, Evaluator
from vexp.evaluation.label_checks import check_labels, check_loss, check_own_classes, class_counts
from vexp.evaluation.predictions import Predictions, measure
from vexp.evaluation.report import write_report
from vexp.evaluation.view_forward import ViewForward
from vexp.model.auxiliary import AuxiliaryLogits, losses
from vexp.model.loss import Loss
from vexp.task.base import Task
from vexp.task.views import views_text


class Recognition(Task):
    """The scores of a video are those of its views, reduced by ``eval.view_reduction``."""

    name: ClassVar[str] = "recognition"

    def __init__(self, config: Config, classes: Sequence[str], device: torch.device) -> None:
        super().__init__(config, classes, device)
        self.evaluator = Evaluator(self.criterion, view_forward(config, device), config.eval)
        self._channels_last = config.backend.channels_last_on(device)

    @classmethod
    def with_data(cls, config: Config, train: Source) -> Config:
        """Return the config with ``loss.class_weights`` as numbers."""
        check_loss(train, getattr(config.loss, "multi_label", None))
        if config.data.train.own_classes:
            check_own_classes(train, getattr(config.model, "image_classes", None))
            _check_two_classifiers(config)
        if not isinstance(config.loss, Loss):
            return config
        weights = config.loss.weights(class_counts(train).tolist())
        return replace(config, loss=replace(config.loss, class_weights=weights))

    @classmethod
    def check_data(cls, config: Config, source: Source, *, split: str, train: Source) -> list[str]:
        return check_labels(config.eval, source, len(train.classes), split=split, multi_label=train.multi_label)

    def inputs(self, batch: Batch, *, training: bool) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return float (N*V, C, T, H, W) clips and their labels, mixed by ``blending`` in training."""
        clips = self.config.img_norm.prepare_input(batch, channels_last=self._channels_last)
        labels = _labels_of_views(batch)
        if training:
            clips, labels = self.config.blending.apply(clips, labels, len(self.classes))
        return (clips,), labels

    def loss(self, outputs: Tensor | AuxiliaryLogits, targets: Tensor) -> dict[str, Tensor]:
        return losses(self.criterion, outputs, targets)

    def accuracy_labels(self, batch: Batch) -> Tensor | None:
        return _labels_of_views(batch) if batch.labels.ndim == 1 else None  # undefined for several labels per video

    def predict(self, model: nn.Module, batch: Batch, name: Callable[[int], str]) -> BatchScores:
        return self.evaluator.scores(model, batch, name)

    def gather(self, parts: Sequence[BatchScores]) -> Predictions:
        return self.evaluator.predictions(parts)

    def measure(self, predictions: Predictions) -> dict[str, float]:
        return measure(predictions, self.config.eval)

    def protocol(self, predictions: Predictions, pipeline: str) -> dict[str, Any]:
        return {"views": self.views_text(predictions, pipeline), "view_reduction": self.config.eval.view_reduction}

    def views_text(self, predictions: Predictions, pipeline: str) -> str:
        return views_text(self.config, pipeline, predictions.views)

    def write_report(
        self,
        folder: Path,
        predictions: Predictions,
        results: dict[str, float],
        name: Callable[[int], str],
        *,
        protocol: dict[str, Any],
    ) -> None:
        options, plots = self.config.eval, self.config.log.plots
        write_report(folder, predictions, results, self.classes, name, protocol=protocol, options=options, plots=plots)


def _check_two_classifiers(config: Config) -> None:
    """Reject what is defined for the classes of one classifier (data.train.own_classes)."""
    weights, strategy = getattr(config.loss, "class_weights", None), config.dist.strategy
    unwanted = {
        "blending": "mixup or CutMix" if config.blending.mixes else None,
        "loss.class_weights": weights,
        "dist.strategy": strategy if strategy == "fsdp" else None,
    }
    for key, value in unwanted.items():
        if value is not None:
            raise ConfigError("is not supported with data.train.own_classes=true", key=key, value=value)


def _labels_of_views(batch: Batch) -> Tensor:
    return batch.labels if batch.views == 1 else batch.labels.repeat_interleave(batch.views, dim=0)


def view_forward(config: Config, device: torch.device) -> ViewForward:
    """Return the forward pass over views with the settings of the config."""
    channels_last, max_views = config.backend.channels_last_on(device), config.eval.max_views_per_forward
    return ViewForward(config.img_norm, config.amp, device, channels_last, max_views)
