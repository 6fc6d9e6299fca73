"""The forward pass over the views of a batch, in parts that fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.batch.normalize import ImgNorm
from vexp.runtime.amp import Amp

logger = logging.getLogger(__name__)


@dataclass
class ViewForward:
    """The forward pass over the views of batches, without gradients."""

    img_norm: ImgNorm
    amp: Amp
    device: torch.device  # of the model; batches are moved to it
    channels_last: bool = False  # memory format of the clips
    max_views: int | None = None  # in one forward pass, lowered if memory runs out; None: a whole batch

    def __call__(self, forward: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """Apply ``forward``, from clips (n, C, T, H, W) to rows (n, ...), to the N * V views of a batch on any device.

        Views are normalized as they are needed: those of a whole test batch may not fit into memory, either. If a
        forward pass runs out of memory, the number of views is halved, for this and all later batches.

        Returns:
            float32 (N, V, ...) on the CPU.

        Raises:
            UserError: If a single view does not fit into memory.
        """
        batch, total = batch.to(self.device), len(batch) * batch.views
        attempted = limit = min(self.max_views or total, total)
        done, parts = 0, []
        while done < total:
            stop = min(done + limit, total)
            rows = self._try_forward(forward, batch, done, stop)
            if rows is not None:
                parts.append(rows)
                done = stop
            elif (limit := (stop - done) // 2) == 0:
                raise UserError(
                    f"a single view of {' x '.join(map(str, batch.view_shape[:3]))} (frames x height x "
                    f"width) does not fit into the memory of {self.device}; use a smaller crop, fewer frames or "
                    "amp=bf16"
                )
        if limit < attempted:
            self.max_views = limit
            logger.warning(
                f"{attempted} views in one forward pass do not fit into the memory of {self.device}; using {limit} "
                f"from here on (eval.max_views_per_forward={limit} avoids the attempt)"
            )
        joined = torch.cat(parts).cpu()
        return joined.view(len(batch), batch.views, *joined.shape[1:])

    def _try_forward(self, forward: Callable[[Tensor], Tensor], batch: Batch, start: int, stop: int) -> Tensor | None:
        """Apply ``forward`` to views ``start`` to ``stop``; None if it runs out of memory."""
        try:
            with torch.no_grad():
                clips = self.img_norm.prepare_input(batch, start, stop, channels_last=self.channels_last)
                with self.amp.autocast(self.device):
                    rows = forward(clips)
                return rows.float()
        except torch.OutOfMemoryError:
            pass  # the exception refers to the activations: memory can be freed only after it is gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None
