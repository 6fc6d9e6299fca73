"""Segments in videos without annotations, found by a trained localizer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vexp.core.errors import UserError
from vexp.data.annotations.folders import VIDEO_SUFFIXES
from vexp.data.annotations.segments import Segment, VideoSegments
from vexp.data.batch.segments import SegmentSample
from vexp.data.sources.segments import SUFFIXES, FeatureFiles, FeatureSequence, FeatureTimes, open_features
from vexp.data.sources.segments_config import SegmentData
from vexp.data.sources.unlabeled import find_files
from vexp.data.storage import prefix
from vexp.inference.predictor import Predictor
from vexp.task.localization import Localization


@dataclass(frozen=True, slots=True)
class FoundSegments:
    """The segments found in a video."""

    name: str
    duration: float = math.nan  # seconds
    features: FeatureSequence | None = None  # None if they cannot be read
    segments: Sequence[Segment] = ()  # by descending score; labels are empty for proposals
    error: str = ""  # why the features cannot be read


def find_segments(predictor: Predictor, path: str, *, seconds: float | None) -> Iterator[FoundSegments]:
    """Yield the segments of each video of ``path``, in the order of the names.

    Args:
        predictor: The trained model.
        path: Features (.npy, .csv) or a video, a folder of them, also in an archive or on a server, or the output
            folder of ``vexp features``.
        seconds: Duration of the videos, for features that are spread evenly over them; None: unknown.

    Raises:
        ConfigError: If there are no features.
    """
    config = predictor.config
    assert isinstance(config.data, SegmentData)  # data options of the task
    task = Localization(config, predictor.classes, predictor.device)
    for name, file in _inputs(path):
        try:
            features = _features(config.data, path, name, file, seconds)
        except UserError as error:
            yield FoundSegments(name, error=str(error))
            continue
        duration = seconds or features.origin + len(features.values) * features.step
        if config.data.length is not None:
            features = features.rescaled(config.data.length)
        rows = _localize(predictor.model, task, features, duration)
        yield FoundSegments(name, duration, features, rows)


def _inputs(root: str) -> list[tuple[str, str | None]]:
    """Return name and file of each video; None for the files of a folder that ``vexp features`` has written."""
    if os.path.isdir(place := prefix(root)) and not isinstance(folder := open_features(place), FeatureFiles):
        return [(name, None) for name in folder.names()]
    none = "contains no features (.npy, .csv) and no video"
    files = find_files(root, {*SUFFIXES, *VIDEO_SUFFIXES}, none, subfolders=False)
    return [(os.path.splitext(name)[0], file) for file, name in files]


def _features(data: SegmentData, path: str, name: str, file: str | None, seconds: float | None) -> FeatureSequence:
    if file is not None and os.path.splitext(file)[1].lower() in VIDEO_SUFFIXES:
        features = data.features_of_video(file)
    else:
        duration = math.nan if seconds is None else seconds
        folder = open_features(prefix(path) if file is None else os.path.dirname(file))
        times = FeatureTimes(data.stride, data.window, data.fps)
        if file is not None and data.stride is None and seconds is None:
            raise UserError(f"{file}: its duration is unknown; give seconds=DURATION")
        features = folder.load(name, VideoSegments(duration=duration, covered=duration), times)
    channels = features.values.shape[1]
    if channels != data.feature_dim:
        raise UserError(f"{file or name}: has {channels} channels; the model was trained with {data.feature_dim}")
    return features


def _localize(model: Any, task: Localization, features: FeatureSequence, duration: float) -> list[Segment]:
    sample = SegmentSample(
        features=torch.from_numpy(np.ascontiguousarray(features.values.T)),
        segments=torch.zeros(0, 2, dtype=torch.float64),
        labels=torch.zeros(0, dtype=torch.int64),
        id=0,
        origin=features.origin,
        step=features.step,
        duration=duration,
    )
    (found,) = task.predict(model, SegmentSample.collate([sample]), lambda _: "the video")
    names = task.classes if task.option.has_classes else [""]
    return [
        (float(start), float(end), names[label], float(score))
        for (start, end), score, label in zip(found.segments, found.scores, found.labels.tolist(), strict=True)
    ]
