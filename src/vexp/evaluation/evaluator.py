"""Evaluation of a model on a split: one row of scores per video, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class EvaluatorOutput:
    """The outputs of a model for some videos of a split, with one list entry per batch (see ``Predictions``)."""

    ids: list[torch.Tensor]
    labels: list[torch.Tensor]
    scores: list[NDArray[np.float64]]
    mean_logits: list[torch.Tensor]
    view_logits: list[NDArray[np.float32]]
    views: int


class Evaluator:
    """Compute the scores and the loss of a model."""

    def __init__(self, *, criterion: nn.Module, forward: ViewForward, options: Eval) -> None:
        """Configure the evaluation.

        Args:
            criterion: Loss of logits and labels, on the device of the model.
            forward: Forward pass over views.
            options: The ``eval`` group.
        """
        self.criterion = criterion
        self.forward = forward
        self.options = options

    def predict(self, model: nn.Module, batches: Iterable[Batch], *, name: Callable[[int], str]) -> Predictions:
        """Return the predictions for all videos of ``batches``: ``score`` and ``predictions`` for a single process."""
        return self.predictions([self.score(model, batches, name=name)])

    def score(self, model: nn.Module, batches: Iterable[Batch], *, name: Callable[[int], str]) -> EvaluatorOutput:
        """Run ``model`` in eval mode over ``batches``; every module is returned to its mode afterwards.

        As far as the model's logits do, scores and metrics do not depend on how videos are batched and views divided
        into forward passes. (A library may choose another algorithm for another batch size, which changes the last
        bits of a logit: by 1e-5 of it.)

        Raises:
            UserError: If logits are not finite, with the ``name`` of the video; if a view does not fit into memory.
        """
        modes = {module: module.training for module in model.modules()}
        model.eval()
        output, views = EvaluatorOutput([], [], [], [], [], 0), 0
        try:
            for batch in batches:
                views = batch.views
                logits = self.forward(model, batch)
                self._check_finite(logits, batch, name)
                output.ids.append(batch.ids)
                output.labels.append(batch.labels)
                output.mean_logits.append(logits.mean(1))
                multi_label = batch.labels.ndim == 2
                output.scores.append(reduce_views(logits.numpy(), self.options.view_reduction, multi_label=multi_label))
                if self.options.save_view_logits:
                    output.view_logits.append(logits.numpy())
        finally:
            for module, training in modes.items():
                module.training = training
        return replace(output, views=views)

    def predictions(self, parts: Sequence[EvaluatorOutput]) -> Predictions:
        """Merge the outputs of several processes, ordered by the id of the video, as if one had scored them all.

        The loss is computed over all videos at once, so that every video has the same weight.

        Raises:
            UserError: If there is no video.
        """
        ids = [batch for part in parts for batch in part.ids]
        if not ids:
            raise UserError("evaluation: no video of the split can be read")
        all_ids = torch.cat(ids)
        order = torch.argsort(all_ids)
        assert bool((all_ids[order].diff() > 0).all()), "a video was scored twice"
        labels = torch.cat([batch for part in parts for batch in part.labels])[order]
        mean_logits = torch.cat([batch for part in parts for batch in part.mean_logits])[order]
        try:
            with torch.no_grad():
                loss = self.criterion.to("cpu")(mean_logits, labels)
        finally:
            self.criterion.to(self.forward.device)
        by_id = order.numpy()
        view_logits = [batch for part in parts for batch in part.view_logits]
        return Predictions(
            ids=all_ids[order].numpy(),
            labels=labels.numpy(),
            scores=np.concatenate([batch for part in parts for batch in part.scores])[by_id],
            loss=float(loss),
            views=max(part.views for part in parts),
            view_logits=np.concatenate(view_logits)[by_id] if view_logits else None,
        )

    def _check_finite(self, logits: torch.Tensor, batch: Batch, name: Callable[[int], str]) -> None:
        bad = batch.ids[~logits.isfinite().all(-1).all(-1)].tolist()
        if bad:
            more = f" and {len(bad) - 1} more of its batch" if len(bad) > 1 else ""
            fp16 = "fp16 overflowed (set amp=bf16 or amp=fp32), or " if self.forward.amp.dtype == "fp16" else ""
            raise UserError(
                f"evaluation: the scores of {name(bad[0])}{more} are not finite: {fp16}the weights have diverged "
                "(lower optimizer.lr, or set grad=clip)"
            )
