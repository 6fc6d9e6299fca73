"""The rules of ``init_cfg``: one class a ``type``, with the arguments and defaults of mmcv 1.7."""

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
    """Values of a layer: its weight as the subclass says, its bias a number."""

    bias: float = option(0.0, "value of every bias", check=_number)
    bias_prob: float | None = option(
        None, "instead: the bias of a sigmoid that starts at this probability", gt=0, lt=1, check=_number
    )

    def fill(self, weight: Tensor) -> None:
        """Set a weight in place."""
        raise NotImplementedError

    def bias_value(self) -> float:
        return self.bias if self.bias_prob is None else -math.log((1 - self.bias_prob) / self.bias_prob)


@dataclass(kw_only=True, slots=True)
class Constant(Rule):
    val: float = option(doc="value of every weight", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.constant_(weight, self.val)


@dataclass(kw_only=True, slots=True)
class Normal(Rule):
    mean: float = option(0.0, "centre of the distribution", check=_number)
    std: float = option(1.0, "its standard deviation", ge=0, check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.normal_(weight, self.mean, self.std)


@dataclass(kw_only=True, slots=True)
class TruncNormal(Normal):
    a: float = option(-2.0, "least value, not counted in standard deviations", check=_number)
    b: float = option(2.0, "largest value, not counted in standard deviations", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.trunc_normal_(weight, self.mean, self.std, self.a, self.b)


@dataclass(kw_only=True, slots=True)
class Uniform(Rule):
    a: float = option(0.0, "least value", check=_number)
    b: float = option(1.0, "largest value", check=_number)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.uniform_(weight, self.a, self.b)


@dataclass(kw_only=True, slots=True)
class Xavier(Rule):
    """Glorot and Bengio, AISTATS 2010."""

    gain: float = option(1.0, "factor of the spread", gt=0, check=_number)
    distribution: str = option("normal", "what is drawn from", choices=_DISTRIBUTIONS)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        fill = init.xavier_uniform_ if self.distribution == "uniform" else init.xavier_normal_
        fill(weight, gain=self.gain)


@dataclass(kw_only=True, slots=True)
class Kaiming(Rule):
    """He et al., ICCV 2015."""

    a: float = option(0.0, "negative slope of the leaky ReLU", check=_number)
    mode: str = option("fan_out", "which fan keeps its variance", choices=("fan_in", "fan_out"))
    nonlinearity: str = option("relu", "what follows the layer", choices=("relu", "leaky_relu"))
    distribution: str = option("normal", "what is drawn from", choices=_DISTRIBUTIONS)

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        fill = init.kaiming_uniform_ if self.distribution == "uniform" else init.kaiming_normal_
        fill(weight, a=self.a, mode=self.mode, nonlinearity=self.nonlinearity)  # type: ignore[arg-type]


@dataclass(kw_only=True, slots=True)
class Caffe2Xavier(Rule):
    """Caffe2's XavierFill: uniform with the variance 1 / fan_in, that is Kaiming with a = 1 of a leaky ReLU."""

    def fill(self, weight: Tensor) -> None:
        from torch.nn import init

        init.kaiming_uniform_(weight, a=1, mode="fan_in", nonlinearity="leaky_relu")


@dataclass(kw_only=True, slots=True)
class Pretrained(ValidatedConfig):
    """All values from a weight file (``vexp.model.weights.load.load_checkpoint``)."""

    checkpoint: str = option(doc="a file, a run folder, https://..., torchvision://NAME")
    prefix: str | None = option(None, "take only the keys below it, without it")


RULES: dict[str, type[Rule] | type[Pretrained]] = {
    cls.__name__: cls for cls in (Constant, Normal, TruncNormal, Uniform, Xavier, Kaiming, Caffe2Xavier, Pretrained)
}
