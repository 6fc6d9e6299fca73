"""Evaluation of a model on a split: one row of scores per video, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

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


class EvaluatorOutput(NamedTuple):
    """The outputs of a model for some videos of a split, with one list entry per batch (see ``Predictions``)."""

    ids: list[torch.Tensor]
    labels: list[torch.Tensor]
    scores: list[NDArray[np.float64]]
    mean_logits: list[torch.Tensor]
    view_logits: list[NDArray[np.float32]]
    views: list[int]


@dataclass
class Evaluator:
    """Compute the scores and the loss of a model; ``criterion`` takes logits and labels, on the device of the model."""

    criterion: nn.Module
    forward: ViewForward
    options: Eval

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
        output = EvaluatorOutput([], [], [], [], [], [])
        try:
            for batch in batches:
                logits = self.forward(model, batch)
                self._check_finite(logits, batch, name)
                output.views.append(batch.views)
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
        return output

    def predictions(self, parts: Sequence[EvaluatorOutput]) -> Predictions:
        """Merge the outputs of several processes, ordered by the id of the video, as if one had scored them all.

        The loss is computed over all videos at once, so that every video has the same weight.
        """
        ids, labels, scores, mean_logits, view_logits, views = (
            list(chain(*lists)) for lists in zip(*parts, strict=True)
        )
        if not ids:
            raise UserError("evaluation: no video of the split can be read")
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
