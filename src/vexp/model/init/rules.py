"""The rules of ``init_cfg``: one class for each ``type``, with the arguments and defaults of mmcv 1.7."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import Tensor


def _is_number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "must be a number"


_number = partial(option, check=_is_number)
_distribution = partial(option, "normal", "Distribution of the values.", choices=("normal", "uniform"))


@dataclass(kw_only=True, slots=True)
class Rule(ValidatedConfig):
    """Base class of the rules: a function of torch.nn.init fills the weight, the bias is set to a constant.

    The fields of a subclass are the arguments of the function, except ``distribution``, which is a part of its name.
    """

    function: ClassVar[str]  # in torch.nn.init
    needs_fan: ClassVar[bool] = False  # the fan-in and fan-out of weights with at least two dimensions

    bias: float = _number(0.0, "Value of the biases.")
    bias_prob: float | None = _number(
        None, "Initial probability of a sigmoid output, from which the bias is computed; replaces bias.", gt=0, lt=1
    )

    def fill(self, weight: Tensor) -> None:
        """Fill a weight in place."""
        from torch.nn import init

        arguments = {field.name: getattr(self, field.name) for field in fields(self)}
        del arguments["bias"], arguments["bias_prob"]
        function = getattr(init, self.function.format(arguments.pop("distribution", None)))
        function(weight, **arguments)

    def bias_value(self) -> float:
        """Return the initial value of the biases."""
        return self.bias if self.bias_prob is None else -math.log((1 - self.bias_prob) / self.bias_prob)


@dataclass(kw_only=True, slots=True)
class Constant(Rule):
    """Set all weights to one value."""

    function: ClassVar[str] = "constant_"

    val: float = _number(doc="Value of the weights.")


@dataclass(kw_only=True, slots=True)
class Normal(Rule):
    """Draw from a normal distribution."""

    function: ClassVar[str] = "normal_"

    mean: float = _number(0.0, "Mean of the normal distribution.")
    std: float = _number(1.0, "Standard deviation of the normal distribution.", ge=0)


@dataclass(kw_only=True, slots=True)
class TruncNormal(Normal):
    """Draw from a normal distribution within bounds."""

    function: ClassVar[str] = "trunc_normal_"

    a: float = _number(-2.0, "Lower bound, as an absolute value.")
    b: float = _number(2.0, "Upper bound, as an absolute value.")


@dataclass(kw_only=True, slots=True)
class Uniform(Rule):
    """Draw from a uniform distribution."""

    function: ClassVar[str] = "uniform_"

    a: float = _number(0.0, "Lower bound.")
    b: float = _number(1.0, "Upper bound.")


@dataclass(kw_only=True, slots=True)
class Xavier(Rule):
    """Xavier initialization (Glorot and Bengio, AISTATS 2010)."""

    function: ClassVar[str] = "xavier_{}_"
    needs_fan: ClassVar[bool] = True

    gain: float = _number(1.0, "Scaling factor.", gt=0)
    distribution: str = _distribution()


@dataclass(kw_only=True, slots=True)
class Kaiming(Rule):
    """Kaiming initialization (He et al., ICCV 2015)."""

    function: ClassVar[str] = "kaiming_{}_"
    needs_fan: ClassVar[bool] = True

    a: float = _number(0.0, "Negative slope of the leaky ReLU.")
    mode: str = option(
        "fan_out", "Whether to preserve the variance of the forward (fan_in) or the backward pass (fan_out).",
        choices=("fan_in", "fan_out"),
    )  # fmt: skip
    nonlinearity: str = option("relu", "Nonlinearity after the layer.", choices=("relu", "leaky_relu"))
    distribution: str = _distribution()


@dataclass(kw_only=True, slots=True)
class Caffe2Xavier(Rule):
    """Caffe2's XavierFill: uniform with variance 1 / fan_in, equal to Kaiming with a leaky ReLU of slope 1."""

    needs_fan: ClassVar[bool] = True

    def fill(self, weight: Tensor) -> None:
        Kaiming(a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform").fill(weight)


@dataclass(kw_only=True, slots=True)
class Pretrained(ValidatedConfig):
    """Load all values from a checkpoint (``vexp.model.weights.load_checkpoint``)."""

    checkpoint: str = option(doc="File, run folder, https://... or torchvision://NAME.")
    prefix: str | None = option(None, "Prefix of the keys to load; it is removed from them.")


RULES: dict[str, type[Rule] | type[Pretrained]] = {
    cls.__name__: cls for cls in (Constant, Normal, TruncNormal, Uniform, Xavier, Kaiming, Caffe2Xavier, Pretrained)
}
