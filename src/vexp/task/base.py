"""The interface of a task: everything that depends on what is predicted for a sample.

The loop, the loaders, resume, sweeps, comparison and logging depend on nothing else of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vexp.config.schema import Config
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import Source
from vexp.evaluation.predictions import SplitPredictions
from vexp.runtime.distributed import World


class Task(ABC):
    """What is predicted for a sample: model inputs, loss, predictions, metrics and report of a run.

    A batch is what the ``collate`` of the dataset's samples returns; it has ``len()``, ``ids``, ``to(device)`` and
    ``pin_memory()``.
    """

    name: ClassVar[str]
    #: Of the training and evaluation samples; a subclass defines what a sample holds.
    dataset_class: ClassVar[type[ClipDataset]] = ClipDataset
    #: For a plugin's task: the values of ``eval.metrics``, each with the names of its results.
    metrics: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __init__(self, config: Config, classes: Sequence[str], device: torch.device) -> None:
        """Build the task of a run on ``device``; ``classes`` are the class names of the training data."""
        self.config = config
        self.classes = list(classes)
        self.device = device
        self.criterion: nn.Module = config.loss.build().to(device)

    @classmethod
    def with_data(cls, config: Config, train: Source) -> Config:
        """Return the config with the values that depend on the training data as numbers, as checkpoints save it.

        Raises:
            UserError: If the options of training and the loss do not fit the training data.
        """
        return config

    @classmethod
    def check_data(cls, config: Config, source: Source, *, split: str, train: Source) -> list[str]:
        """Check that the samples of an evaluated split fit the metrics and those of training.

        Returns:
            Warnings.

        Raises:
            UserError: If they do not.
        """
        return []

    @abstractmethod
    def inputs(self, batch: Any, *, training: bool) -> tuple[tuple[Any, ...], Any]:
        """Return the positional arguments of the model for a batch on the device, and the targets of ``loss``."""

    def loss(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Return the training loss of a batch, a scalar, as ``loss``; other scalars are parts of it to be logged."""
        return {"loss": self.criterion(outputs, targets)}

    def with_other_processes(self, targets: Any, world: World, *, counts: bool) -> Any:
        """Return the targets of this process's part of a training batch for ``loss``.

        The step averages losses over the processes of a run, each weighted by its number of samples. A loss that is the
        mean over the samples of a batch needs nothing of the other processes; any other is equal to that of one process
        only if it does.

        Args:
            targets: Of this process, as ``inputs`` returns them.
            world: The processes; all of them call this for every batch, and then ``loss``.
            counts: False if the sample of this process belongs to no batch: the weight of its loss is 0.
        """
        return targets

    def accuracy_labels(self, batch: Any) -> Tensor | None:
        """Return labels (n,) to which the top-1 class of the outputs (n, classes) is compared for the log, or None."""
        return None

    @abstractmethod
    def predict(self, model: nn.Module, batch: Any, name: Callable[[int], str]) -> Any:
        """Return the outputs of a model in eval mode for a batch, on the CPU; processes exchange them as pickles.

        Args:
            model: The model, on the device.
            batch: On any device.
            name: Function of the index of a sample in its source, for messages.

        Raises:
            UserError: If the outputs are not finite.
        """

    @abstractmethod
    def gather(self, parts: Sequence[Any]) -> SplitPredictions:
        """Merge what ``predict`` has returned for all batches of a split, of which there is at least one.

        The result must not depend on the order of ``parts`` and the size of the batches.
        """

    @abstractmethod
    def measure(self, predictions: Any) -> dict[str, float]:
        """Return the results of ``eval.metrics``, in that order, then ``loss``.

        Raises:
            UserError: If a metric is undefined.
        """

    def protocol(self, predictions: Any, pipeline: str) -> dict[str, Any]:
        """Return the rules by which predictions were made, for report.json; ``pipeline`` is the split it is of."""
        return {}

    def views_text(self, predictions: Any, pipeline: str) -> str:
        """Describe the views of a sample, for the log: ``10 clips x 3 crops``; empty for the whole sample."""
        return ""

    @abstractmethod
    def write_report(
        self,
        folder: Path,
        predictions: Any,
        results: dict[str, float],
        name: Callable[[int], str],
        *,
        protocol: dict[str, Any],
    ) -> None:
        """Write the files of an evaluation, report.json with ``results`` and ``protocol`` among them."""
