"""Scores of a split: every video once, its views reduced to one row of scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vexp.data.dataset import Batch
from vexp.data.img_norm import ImgNorm
from vexp.errors import UserError
from vexp.evaluation.metrics import mean_class_accuracy, top_k_accuracy
from vexp.evaluation.options import Eval
from vexp.optim.amp import Amp


@dataclass(frozen=True, slots=True)
class Predictions:
    """``ids`` int64 (n,) of the samples in their source, ``labels`` int64 (n,), ``scores`` float32 (n, classes):
    probabilities (with max_prob not summing to 1), ``loss`` of the view-averaged logits, ``views`` a video."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    loss: float
    views: int


def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    criterion: nn.Module,
    img_norm: ImgNorm,
    amp: Amp,
    options: Eval,
    device: torch.device,
) -> Predictions:
    """Run ``model`` in eval mode over ``batches``. Every module is left in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    ids, labels, scores, logits, views = [], [], [], [], 0
    try:
        with torch.no_grad():
            for batch in batches:
                views = batch.frames.shape[1]
                per_view = _forward(model, batch.frames, img_norm, amp, options.max_views_per_forward, device)
                ids.append(batch.ids)
                labels.append(batch.labels)
                logits.append(per_view.mean(1).cpu())
                scores.append(reduce_views(per_view, options.view_reduction).cpu())
            all_labels, all_logits = torch.cat(labels), torch.cat(logits)
            loss = criterion.to("cpu")(all_logits, all_labels)  # all at once: the batch size cannot move it
    finally:
        criterion.to(device)
        for module, training in modes.items():
            module.training = training
    return Predictions(torch.cat(ids).numpy(), all_labels.numpy(), torch.cat(scores).numpy(), float(loss), views)


def _forward(
    model: nn.Module, frames: torch.Tensor, img_norm: ImgNorm, amp: Amp, max_views: int | None, device: torch.device
) -> torch.Tensor:
    """uint8 (N, V, T, H, W, 3) -> logits float32 (N, V, classes)."""
    flat = frames.flatten(0, 1)
    parts = []
    for part in torch.split(flat, max_views or len(flat)):
        with amp.autocast(device):
            parts.append(model(img_norm.apply(part.to(device, non_blocking=True))).float())
    return torch.cat(parts).view(*frames.shape[:2], -1)


def reduce_views(logits: torch.Tensor, reduction: str) -> torch.Tensor:
    """Logits (N, V, classes) -> one row of scores a video, (N, classes)."""
    if reduction == "mean_logit":
        return logits.mean(1).softmax(-1)
    probabilities = logits.softmax(-1)
    return probabilities.mean(1) if reduction == "mean_prob" else probabilities.amax(1)


def measure(predictions: Predictions, options: Eval) -> dict[str, float]:
    """The results that ``eval.metrics`` names, in that order, then the loss.

    Raises:
        UserError: the scores hold NaN.
    """
    results: dict[str, float] = {}
    try:
        for metric in options.metrics:
            if metric == "top_k_accuracy":
                accuracies = top_k_accuracy(predictions.scores, predictions.labels, options.topk)
                results |= {f"top{k}_acc": accuracy for k, accuracy in zip(options.topk, accuracies, strict=True)}
            else:
                results[metric] = mean_class_accuracy(predictions.scores, predictions.labels)
    except ValueError as error:  # NaN: the weights have diverged
        raise UserError(f"evaluation: {error}; the net cannot be measured") from error
    return results | {"loss": predictions.loss}
