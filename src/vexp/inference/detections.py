"""Detections in videos without labels: boxes of persons from a file or a detector, classified around key frames."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vexp.core.errors import ConfigError, UserError
from vexp.core.files import atomic_write
from vexp.data.annotations.person_boxes import PersonBoxes, read_person_boxes
from vexp.data.batch.boxes import BoxBatch
from vexp.data.decoding import VIDEO_BACKENDS, open_video
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.boxes import BoxDataset
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.data.sources.base import frame_times
from vexp.data.sources.key_frames import UnlabeledKeyFrames
from vexp.data.sources.motion import write_mp4
from vexp.evaluation.box_predictions import BoxPredictions
from vexp.evaluation.box_report import BoxImage, top_text
from vexp.inference.predictor import Predictor
from vexp.task.detection import Detection

if TYPE_CHECKING:
    from vexp.data.sources.unlabeled import VideoWindow

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
_PERSON = 1  # class of COCO
_LEAST_SIDE = 360  # of the annotated video, in pixels
_READ_AT_ONCE = 32  # frames that are decoded for the annotated video
_DETECTED_AT_ONCE = 4  # images of a forward pass of the detector
_COLORS = ((255, 213, 74), (55, 214, 122), (90, 180, 255), (255, 120, 120), (214, 130, 255))


@dataclass(slots=True)
class VideoDetections:
    """The key frames of a video: times in seconds, boxes with the person's score (M, 5), and class scores (M, C)."""

    path: str | Path
    name: str
    seconds: list[float] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class PersonFinder:
    """The boxes of persons in key frames: from a file, or from a detector of torchvision.

    Raises:
        ConfigError: If there is neither, or the detector has no weights.
    """

    def __init__(self, predictor: Predictor, file: Path | None, every: float) -> None:
        self.every, self.opened = every, video_opener(predictor)
        data, model = predictor.config.data, predictor.config.model
        self.threshold: float = getattr(data, "person_det_score_thr", 0.0)
        self.most: int | None = getattr(data, "num_max_proposals", None)
        self.start: float = getattr(data, "first_second", 0.0)
        self.file: PersonBoxes | None = None if file is None else read_person_boxes(file)
        self.detector: nn.Module | None = None
        self.device = predictor.device
        if self.file is None:
            name, weights = getattr(model, "detector", None), getattr(model, "detector_weights", None)
            if name is None:
                rule = "persons are found by no detector; give boxes=FILE, or model.detector=fasterrcnn_resnet50_fpn"
                raise ConfigError(rule, key="model.detector", value=None)
            self.detector = load_detector(name, weights, self.device)

    def key_frames(self, path: str | Path, name: str) -> Iterator[tuple[float, Floats]]:
        """Yield the time and the boxes of each key frame of a video."""
        if self.file is None:
            yield from self._detected(path)
            return
        rows = self.file.rows()
        stem = Path(path).stem
        names = {name, Path(name).stem, stem}
        found = [(second, part) for (video, second), part in rows.items() if video in names]
        if not found:
            raise UserError(f"{name}: boxes=FILE has no box of {stem}, the name of the video without its ending")
        for second, part in sorted(found, key=lambda pair: pair[0]):
            boxes = np.column_stack([self.file.box[part], self.file.score[part]])
            yield second - self.start, self._kept(boxes)

    def _kept(self, boxes: Floats) -> Floats:
        if not len(boxes):
            return boxes
        kept: Floats = boxes[boxes[:, 4] >= min(self.threshold, boxes[:, 4].max())][: self.most]
        return kept

    def _detected(self, path: str | Path) -> Iterator[tuple[float, Floats]]:
        with self.opened(path) as reader:
            times = frame_times(reader) - frame_times(reader)[0]
            seconds = np.arange(min(self.every, times[-1] / 2), times[-1] + 1e-6, self.every)
            indices = np.abs(times[:, None] - seconds).argmin(axis=0)
            for start in range(0, len(indices), _DETECTED_AT_ONCE):
                part = indices[start : start + _DETECTED_AT_ONCE]
                for second, boxes in zip(seconds[start:], self._detect(reader.frames(part)), strict=False):
                    yield float(second), boxes[boxes[:, 4] >= self.threshold][: self.most]

    def _detect(self, frames: NDArray[np.uint8]) -> list[Floats]:
        assert self.detector is not None
        height, width = frames.shape[1:3]
        images = [torch.from_numpy(frame).permute(2, 0, 1).to(self.device).float() / 255 for frame in frames]
        with torch.no_grad():
            found = self.detector(images)
        results = []
        for one in found:
            is_person = one["labels"] == _PERSON
            boxes = one["boxes"][is_person].cpu().double().numpy() / (width, height, width, height)
            results.append(np.column_stack([boxes.clip(0, 1), one["scores"][is_person].cpu().double().numpy()]))
        return results


def load_detector(name: str, weights: str | None, device: torch.device) -> nn.Module:
    """Return a detector of torchvision in eval mode.

    Raises:
        ConfigError: If there are no weights; nothing is downloaded unless ``weights`` names a source.
        UserError: If the weights do not fit.
    """
    from torchvision.models import get_model

    from vexp.model.weights.load import load_checkpoint

    if weights is None:
        rule = f"needs the weights of {name}: a file, or torchvision://{name}, which downloads them"
        raise ConfigError(rule, key="model.detector_weights", value=None)
    detector: nn.Module = get_model(name, weights=None, weights_backbone=None)
    load_checkpoint(detector, weights, strict=True)
    return detector.to(device).eval()


def video_opener(predictor: Predictor) -> Any:
    """Return the function that opens a video file with the decoding options of a run."""
    data = predictor.config.data
    backend = data.decoding_backend if data.decoding_backend in VIDEO_BACKENDS else "auto"
    return functools.partial(open_video, backend=backend, strict=data.strict)


def detect_videos(
    predictor: Predictor, videos: Sequence[VideoWindow], finder: PersonFinder, *, split: str
) -> list[VideoDetections]:
    """Classify the persons in the key frames of videos; one that cannot be read has an error."""
    results = []
    for video in videos:
        result = VideoDetections(video.path, video.name)
        results.append(result)
        try:
            frames = list(finder.key_frames(video.path, video.name))
        except UserError as error:
            result.errors.append(str(error))
            continue
        if frames:
            _classify(predictor, result, frames, split)
    return results


def _classify(
    predictor: Predictor, result: VideoDetections, frames: Sequence[tuple[float, Floats]], split: str
) -> None:
    config = predictor.config
    task = Detection(config, predictor.classes, predictor.device)
    places = [(result.path, result.name, second) for second, _ in frames]
    source = UnlabeledKeyFrames(
        places, [boxes for _, boxes in frames], predictor.classes, video_opener(predictor), backend="auto"
    )
    dataset = BoxDataset(
        source, config.pipeline.of(split), seed=config.seed, lazy=config.pipeline.lazy, on_bad="leave_out"
    )
    bad = BadSamples(dataset, split=split, max_fraction=1.0, warns=False)
    batch_size = config.data.eval_batch_size or config.data.batch_size
    loader = make_loader(
        dataset, SequentialSampler(len(source), batch_size), config.data, predictor.device, persistent=False
    )
    batches = (cast(BoxBatch, batch) for batch in iterate_batches(loader, bad))
    parts = [task.predict(predictor.model, batch, source.name) for batch in batches]
    result.errors += list(bad.errors.values())
    if not parts:
        return
    found = BoxPredictions.of(parts)
    ends = np.cumsum(found.counts)
    for place, index in enumerate(found.ids.tolist()):
        rows = slice(ends[place] - found.counts[place], ends[place])
        result.seconds.append(frames[index][0])
        result.boxes.append(found.boxes[rows])
        result.scores.append(found.scores[rows])


def write_annotated(path: Path, video: VideoDetections, classes: Sequence[str], opened: Any, *, least: float) -> None:
    """Write the video with the boxes of the nearest key frame in each frame, as H.264."""
    with opened(video.path) as reader:
        times = frame_times(reader) - frame_times(reader)[0]
        nearest = np.abs(times[:, None] - np.array(video.seconds)).argmin(axis=1)
        fps = Fraction(reader.fps or 25).limit_denominator(1001)
        with atomic_write(path) as temporary:
            frames = (
                _annotated(frame, video, int(nearest[start + offset]), classes, least)
                for start in range(0, reader.num_frames, _READ_AT_ONCE)
                for offset, frame in enumerate(reader.frames(range(start, min(start + _READ_AT_ONCE, len(nearest)))))
            )
            write_mp4(temporary, frames, fps)


def _annotated(
    frame: NDArray[np.uint8], video: VideoDetections, place: int, classes: Sequence[str], least: float
) -> NDArray[np.uint8]:
    """Return a frame of even size, enlarged if it is too small for text, with the boxes of a key frame."""
    import cv2

    factor = -(-_LEAST_SIDE // min(frame.shape[:2]))
    height, width = frame.shape[0] * factor // 2 * 2, frame.shape[1] * factor // 2 * 2
    image: NDArray[np.uint8] = frame[:height, :width].copy()
    if factor > 1:
        image = np.asarray(cv2.resize(frame, (width, height)), np.uint8)
    scale = max(0.35, min(width, height) / 900)
    for number, (box, scores) in enumerate(zip(video.boxes[place], video.scores[place], strict=True)):
        color = _COLORS[number % len(_COLORS)]
        left, top, right, bottom = (box[:4] * (width, height, width, height)).round().astype(int).tolist()
        cv2.rectangle(image, (left, top), (right, bottom), color, max(1, round(scale)))
        lines = top_text(scores, classes, least=least).split("\n")
        spacing = round(28 * scale)
        top = max(0, min(top, height - spacing * len(lines)))  # within the frame, as left below
        for line, text in enumerate(lines):
            (text_width, _), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
            left, y = max(0, min(left, width - text_width - 4)), top + line * spacing
            cv2.rectangle(image, (left, y), (left + text_width + 4, y + spacing), color, cv2.FILLED)
            start = left + 2, y + spacing - max(2, baseline // 2)
            cv2.putText(image, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def key_frame_images(
    videos: Sequence[VideoDetections], classes: Sequence[str], opened: Any, *, most: int, least: float
) -> list[BoxImage]:
    """Return images of the first key frames with their boxes."""
    images: list[BoxImage] = []
    for video in videos:
        wanted = video.seconds[: most - len(images)]
        if not wanted:
            continue
        with opened(video.path) as reader:
            times = frame_times(reader) - frame_times(reader)[0]
            frames = reader.frames(np.abs(times[:, None] - np.array(wanted)).argmin(axis=0))
        for frame, second, boxes, scores in zip(frames, wanted, video.boxes, video.scores, strict=False):
            size = np.array([frame.shape[1], frame.shape[0]] * 2)
            texts = [top_text(row, classes, least=least) for row in scores]
            images.append(BoxImage(f"{video.name} {second:g} s", frame, boxes[:, :4] * size, texts, boxes[:0, :4]))
    return images
