"""The rules of ``init_cfg``: one class for each ``type``, with the arguments and defaults of mmcv 1.7."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import Tensor

_DISTRIBUTIONS = ("normal", "uniform")


def _number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "must be a number"


@dataclass(kw_only=True, slots=True)
class Rule(ValidatedConfig):
    """Base class of the rules: the subclass fills the weight, the bias is set to a constant."""

    bias: float = option(0.0, "Value of the biases.", check=_number)
    bias_prob: float | None = option(
        None,
        "Initial probability of a sigmoid output, from which the bias is computed; replaces bias.",
        gt=0,
        lt=1,
        check=_number,
    )

    def fill(self, weight: Tensor) -> None:
        """Fill a weight in place."""
        raise NotImplementedError

    def bias_value(self) -> float:
        """Return the initial value of the biases."""
        return self.bias if self.bias_prob is None else -math.log((1 - self.bias_prob) / self.bias_prob)


@dataclass(kw_only=True, slots=True)
class Constant(Rule):
    val: float = option(doc="Value of the weights.", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.constant_(weight, self.val)


@dataclass(kw_only=True, slots=True)
class Normal(Rule):
    mean: float = option(0.0, "Mean of the normal distribution.", check=_number)
    std: float = option(1.0, "Standard deviation of the normal distribution.", ge=0, check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.normal_(weight, self.mean, self.std)


@dataclass(kw_only=True, slots=True)
class TruncNormal(Normal):
    a: float = option(-2.0, "Lower bound, as an absolute value.", check=_number)
    b: float = option(2.0, "Upper bound, as an absolute value.", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.trunc_normal_(weight, self.mean, self.std, self.a, self.b)


@dataclass(kw_only=True, slots=True)
class Uniform(Rule):
    a: float = option(0.0, "Lower bound.", check=_number)
    b: float = option(1.0, "Upper bound.", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.uniform_(weight, self.a, self.b)


@dataclass(kw_only=True, slots=True)
class Xavier(Rule):
    """Xavier initialization (Glorot and Bengio, AISTATS 2010)."""

    gain: float = option(1.0, "Scaling factor.", gt=0, check=_number)
    distribution: str = option("normal", "Distribution of the values.", choices=_DISTRIBUTIONS)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        fill = init.xavier_uniform_ if self.distribution == "uniform" else init.xavier_normal_
        fill(weight, gain=self.gain)


@dataclass(kw_only=True, slots=True)
class Kaiming(Rule):
    """Kaiming initialization (He et al., ICCV 2015)."""

    a: float = option(0.0, "Negative slope of the leaky ReLU.", check=_number)
    mode: str = option(
        "fan_out",
        "Whether to preserve the variance of the forward (fan_in) or the backward pass (fan_out).",
        choices=("fan_in", "fan_out"),
    )
    nonlinearity: str = option("relu", "Nonlinearity after the layer.", choices=("relu", "leaky_relu"))
    distribution: str = option("normal", "Distribution of the values.", choices=_DISTRIBUTIONS)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        fill = init.kaiming_uniform_ if self.distribution == "uniform" else init.kaiming_normal_
        fill(weight, a=self.a, mode=self.mode, nonlinearity=self.nonlinearity)  # type: ignore[arg-type]


@dataclass(kw_only=True, slots=True)
class Caffe2Xavier(Rule):
    """Caffe2's XavierFill: uniform with variance 1 / fan_in, equal to Kaiming with a leaky ReLU of slope 1."""

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.kaiming_uniform_(weight, a=1, mode="fan_in", nonlinearity="leaky_relu")


@dataclass(kw_only=True, slots=True)
class Pretrained(ValidatedConfig):
    """Load all values from a checkpoint (``vexp.model.weights.load_checkpoint``)."""

    checkpoint: str = option(doc="File, run folder, https://... or torchvision://NAME.")
    prefix: str | None = option(None, "Prefix of the keys to load; it is removed from them.")


RULES: dict[str, type[Rule] | type[Pretrained]] = {
    cls.__name__: cls for cls in (Constant, Normal, TruncNormal, Uniform, Xavier, Kaiming, Caffe2Xavier, Pretrained)
}
