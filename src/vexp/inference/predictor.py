"""A trained net at work on videos without labels: the sampler, pipeline and reduction of views are evaluation's."""

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
from vexp.evaluation.view_reduction import reduce_views
from vexp.experiment.setup import pick_device
from vexp.model import build_model
from vexp.model.weights.load import load_exactly
from vexp.runtime.seed import set_global_switches

Values = NDArray[np.floating[Any]]

_SHOWN_FRAMES = 6  # of a video in pictures


@dataclass(frozen=True, slots=True)
class Predictor:
    """A net with the weights of a checkpoint, in eval mode; ``path``: that checkpoint."""

    model: nn.Module
    config: Config
    classes: list[str]
    device: torch.device
    path: Path
    step: int
    epoch: int

    def views(self, batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """``forward`` of each of the N * V views of a batch, float32 (N, V, ...) on the CPU."""
        batch, total = batch.to(self.device), len(batch) * batch.views
        most, channels_last = self.config.eval.max_views_per_forward, self.config.backend.channels_last_on(self.device)
        parts = []
        with torch.no_grad():
            for start in range(0, total, most or total):
                stop = min(start + (most or total), total)
                clips = self.config.img_norm.prepare_input(batch, start, stop, channels_last=channels_last)
                with self.config.amp.autocast(self.device):
                    parts.append(forward(clips).float().cpu())
        joined = torch.cat(parts)
        return joined.view(len(batch), batch.views, *joined.shape[1:])

    def scores(self, batch: Batch) -> NDArray[np.float64]:
        """A batch -> float64 (N, classes), as evaluation scores its views."""
        logits = self.views(batch, self.model).numpy()
        multi_label = bool(getattr(self.config.loss, "multi_label", False))
        return reduce_views(logits, self.config.eval.view_reduction, multi_label=multi_label)


def load_predictor(config: Config, path: Path, content: dict[str, Any]) -> Predictor:
    """The net of a checkpoint's content.

    Raises:
        UserError: the weights are not those of the config's net.
    """
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()
    device = pick_device(config.device)
    classes = list(content["classes"])
    model = build_model(config.model, len(classes), pretrained=False)
    load_exactly(model, content, str(path))
    step, epoch = int(content.get("step", 0)), int(content.get("epoch", 0))
    return Predictor(config.backend.prepare(model, device).eval(), config, classes, device, path, step, epoch)


def list_clips(
    named: Path, *, window: float | None, stride: float | None
) -> tuple[list[VideoWindow], list[tuple[str, str]]]:
    """(videos or their windows, (name, reason) of each that cannot be cut into windows).

    Raises:
        UserError: there is no video.
    """
    pieces: list[VideoWindow] = []
    faults = []
    for path, name in find_videos(named):
        if window is None:
            pieces.append(VideoWindow(path, name))
            continue
        try:
            pieces += split_into_windows(path, name, window=window, stride=stride or window)
        except UserError as error:
            faults.append((name, str(error)))
    return pieces, faults


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the net made of a piece: ``values`` float (D,), ``shown``: some frames that it saw, uint8 (k, H, W, 3);
    or the ``error`` for which there are none."""

    piece: VideoWindow
    values: Values | None = None
    shown: NDArray[np.uint8] | None = None
    error: str = ""


def predict_videos(
    trained: Predictor,
    pieces: Sequence[VideoWindow],
    values: Callable[[Batch], Values],
    *,
    split: str,
    show: int = 0,
) -> Iterator[Prediction]:
    """``values`` of the views of each piece, in order. A video that cannot be read, or that hangs or crashes the worker
    that is at it, is an answer with an error.

    Args:
        values: of a batch of one -> float (1, D).
        split: whose steps of the pipeline: val or test.
        show: keep frames of so many pieces for pictures.
    """
    config = trained.config
    source = UnlabeledVideos(pieces, trained.classes, config.data)
    dataset = ClipDataset(
        source, config.pipeline.of(split), seed=config.seed, lazy=config.pipeline.lazy, on_bad="leave_out"
    )
    bad = BadSamples(dataset, split=split, max_fraction=1.0, warns=False)
    # One video a batch: their pictures may differ in size, and one that fails must not take others with it.
    data = config.data if len(pieces) > 1 else replace(config.data, num_workers=0)
    loader = make_loader(dataset, SequentialSampler(len(pieces), 1), data, trained.device, persistent=False)
    told = 0
    for batch in iterate_batches(loader, bad):
        number = int(batch.ids[0])
        yield from (Prediction(pieces[failed], error=bad.errors[failed]) for failed in range(told, number))
        yield Prediction(pieces[number], values(batch)[0], _shown(batch) if number < show else None)
        told = number + 1
    yield from (Prediction(pieces[failed], error=bad.errors[failed]) for failed in range(told, len(pieces)))


def _shown(batch: Batch) -> NDArray[np.uint8]:
    """Some frames of the middle view."""
    view = batch.frames[0, batch.frames.shape[1] // 2].numpy()
    chosen = np.linspace(0, len(view) - 1, min(_SHOWN_FRAMES, len(view))).round().astype(int)
    frames: NDArray[np.uint8] = view[chosen].copy()  # a view of the batch would keep all of it
    return frames
