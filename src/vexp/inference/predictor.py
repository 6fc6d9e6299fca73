"""A trained model, and its predictions for videos without labels: same sampler, pipeline and views as in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.unlabeled import UnlabeledVideos, VideoWindow, find_videos, split_into_windows
from vexp.evaluation.view_forward import ViewForward
from vexp.evaluation.view_reduction import reduce_views
from vexp.experiment.setup import apply_switches
from vexp.model import build_model
from vexp.model.weights.load import load_exactly
from vexp.runtime.device import pick_device
from vexp.task.recognition import view_forward

Values = NDArray[np.floating[Any]]

_PREVIEW_FRAMES = 6  # frames of a video in images


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model in eval mode with the weights of the checkpoint ``path``."""

    model: nn.Module
    config: Config
    classes: list[str]
    device: torch.device
    forward: ViewForward
    path: Path
    step: int
    epoch: int

    def views(self, batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply ``forward`` to each of the N * V views of a batch; float32 (N, V, ...) on the CPU."""
        return self.forward(forward, batch)

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """Return the scores of a batch, float64 (N, classes), as in evaluation."""
        logits = self.views(batch, self.model).numpy()
        multi_label = bool(getattr(self.config.loss, "multi_label", False))
        return reduce_views(logits, self.config.eval.view_reduction, multi_label=multi_label)


def load_predictor(config: Config, path: Path, content: dict[str, Any]) -> Predictor:
    """Restore a trained model from the content of the checkpoint ``path``."""
    apply_switches(config)
    device = pick_device(config.device)
    classes = list(content["classes"])
    model = build_model(config.model, len(classes), pretrained=False)
    load_exactly(model, content, str(path))
    return Predictor(
        model=config.backend.prepare(model, device).eval(),
        config=config,
        classes=classes,
        device=device,
        forward=view_forward(config, device),
        path=path,
        step=content.get("step") or 0,
        epoch=content.get("epoch") or 0,
    )


def list_clips(
    path: str, *, window: float | None, stride: float | None
) -> tuple[list[VideoWindow], list[tuple[str, str]]]:
    """List the videos of a path (``find_videos``), or their windows of ``window`` seconds every ``stride`` seconds.

    Returns:
        The videos or windows, and (name, error) of each video that cannot be split into windows.

    Raises:
        UserError: If there is no video.
    """
    clips: list[VideoWindow] = []
    errors = []
    for video, name in find_videos(path):
        if window is None:
            clips.append(VideoWindow(video, name))
            continue
        try:
            clips += split_into_windows(video, name, window=window, stride=stride or window)
        except UserError as error:
            errors.append((name, str(error)))
    return clips, errors


@dataclass(frozen=True, slots=True)
class Prediction:
    """The output for one video or window."""

    clip: VideoWindow
    values: Values | None = None  # (D,); None if it cannot be read
    frames: NDArray[np.uint8] | None = None  # some frames of the model's input, (k, H, W, 3), if requested
    error: str = ""  # why it cannot be read


def predict_videos(
    predictor: Predictor, clips: Sequence[VideoWindow], compute: Callable[[Batch], Values], *, split: str, show: int = 0
) -> Iterator[Prediction]:
    """Yield a prediction for each video or window, in order.

    A video that cannot be read, or whose decoding hangs or crashes a worker, gives a prediction with an error.
    ``compute`` maps a batch of one, made by the pipeline of ``split`` (val or test), to float (1, D). The first
    ``show`` predictions keep frames for images.
    """
    config = predictor.config
    source = UnlabeledVideos(clips, predictor.classes, config.data)
    dataset = ClipDataset(
        source, config.pipeline.of(split), seed=config.seed, lazy=config.pipeline.lazy, on_bad="leave_out"
    )
    bad = BadSamples(dataset, split=split, max_fraction=1.0, warns=False)
    # Batches of one: videos may differ in size, and an unreadable one must not affect others.
    data = config.data if len(clips) > 1 else replace(config.data, num_workers=0)
    loader = make_loader(dataset, SequentialSampler(len(clips), 1), data, predictor.device, persistent=False)
    done = 0
    for batch in iterate_batches(loader, bad):
        index, frames = int(batch.ids[0]), None
        if index < show:
            view = batch.frames[0, batch.frames.shape[1] // 2].numpy()  # the middle one
            positions = np.linspace(0, len(view) - 1, min(_PREVIEW_FRAMES, len(view))).round().astype(int)
            frames = view[positions].copy()  # a view would keep the whole batch in memory
        yield from (Prediction(clips[failed], error=bad.errors[failed]) for failed in range(done, index))
        yield Prediction(clips[index], compute(batch)[0], frames)
        done = index + 1
    yield from (Prediction(clips[failed], error=bad.errors[failed]) for failed in range(done, len(clips)))
