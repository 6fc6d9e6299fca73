"""Evaluation of a classifier: one row of scores per video, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.view_forward import ViewForward
from vexp.evaluation.view_reduction import reduce_views


class BatchScores(NamedTuple):
    """The outputs of a model for one batch, on the CPU (see ``Predictions``)."""

    ids: torch.Tensor
    labels: torch.Tensor
    scores: NDArray[np.float64]
    mean_logits: torch.Tensor
    view_logits: NDArray[np.float32] | None
    views: int


def predict_batches(model: nn.Module, batches: Iterable[Any], predict: Callable[[nn.Module, Any], Any]) -> list[Any]:
    """Return ``predict(model, batch)`` of every batch, in eval mode; modules are returned to their modes afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return [predict(model, batch) for batch in batches]
    finally:
        for module, training in modes.items():
            module.training = training


@dataclass
class Evaluator:
    """Compute the scores and the loss of a model; ``criterion`` takes logits and labels, on the device of the model."""

    criterion: nn.Module
    forward: ViewForward
    options: Eval

    def scores(self, model: nn.Module, batch: Batch, name: Callable[[int], str]) -> BatchScores:
        """Return the outputs of ``model``, in eval mode, for a batch.

        As far as the model's logits do, scores and metrics do not depend on how videos are batched and views divided
        into forward passes. (A library may choose another algorithm for another batch size, which changes the last
        bits of a logit: by 1e-5 of it.)

        Raises:
            UserError: If logits are not finite, with the ``name`` of the video; if a view does not fit into memory.
        """
        logits = self.forward(model, batch)
        self._check_finite(logits, batch, name)
        return BatchScores(
            ids=batch.ids,
            labels=batch.labels,
            scores=reduce_views(logits.numpy(), self.options.view_reduction, multi_label=batch.labels.ndim == 2),
            mean_logits=logits.mean(1),
            view_logits=logits.numpy() if self.options.save_view_logits else None,
            views=batch.views,
        )

    def predictions(self, parts: Sequence[BatchScores]) -> Predictions:
        """Merge the outputs of all batches, ordered by the id of the video, as if one process had scored them all.

        The loss is computed over all videos at once, so that every video has the same weight.
        """
        ids, labels, scores, mean_logits, view_logits, views = zip(*parts, strict=True)
        all_ids = torch.cat(ids)
        order = torch.argsort(all_ids)
        by_id = order.numpy()
        assert bool((all_ids[order].diff() > 0).all()), "a video was scored twice"
        truth = torch.cat(labels)[order]
        try:
            with torch.no_grad():
                loss = self.criterion.to("cpu")(torch.cat(mean_logits)[order], truth)
        finally:
            self.criterion.to(self.forward.device)
        return Predictions(
            ids=all_ids[order].numpy(),
            labels=truth.numpy(),
            scores=np.concatenate(scores)[by_id],
            loss=float(loss),
            views=max(views),
            view_logits=np.concatenate(view_logits)[by_id] if self.options.save_view_logits else None,
        )

    def _check_finite(self, logits: torch.Tensor, batch: Batch, name: Callable[[int], str]) -> None:
        if bad := batch.ids[~logits.isfinite().all(-1).all(-1)].tolist():
            raise not_finite_error(name(bad[0]), len(bad), self.forward.amp.dtype)


def not_finite_error(name: str, count: int, dtype: str) -> UserError:
    """Return the error of ``count`` samples of a batch whose outputs are not finite, the first of which is ``name``."""
    more = f" and {count - 1} more of its batch" if count > 1 else ""
    fp16 = "fp16 overflowed (set amp=bf16 or amp=fp32), or " if dtype == "fp16" else ""
    return UserError(
        f"evaluation: the scores of {name}{more} are not finite: {fp16}the weights have diverged "
        "(lower optimizer.lr, or set grad=clip)"
    )
