"""Evaluation of a checkpoint with the pipeline and the code of the evaluation during training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir
from vexp.data.loading.bad_samples import BadSamples
from vexp.experiment.setup import apply_switches, make_dataset
from vexp.experiment.split_evaluator import SplitEvaluator
from vexp.inference.predictor import load_predictor
from vexp.runtime.device import pick_device
from vexp.task import task_class

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The results of an evaluation, texts on the ``videos`` and their ``views``, and the ``folder`` of the report.

    The videos are those of ``split``, processed by the pipeline of the split ``pipeline``.
    """

    results: dict[str, float]
    videos: str
    views: str
    split: str
    pipeline: str
    folder: Path


def evaluate_checkpoint(config: Config, path: Path, state: dict[str, Any], *, split: str, folder: Path) -> Evaluated:
    """Evaluate the checkpoint ``path`` with the content ``state`` on a split, and write the report into ``folder``.

    The split "test" uses the videos of "val" if it has none, and the pipeline of "val" if it has none. "train" is
    evaluated with the pipeline of "val".

    Raises:
        UserError: If the split does not exist, or its classes are not those of the checkpoint.
    """
    apply_switches(config)
    pick_device(config.device)  # an error about the device comes before any data is read
    config.data.prepare()
    pipeline = "test" if split == "test" and config.pipeline.test else "val"
    dataset = make_dataset(config, split, pipeline=pipeline)
    if dataset is None and split == "test":
        split, dataset = "val", make_dataset(config, "val", pipeline=pipeline)
    if dataset is None:
        error = config.data.missing_split_error(split)
        raise UserError(f"split={split}: the data has no such split" + (f"; {error.below('data')}" if error else ""))
    source = dataset.source
    _check_same_classes(state["classes"], source.classes, path)
    task_type, train_set = task_class(config.data), None
    if getattr(config.loss, "class_weights", None) == "auto":  # an override: checkpoints contain numbers
        train_set = make_dataset(config, "train")
    config = task_type.with_data(config, source if train_set is None else train_set.source)
    for warning in task_type.check_data(config, source, split=split, train=source):
        logger.warning(warning)
    ensure_writable_dir(folder, "set out=FOLDER")
    predictor = load_predictor(config, path, state)
    task = task_type(config, source.classes, predictor.device)
    evaluator = SplitEvaluator(task, BadSamples(dataset, split=split, max_fraction=config.data.max_bad_fraction))
    predictions = evaluator.predict(predictor.model)
    assert predictions is not None
    results = task.measure(predictions)
    weights = {"checkpoint": str(path), "step": predictor.step, "epoch": predictor.epoch}
    evaluator.write_report(folder, predictions, results, pipeline=pipeline, weights=weights)
    return Evaluated(results, predictions.counted, task.views_text(predictions, pipeline), split, pipeline, folder)


def _check_same_classes(trained: list[str], classes: list[str], path: Path) -> None:
    if trained != classes:
        different = [f"{a} / {b}" for a, b in zip(trained, classes, strict=False) if a != b] or ["their number"]
        raise UserError(
            f"{path}: was trained on {len(trained)} classes, the data has {len(classes)}; they differ in "
            f"{different[0]}: set data.classes=FILE to the class names of the training"
        )
