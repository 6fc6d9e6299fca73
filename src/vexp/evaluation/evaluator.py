"""A net over a split: every video once, its views reduced to one row of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.batch.normalize import ImgNorm
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions
from vexp.evaluation.view_reduction import reduce_views
from vexp.runtime.amp import Amp


@dataclass(frozen=True, slots=True)
class EvaluatorOutput:
    """What a net said about some videos of a split: ``Predictions`` in parts that go together. A list entry a batch."""

    ids: list[torch.Tensor]
    labels: list[torch.Tensor]
    scores: list[NDArray[np.float64]]
    mean_logits: list[torch.Tensor]
    view_logits: list[NDArray[np.float32]]
    views: int


class Evaluator:
    """Runs nets over batches, all in the same way, and remembers how many views fit into the memory."""

    def __init__(
        self,
        *,
        criterion: nn.Module,
        img_norm: ImgNorm,
        amp: Amp,
        options: Eval,
        device: torch.device,
        say: Callable[[str], None],
        channels_last: bool = False,
    ) -> None:
        """Args:
        criterion: of logits and labels; on ``device``.
        say: told when memory forces smaller forward passes.
        channels_last: give the net its clips in this memory order.
        """
        self.criterion = criterion
        self.img_norm = img_norm
        self.amp = amp
        self.options = options
        self.device = device
        self.say = say
        self.channels_last = channels_last
        self.max_views = options.max_views_per_forward

    def predict(self, model: nn.Module, batches: Iterable[Batch], *, name: Callable[[int], str]) -> Predictions:
        """``score`` and ``predictions`` in one, for a process of its own."""
        return self.predictions([self.score(model, batches, name=name)])

    def score(self, model: nn.Module, batches: Iterable[Batch], *, name: Callable[[int], str]) -> EvaluatorOutput:
        """Run ``model`` in eval mode over ``batches``. Every module is left in the mode it was in.

        Scores, and what is measured on them, do not depend on how videos are batched and views divided into forward
        passes, as far as the net's logits do not. (A library may choose another algorithm for another batch size, and
        move the last bits of a logit: 1e-5 of it.)

        Raises:
            UserError: logits that are not finite, with the ``name`` of the video; a view that does not fit into memory.
        """
        modes = {module: module.training for module in model.modules()}
        model.eval()
        done, views = EvaluatorOutput([], [], [], [], [], 0), 0
        try:
            with torch.no_grad():
                for batch in batches:
                    views = batch.views
                    logits = self._logits(model, batch.to(self.device)).cpu()
                    self._refuse_not_finite(logits, batch, name)
                    done.ids.append(batch.ids)
                    done.labels.append(batch.labels)
                    done.mean_logits.append(logits.mean(1))
                    multi_label = batch.labels.ndim == 2
                    done.scores.append(
                        reduce_views(logits.numpy(), self.options.view_reduction, multi_label=multi_label)
                    )
                    if self.options.save_view_logits:
                        done.view_logits.append(logits.numpy())
        finally:
            for module, training in modes.items():
                module.training = training
        return replace(done, views=views)

    def predictions(self, parts: Sequence[EvaluatorOutput]) -> Predictions:
        """Of several processes' parts, by the number of the video: as if one had scored them all.

        The loss is taken of all videos at once, so that no batch counts more.

        Raises:
            UserError: nothing to score.
        """
        ids = [batch for part in parts for batch in part.ids]
        if not ids:
            raise UserError("evaluation: not one video of the split can be read")
        all_ids = torch.cat(ids)
        order = torch.argsort(all_ids)
        assert bool((all_ids[order].diff() > 0).all()), "a video was scored twice"
        labels = torch.cat([batch for part in parts for batch in part.labels])[order]
        mean_logits = torch.cat([batch for part in parts for batch in part.mean_logits])[order]
        try:
            with torch.no_grad():
                loss = self.criterion.to("cpu")(mean_logits, labels)
        finally:
            self.criterion.to(self.device)
        by_id = order.numpy()
        view_logits = [batch for part in parts for batch in part.view_logits]
        return Predictions(
            all_ids[order].numpy(), labels.numpy(),
            np.concatenate([batch for part in parts for batch in part.scores])[by_id],
            float(loss), max(part.views for part in parts),
            np.concatenate(view_logits)[by_id] if view_logits else None,
        )  # fmt: skip

    def _logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """A batch on the device -> logits float32 (N, V, classes), in forward passes that fit into the memory.

        Views are built as they are needed: those of a whole test batch may not fit either.
        """
        total = len(batch) * batch.views
        tried = min(self.max_views or total, total)
        limit, done, parts = tried, 0, []
        while done < total:
            stop = min(done + limit, total)
            logits = self._forward(model, batch, done, stop)
            if logits is not None:
                parts.append(logits)
                done = stop
            elif stop - done > 1:
                limit = (stop - done) // 2
            else:
                raise UserError(
                    f"evaluation: a single view of {' x '.join(map(str, batch.plans[0].view_shape[:3]))} (frames x "
                    f"height x width) does not fit into the memory of {self.device}; take a smaller crop, fewer frames "
                    "or amp=bf16"
                )
        if limit < tried:
            self.max_views = limit
            self.say(
                f"evaluation: {tried} views in one forward pass do not fit into the memory of {self.device}; "
                f"{limit} from here on (eval.max_views_per_forward={limit} saves the attempt)"
            )
        return torch.cat(parts).view(len(batch), batch.views, -1)

    def _forward(self, model: nn.Module, batch: Batch, start: int, stop: int) -> torch.Tensor | None:
        """Views ``start`` to ``stop`` -> logits float32 (n, classes); None where the memory does not suffice."""
        try:
            clips = self.img_norm.prepare_input(batch, start, stop, channels_last=self.channels_last)
            with self.amp.autocast(self.device):
                logits: torch.Tensor = model(clips)
            return logits.float()
        except torch.OutOfMemoryError:
            pass  # the error holds the activations: memory can be freed only once it is gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _refuse_not_finite(self, logits: torch.Tensor, batch: Batch, name: Callable[[int], str]) -> None:
        bad = batch.ids[~logits.isfinite().all(-1).all(-1)].tolist()
        if bad:
            also = f" and {len(bad) - 1} more of its batch" if len(bad) > 1 else ""
            fp16 = "fp16 has overflowed (take amp=bf16 or amp=fp32), or " if self.amp.dtype == "fp16" else ""
            raise UserError(
                f"evaluation: the scores of {name(bad[0])}{also} are not finite: {fp16}the weights have diverged "
                "(lower optimizer.lr, or grad=clip)"
            )
