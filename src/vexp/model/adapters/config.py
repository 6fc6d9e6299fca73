"""``model.lora``: low-rank adapters that are trained instead of the weights of a model."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError, missing_package
from vexp.core.fields import ValidatedConfig, option


@dataclass(kw_only=True, slots=True)
class Lora(ValidatedConfig):
    """LoRA (Hu et al., ICLR 2022): ``W + scale * B A`` with ``B A`` of low rank; only A, B and the classifier train.

    The adapters are those of the library ``peft`` (``pip install 'vexp[peft]'``).
    """

    rank: int | None = option(None, "Rank of the adapters; null: no adapters, all weights are trained.", ge=1)
    alpha: float | None = option(
        None, "Numerator of the scale alpha / rank of the adapters; null: twice the rank.", gt=0
    )
    dropout: float = option(0.0, "Dropout probability of the input of the adapters.", ge=0, lt=1)
    targets: list[str] = option(
        [],
        "Layers with an adapter, by dotted path with shell-style patterns as in model.freeze (*.qkv, layer4.*); empty: "
        "every linear layer except the classifier.",
    )
    rslora: bool = option(False, "Scale alpha / sqrt(rank), which suits ranks above 32 (Kalajdzievski 2023).")
    dora: bool = option(False, "Train the magnitude of each output separately (DoRA, Liu et al., ICML 2024).")

    def check_library(self) -> None:
        """Check that peft is installed if there are adapters.

        Raises:
            ConfigError: If it is not.
        """
        if self.rank is not None and importlib.util.find_spec("peft") is None:
            raise ConfigError(missing_package("peft"), key="model.lora.rank", value=self.rank)

    @property
    def scale(self) -> float:
        """The factor on ``B A``; requires a rank."""
        assert self.rank is not None
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        return alpha / self.rank**0.5 if self.rslora else alpha / self.rank


def lora_of(model_option: Any) -> Lora | None:
    """Return the adapters of an option of the ``model`` group; None if it has none, as the option of a plugin."""
    lora = getattr(model_option, "lora", None)
    return lora if isinstance(lora, Lora) and lora.rank is not None else None
