"""Spatio-temporal detection: the classes of each person in a key frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.boxes import BoxBatch
from vexp.data.loading.boxes import BoxDataset
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import Source
from vexp.data.sources.boxes import BoxData
from vexp.evaluation.box_predictions import BoxPredictions, FrameDetections, match, protocol
from vexp.evaluation.box_report import write_box_report
from vexp.evaluation.evaluator import not_finite_error
from vexp.evaluation.label_checks import class_counts
from vexp.evaluation.view_reduction import sigmoid
from vexp.model.loss import Loss
from vexp.task.base import Task

_IMAGES = 12  # key frames whose image is kept for the report


class BoxTargets(NamedTuple):
    """The labels of the boxes of a batch, float (M, classes), and numbers of boxes of each clip."""

    labels: Tensor
    counts: tuple[int, ...]
    dropped: tuple[int, ...]


class Detection(Task):
    """Classify the boxes of key frames; a box has any number of classes.

    The loss of a batch is the mean over its key frames of the mean over the boxes of each, 0 for a key frame without
    boxes: as the mean over samples that it is, it does not depend on how a batch is divided among processes.
    """

    name: ClassVar[str] = "detection"
    dataset_class: ClassVar[type[ClipDataset]] = BoxDataset

    def __init__(self, config: Config, classes: Sequence[str], device: torch.device) -> None:
        super().__init__(config, classes, device)
        self._channels_last = config.backend.channels_last_on(device)
        self.threshold: float = getattr(config.model, "action_thr", 0.0)

    @classmethod
    def with_data(cls, config: Config, train: Source) -> Config:
        """Return the config with ``loss.class_weights`` as numbers."""
        _check_options(config)
        if getattr(config.loss, "multi_label", None) is False:
            rule = "has one class for each sample, but boxes have several; use loss=bce or loss=focal"
            raise ConfigError(f"{type(config.loss).__name__} {rule}", key="loss")
        if not isinstance(config.loss, Loss):
            return config
        weights = config.loss.weights(class_counts(train).tolist())
        return replace(config, loss=replace(config.loss, class_weights=weights))

    @classmethod
    def check_data(cls, config: Config, source: Source, *, split: str, train: Source) -> list[str]:
        if source.classes != train.classes:
            rule = f"{len(source.classes)} classes, those of training are {len(train.classes)} others"
            raise UserError(f"data.{split}: has {rule}; use one data.label_map")
        frames = getattr(source, "frames", None)
        if frames is not None and frames.persons is None:
            key = f"data.{split}.proposal_file"
            return [f"{key} is not set: the labeled boxes are classified, as if the detector of persons were perfect"]
        return []

    def inputs(self, batch: BoxBatch, *, training: bool) -> tuple[tuple[Tensor, ...], BoxTargets]:
        """Return clips, float (N, C, T, H, W), and boxes, float (M, 5); see ``vexp.model.architectures.roi``."""
        if training and len(shapes := {layout.view_shape for layout in batch.layouts}) > 1:
            sizes = " and ".join(f"{width}x{height}" for _, height, width, _ in sorted(shapes)[:2])
            raise UserError(
                f"the clips of a batch must have one size in training, got {sizes} (w x h); end pipeline.train with a "
                "crop to one size, or set data.batch_size=1"
            )
        clips = self.config.img_norm.prepare_input(batch, channels_last=self._channels_last)
        return (clips, batch.boxes), BoxTargets(batch.targets, batch.counts, batch.dropped)

    def loss(self, outputs: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        """Return the loss, and the number of boxes of a key frame that the crop has left out."""
        parts = self._losses(outputs, targets)
        total = torch.stack(parts).sum() / len(targets.counts) if parts else outputs.sum() * 0.0
        dropped = sum(targets.dropped) / len(targets.counts)
        return {"loss": total, "dropped_boxes": torch.tensor(dropped, device=total.device)}

    def _losses(self, logits: Tensor, targets: BoxTargets) -> list[Tensor]:
        """Return the mean loss of the boxes of each clip that has boxes."""
        rows = zip(_split(logits, targets), _split(targets.labels, targets), strict=True)
        return [self.criterion(part, labels) for part, labels in rows if len(part)]

    def predict(self, model: nn.Module, batch: BoxBatch, name: Callable[[int], str]) -> FrameDetections:
        """Return the scores of the boxes; clips of different size are passed one size after the other."""
        moved = cast(BoxBatch, batch.to(self.device))
        parts = [self._predict(model, part, name) for part in moved.by_shape()]
        if len(parts) == 1:
            return parts[0]
        images = {key: image for part in parts for key, image in part.images.items()}
        names = FrameDetections._fields[:-1]
        columns = {column: np.concatenate([getattr(part, column) for part in parts]) for column in names}
        return FrameDetections(**columns, images=images)

    def _predict(self, model: nn.Module, batch: BoxBatch, name: Callable[[int], str]) -> FrameDetections:
        (clips, boxes), targets = self.inputs(batch, training=False)
        try:
            with torch.no_grad(), self.config.amp.autocast(self.device):
                logits = model(clips, boxes).float()
        except torch.OutOfMemoryError:
            size = " x ".join(map(str, batch.view_shape[:3]))
            raise UserError(
                f"{len(batch)} clips of {size} (frames x height x width) do not fit into the memory of {self.device}; "
                f"lower data.eval_batch_size"
            ) from None
        clip = boxes[:, 0].long()
        if bad := sorted(set(clip[~logits.isfinite().all(1)].tolist())):
            raise not_finite_error(name(int(batch.ids[bad[0]])), len(bad), self.config.amp.dtype)
        ids = batch.ids.cpu().numpy()
        return FrameDetections(
            ids=ids,
            counts=np.array(batch.counts, np.int64),
            boxes=batch.persons.cpu().numpy(),
            scores=sigmoid(logits.cpu().numpy().astype(np.float64)).astype(np.float32),
            truth_counts=np.array(batch.truth_counts, np.int64),
            truth=batch.truth.cpu().numpy(),
            truth_targets=batch.truth_targets.cpu().numpy() > 0,
            losses=self._frame_losses(logits, targets),
            dropped=np.array(batch.dropped, np.int64),
            images=_images(batch, ids),
        )

    def _frame_losses(self, logits: Tensor, targets: BoxTargets) -> np.ndarray:
        """Return the mean loss of the boxes of each clip that have a label; NaN if none has."""
        losses = []
        for part, labels in zip(_split(logits, targets), _split(targets.labels, targets), strict=True):
            has_label = labels.any(1)
            losses.append(float(self.criterion(part[has_label], labels[has_label])) if has_label.any() else np.nan)
        return np.array(losses, np.float64)

    def gather(self, parts: Sequence[FrameDetections]) -> BoxPredictions:
        return BoxPredictions.of(parts)

    def measure(self, predictions: BoxPredictions) -> dict[str, float]:
        precision = self._matched(predictions).average_precision()[0]
        results = {"mAP@0.5IOU": float(np.nanmean(precision))} if self.config.eval.metrics else {}
        return {**results, "loss": predictions.loss}

    def _matched(self, predictions: BoxPredictions) -> Any:
        return match(predictions, self._data.measured(len(self.classes)), self.config.eval, self.threshold)

    @property
    def _data(self) -> BoxData:
        return cast(BoxData, self.config.data)

    def protocol(self, predictions: BoxPredictions, pipeline: str) -> dict[str, Any]:
        return protocol(self.config.eval, self.threshold)

    def write_report(
        self,
        folder: Path,
        predictions: BoxPredictions,
        results: dict[str, float],
        name: Callable[[int], str],
        *,
        protocol: dict[str, Any],
    ) -> None:
        count = len(self.classes)
        write_box_report(
            folder, predictions, self._matched(predictions), results, classes=self.classes,
            numbers=self._data.numbers(count), measured=self._data.measured(count), name=name, protocol=protocol,
            threshold=self.threshold, plots=self.config.log.plots,
        )  # fmt: skip


def _split(rows: Tensor, targets: BoxTargets) -> tuple[Tensor, ...]:
    """Return the rows of each clip."""
    return torch.split(rows, list(targets.counts))


def _images(batch: BoxBatch, ids: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return the image of the key frame and the boxes in it, for the first key frames of the split."""
    if ids.min() >= _IMAGES:
        return {}
    boxes = torch.split(batch.boxes[:, 1:], list(batch.counts))
    images = {}
    for place in np.flatnonzero(ids < _IMAGES).tolist():
        frames = batch.build(place, place + 1)[0]
        images[int(ids[place])] = frames[len(frames) // 2].cpu().numpy(), boxes[place].cpu().numpy()
    return images


def _check_options(config: Config) -> None:
    """Check that the options of a run are those of detection.

    Raises:
        ConfigError: If they are not.
    """
    if not isinstance(config.data, BoxData):
        raise ConfigError("data of detection must be a vexp.data.sources.boxes.BoxData", key="data")
    for split in ("train", "val", "test"):
        for name, step in list(config.pipeline.of(split).items())[:1]:
            if hasattr(step, "clip_len") and not getattr(step, "at_key_frame", False):
                rule = (
                    f"{type(step).__name__} takes clips from anywhere; use sample_key_frames (pipeline=key_frames_...)"
                )
                raise ConfigError(rule, key=f"pipeline.{split}.{name}")
    if config.blending.mixes:
        raise ConfigError("mixes clips whose boxes differ; set blending=never", key="blending")
    if config.data.cache_features:
        raise ConfigError("is for whole clips; set it to false", key="data.cache_features", value=True)
