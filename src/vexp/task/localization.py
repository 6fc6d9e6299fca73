"""Temporal localization: segments (start, end, class) of long videos, from features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.segments import SegmentBatch, SegmentSample
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import Source
from vexp.data.sources.segments import FeatureSequence, SegmentSource
from vexp.evaluation.detections import Detections
from vexp.evaluation.evaluator import not_finite_error
from vexp.evaluation.segments import SegmentPredictions, precision_results, recall_results, write_report
from vexp.evaluation.temporal import RecallCurve, average_precision, average_recall, soft_nms
from vexp.model.localizers import Localizer
from vexp.model.segment_losses import SegmentTargets
from vexp.runtime.distributed import World
from vexp.task.base import Task

_MIN_PART = 0.5  # smallest part of a segment that stays in a random crop
_CROPS = 20  # that are tried until one has a segment


class SegmentDataset(ClipDataset):
    """Features of whole videos; those of longer training videos are a random part."""

    def samples(self, reader: Any, index: int, rngs: Sequence[np.random.Generator]) -> list[Any]:
        source = self.source
        assert isinstance(source, SegmentSource)  # data options of the task
        segments, labels = source.truth(index)
        made = []
        for rng in rngs:
            sequence, kept = reader, np.arange(len(labels))
            if self.training and source.crop is not None and source.crop < len(reader.values):
                sequence, kept = random_part(reader, segments, source.crop, rng)
            duration, seed = source.videos[index].duration, int(rng.integers(2**32))
            made.append(_sample(sequence, segments[kept], labels[kept], index, duration, seed))
        return made


def _sample(
    sequence: FeatureSequence,
    segments: NDArray[np.float64],
    labels: NDArray[np.int64],
    index: int,
    duration: float,
    seed: int,
) -> SegmentSample:
    end = sequence.origin + len(sequence.values) * sequence.step
    return SegmentSample(
        features=torch.from_numpy(np.ascontiguousarray(sequence.values.T)),
        segments=torch.from_numpy(segments),
        labels=torch.from_numpy(labels),
        id=index,
        origin=sequence.origin,
        step=sequence.step,
        duration=duration if duration > 0 else end,
        seed=seed,
    )


def random_part(
    sequence: FeatureSequence, segments: NDArray[np.float64], length: int, rng: np.random.Generator
) -> tuple[FeatureSequence, NDArray[np.int64]]:
    """Return a random part of ``length`` features, and the rows of the segments of which at least half lies in it.

    If possible, there is at least one.
    """
    kept = np.zeros(0, np.int64)
    for _ in range(_CROPS):
        start = int(rng.integers(len(sequence.values) - length + 1))
        part = sequence.part(start, start + length)
        low, high = part.origin, part.origin + length * part.step
        inside = np.minimum(segments[:, 1], high) - np.maximum(segments[:, 0], low)
        kept = np.flatnonzero(inside > _MIN_PART * (segments[:, 1] - segments[:, 0]))
        if len(kept) or not len(segments):
            break
    return part, kept


class VideoSegments(NamedTuple):
    """The output for a video, on the CPU."""

    id: int
    loss: float
    truth: NDArray[np.float64]  # (K, 2), in seconds
    truth_labels: NDArray[np.int64]  # (K,)
    segments: NDArray[np.float64]  # (M, 2), in seconds, by descending score
    scores: NDArray[np.float64]  # (M,)
    labels: NDArray[np.int64]  # (M,), 0 for proposals


class Localization(Task):
    """Segments of a video are the candidates of the model after soft non-maximum suppression."""

    name: ClassVar[str] = "localization"
    dataset_class: ClassVar[type[ClipDataset]] = SegmentDataset

    def __init__(self, config: Config, classes: Sequence[str], device: torch.device) -> None:
        super().__init__(config, classes, device)
        assert isinstance(config.model, Localizer)  # with_data
        self.option = config.model

    @classmethod
    def with_data(cls, config: Config, train: Source) -> Config:
        """Check that model, loss and metrics fit each other and the features."""
        model, data = config.model, config.data
        if not isinstance(model, Localizer):
            raise ConfigError("finds no segments; use model=actionformer or model=bmn", key="model")
        dim = getattr(data, "feature_dim", model.feature_dim)
        if model.feature_dim != dim:
            raise ConfigError(f"must be data.feature_dim={dim}", key="model.feature_dim", value=model.feature_dim)
        model.check_length(getattr(data, "length", None))
        if data.train.class_balance:
            rule = "class balancing needs one label per sample, a video has several segments; set it to 0"
            raise ConfigError(rule, key="data.train.class_balance", value=data.train.class_balance)
        if config.blending.mixes:
            raise ConfigError("mixes clips, but the samples are features; set blending=never", key="blending")
        if not model.has_classes and "mAP" in config.eval.metrics:
            rule = "mAP needs classes, but the model makes proposals without them; use eval=proposals"
            raise ConfigError(rule, key="eval.metrics", value=config.eval.metrics)
        kind = getattr(config.loss, "localizer", None)
        if kind is not None and not isinstance(model, kind):
            raise ConfigError(f"is the loss of model={kind.__name__.lower()}; choose that of the model", key="loss")
        return config

    def inputs(self, batch: SegmentBatch, *, training: bool) -> tuple[tuple[Tensor, ...], SegmentTargets]:
        return self.option.inputs(batch.features, batch.valid), _targets(batch)

    def with_other_processes(self, targets: SegmentTargets, world: World, *, counts: bool) -> SegmentTargets:
        return replace(targets, total=lambda tensor: world.all_reduce_sum(tensor * counts))

    def loss(self, outputs: Any, targets: SegmentTargets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.criterion(outputs, targets)
        return losses

    def predict(self, model: nn.Module, batch: SegmentBatch, name: Callable[[int], str]) -> list[VideoSegments]:
        """Return the segments of each video; the loss is that of a batch of this video alone."""
        arguments, _ = self.inputs(batch.to(self.device), training=False)
        with torch.no_grad(), self.config.amp.autocast(self.device):
            output = model(*arguments)
        output = type(output)(*(part.float().cpu() if part.is_floating_point() else part.cpu() for part in output))
        return self.rows(output, batch, name)

    def rows(self, output: Any, batch: SegmentBatch, name: Callable[[int], str]) -> list[VideoSegments]:
        """Return the segments of each video in an output of the model on the CPU."""
        batch = batch.to(torch.device("cpu"))
        targets = _targets(batch)
        seconds = torch.split(batch.segments, batch.counts.tolist())
        result = []
        for i, (origin, step, duration) in enumerate(batch.times.tolist()):
            own = output.select(i)
            if not all(bool(part.isfinite().all()) for part in own):
                raise not_finite_error(name(int(batch.ids[i])), 1, self.config.amp.dtype)
            with torch.no_grad():
                loss = float(self.criterion(own, targets.select(i))["loss"])
            found = self.suppressed(own, origin, step, duration)
            truth = seconds[i].numpy(), targets.labels[i].numpy()
            result.append(VideoSegments(int(batch.ids[i]), loss, *truth, *found))
        return result

    def suppressed(
        self, output: Any, origin: float, step: float, duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return segments (M, 2) in seconds, scores (M,) and labels (M,) of a video after soft-NMS within each class.

        Args:
            output: Of the model, for a batch of one.
            origin: Start of the first feature in seconds.
            step: Distance of the features in seconds.
            duration: Of the video in seconds; segments are cut at its ends.
        """
        option, (candidates,) = self.option, self.option.candidates(output)
        segments = np.clip(origin + candidates.segments.numpy() * step, 0.0, duration) / duration
        scores, labels = candidates.scores.numpy(), candidates.labels.numpy()
        kept = segments[:, 1] > segments[:, 0]
        segments, scores, labels = segments[kept], scores[kept], labels[kept]
        shifted = segments + 2.0 * labels[:, None]  # segments of different classes do not overlap
        chosen, decayed = soft_nms(
            shifted, scores, alpha=option.nms_alpha, low=option.nms_low, high=option.nms_high,
            max_segments=option.max_segments,
        )  # fmt: skip
        label = (chosen[:, 0] // 2.0).astype(np.int64)
        return (chosen - 2.0 * label[:, None]) * duration, decayed, label

    def gather(self, parts: Sequence[list[VideoSegments]]) -> SegmentPredictions:
        """Order the videos by id; the loss is the mean over the videos."""
        videos = sorted((video for part in parts for video in part), key=lambda video: video.id)
        return SegmentPredictions(
            ids=np.array([video.id for video in videos], np.int64),
            loss=float(np.mean([video.loss for video in videos])),
            truth=_detections([(video.truth, video.truth_labels, np.zeros(len(video.truth))) for video in videos]),
            found=_detections([(video.segments, video.labels, video.scores) for video in videos]),
        )

    def measure(self, predictions: SegmentPredictions) -> dict[str, float]:
        results: dict[str, float] = {}
        for metric in self.config.eval.metrics:
            if metric == "AR@AN":
                results |= recall_results(self._curve(predictions))
            else:
                results |= precision_results(self._precision(predictions), self.config.eval.tious)
        return results | {"loss": predictions.loss}

    def _rounded(self, found: Detections) -> Detections:
        digits = self.config.eval.rounding
        return (
            found
            if digits is None
            else replace(found, extent=found.extent.round(digits), score=found.score.round(digits))
        )

    def _curve(self, predictions: SegmentPredictions) -> RecallCurve:
        found, tious = self._rounded(predictions.found), self.config.eval.tious
        try:
            return average_recall(predictions.truth, found, num_videos=len(predictions.ids), thresholds=tious)
        except ValueError as error:
            raise UserError(f"evaluation: {error}") from error

    def _precision(self, predictions: SegmentPredictions) -> NDArray[np.float64]:
        if not len(predictions.truth):
            raise UserError("evaluation: average precision is not defined without ground truth")
        found, tious = self._rounded(predictions.found), self.config.eval.tious
        return average_precision(predictions.truth, found, num_classes=len(self.classes), thresholds=tious)

    def protocol(self, predictions: SegmentPredictions, pipeline: str) -> dict[str, Any]:
        digits = self.config.eval.rounding
        return {
            "tious": self.config.eval.tious,
            "rules": [
                "IoU is reached from equality on; of equal scores the earlier row ranks first",
                "videos without segments count",
                "nothing is rounded" if digits is None else f"times and scores are rounded to {digits} decimals",
            ],
        }

    def write_report(
        self, folder: Path, predictions: SegmentPredictions, results: dict[str, float], name: Callable[[int], str], *,
        protocol: dict[str, Any],
    ) -> None:  # fmt: skip
        """Write proposals.json, per_class.csv, ar_an.png and report.json."""
        has_classes, plots = self.option.has_classes, self.config.log.plots
        write_report(
            folder, predictions, results, name,
            classes=self.classes if has_classes else None,
            protocol=protocol,
            curve=self._curve(predictions) if plots else None,
            precision=(self.config.eval.tious, self._precision(predictions)) if has_classes else None,
        )  # fmt: skip


def _targets(batch: SegmentBatch) -> SegmentTargets:
    return SegmentTargets(batch.positions(), batch.split_labels(), batch.seeds.tolist())


def _detections(videos: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> Detections:
    extent, label, score = (np.concatenate(column) for column in zip(*videos, strict=True))
    group = np.repeat(np.arange(len(videos)), [len(video[1]) for video in videos])
    return Detections(group, extent, label, score)
