"""Evaluation of a checkpoint with the pipeline and the code of the evaluation during training."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.evaluation.label_checks import check_labels, check_loss
from vexp.evaluation.predictions import Predictions, measure
from vexp.evaluation.report import write_report
from vexp.experiment.protocol import evaluation_protocol, views_text
from vexp.experiment.setup import apply_switches, make_dataset, make_evaluator, with_class_weights
from vexp.inference.predictor import Predictor, load_predictor
from vexp.runtime.device import pick_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The results of an evaluation.

    Attributes:
        results: Metrics by public name.
        videos: Text on the number of videos.
        views: Text on the views of a video.
        split: Split of the videos.
        pipeline: Split whose pipeline was used.
        folder: Folder of the report.
    """

    results: dict[str, float]
    videos: str
    views: str
    split: str
    pipeline: str
    folder: Path


def evaluate_checkpoint(config: Config, path: Path, state: dict[str, Any], *, split: str, folder: Path) -> Evaluated:
    """Evaluate a checkpoint on a split and write the report into ``folder``.

    The split "test" uses the videos of "val" if it has none, and the pipeline of "val" if it has none. "train" is
    evaluated with the pipeline of "val".

    Args:
        config: Config of the checkpoint.
        path: Path of the checkpoint.
        state: Its content.
        split: train, val or test.
        folder: Folder of the report.

    Raises:
        UserError: If the split does not exist, or its classes are not those of the checkpoint.
    """
    apply_switches(config)
    pick_device(config.device)  # an error about the device comes before any data is read
    config.data.prepare()
    pipeline = "test" if split == "test" and config.pipeline.test else "val"
    split, dataset = _choose_dataset(config, split, pipeline)
    source = dataset.source
    _check_same_classes(state["classes"], source.classes, path)
    if getattr(config.loss, "class_weights", None) == "auto":  # an override: checkpoints contain numbers
        train_set = make_dataset(config, "train")
        config = with_class_weights(config, train_set.source if train_set is not None else source)
    check_loss(source, getattr(config.loss, "multi_label", None))
    multi_label = source.multi_label
    for warning in check_labels(config.eval, source, len(source.classes), split=split, multi_label=multi_label):
        logger.warning(warning)
    ensure_writable_dir(folder, "set out=FOLDER")
    predictor = load_predictor(config, path, state)
    predictions = _predict(predictor, dataset, split)
    results = measure(predictions, config.eval)
    views = views_text(config, pipeline, predictions.views)
    write_report(
        folder,
        predictions,
        results,
        classes=source.classes,
        name=source.name,
        protocol=evaluation_protocol(
            config,
            split=split,
            pipeline=pipeline,
            views=views,
            checkpoint=path,
            step=state["step"],
            epoch=state["epoch"],
        ),
        options=config.eval,
        plots=config.log.plots,
    )
    return Evaluated(results, predictions.counted, views, split, pipeline, folder)


def _choose_dataset(config: Config, split: str, pipeline: str) -> tuple[str, ClipDataset]:
    dataset = make_dataset(config, split, pipeline=pipeline)
    if dataset is None and split == "test":
        split, dataset = "val", make_dataset(config, "val", pipeline=pipeline)
    if dataset is None:
        error = config.data.missing_split_error(split)
        raise UserError(f"split={split}: the data has no such split" + (f"; {error.below('data')}" if error else ""))
    return split, dataset


def _predict(predictor: Predictor, dataset: ClipDataset, split: str) -> Predictions:
    config, device = predictor.config, predictor.device
    sampler = SequentialSampler(len(dataset), config.data.eval_batch_size or config.data.batch_size)
    bad = BadSamples(dataset, split=split, max_fraction=config.data.max_bad_fraction)
    batches = iterate_batches(make_loader(dataset, sampler, config.data, device, persistent=False), bad)
    evaluator = make_evaluator(config, config.loss.build().to(device), device)
    predictions = evaluator.predict(predictor.model, batches, name=dataset.source.name)
    return replace(predictions, unscored=bad.unscored(predictions.ids.tolist()))


def _check_same_classes(trained: list[str], classes: list[str], path: Path) -> None:
    if trained != classes:
        different = [f"{a} / {b}" for a, b in zip(trained, classes, strict=False) if a != b] or ["their number"]
        raise UserError(
            f"{path}: was trained on {len(trained)} classes, the data has {len(classes)}; they differ in "
            f"{different[0]}: set data.classes=FILE to the class names of the training"
        )
