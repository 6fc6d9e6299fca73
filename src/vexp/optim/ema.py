"""The ``ema`` group: an exponential moving average of the weights, which is evaluated and saved with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.core.fields import ValidatedConfig, option
from vexp.model.sharded import local_part

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim.swa_utils import AveragedModel


@dataclass(kw_only=True, slots=True)
class Ema(ValidatedConfig):
    """Exponential moving average of weights and buffers (Polyak and Juditsky 1992; torch.optim.swa_utils)."""

    decay: float | None = option(None, "Decay of the average per optimizer step; null for no average.", gt=0, lt=1)

    def build(self, model: nn.Module) -> AveragedModel | None:
        """Build the averaged copy of ``model``; call its ``update_parameters(model)`` after each optimizer step."""
        if self.decay is None:
            return None
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        update = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]

        def update_local(averages: Sequence[Tensor], values: Sequence[Tensor], number: Tensor | int) -> None:
            """Update the parts of this process: torch cannot update sharded parameters and buffers together."""
            update([local_part(tensor) for tensor in averages], [local_part(tensor) for tensor in values], number)

        return AveragedModel(model, multi_avg_fn=update_local, use_buffers=True)
