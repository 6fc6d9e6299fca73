"""The optimizers of torch.optim that video recipes seldom use. Options like those of ``vexp.optim.optimizers``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vexp.core.fields import option
from vexp.optim.optimizers import FUSED_DOC, LR_DOC, Optimizer

_L2 = "L2 penalty, added to the gradient"
_DECOUPLED = "weight decay as in adamw: it shrinks the weights instead of joining the gradient"


@dataclass(kw_only=True, slots=True)
class Adadelta(Optimizer):
    """Steps in units of the last updates, Zeiler 2012 (torch.optim.Adadelta)."""

    torch_name: ClassVar[str] = "Adadelta"

    lr: float = option(1.0, LR_DOC, ge=0)
    rho: float = option(0.9, "decay rate of the running means of squares", ge=0, le=1)
    eps: float = option(1e-6, "added under both roots", ge=0)
    weight_decay: float = option(0.0, _L2, ge=0)


def _adafactor_eps(eps: Any) -> str | None:
    first, second = eps
    positive = second is not None and second >= 0 and (first is None or first >= 0)
    return None if positive else "must be two numbers >= 0, of which the first may be null (the type's resolution)"


@dataclass(kw_only=True, slots=True)
class Adafactor(Optimizer):
    """Adam with a second moment kept as row and column means, Shazeer and Stern 2018 (torch.optim.Adafactor)."""

    torch_name: ClassVar[str] = "Adafactor"

    lr: float = option(1e-2, LR_DOC, ge=0)
    beta2_decay: float = option(-0.8, "exponent c of the second moment's decay rate 1 - step ** c", le=0)
    eps: list[float | None] = option(
        [None, 1e-3], "floors of the squared gradient and of the parameter's scale", length=2, check=_adafactor_eps
    )
    d: float = option(1.0, "largest root mean square of an update", ge=1)
    weight_decay: float = option(0.0, "shrinks the weights by lr x weight_decay each step", ge=0)


@dataclass(kw_only=True, slots=True)
class Adagrad(Optimizer):
    """Each parameter's rate falls with the sum of its squared gradients, Duchi et al. 2011 (torch.optim.Adagrad)."""

    torch_name: ClassVar[str] = "Adagrad"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu",)  # on a GPU only newer versions of torch have it

    lr: float = option(1e-2, LR_DOC, ge=0)
    lr_decay: float = option(0.0, "rate after n steps is lr / (1 + n lr_decay)", ge=0)
    weight_decay: float = option(0.0, _L2, ge=0)
    initial_accumulator_value: float = option(0.0, "sum of squares before the first step", ge=0)
    eps: float = option(1e-10, "added to the denominator, so that it is never 0", ge=0)
    fused: bool | None = option(None, FUSED_DOC)


@dataclass(kw_only=True, slots=True)
class Adamax(Optimizer):
    """Adam with the largest gradient so far for its second moment, Kingma and Ba 2015 (torch.optim.Adamax)."""

    torch_name: ClassVar[str] = "Adamax"

    lr: float = option(2e-3, LR_DOC, ge=0)
    betas: list[float] = option([0.9, 0.999], "decay rates of mean and maximum", length=2, ge=0, lt=1)
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(0.0, _L2, ge=0)


@dataclass(kw_only=True, slots=True)
class ASGD(Optimizer):
    """SGD with a falling rate, and an average of the weights in its state, Polyak and Juditsky 1992
    (torch.optim.ASGD). The average is not what is evaluated: for that see ``ema``."""

    torch_name: ClassVar[str] = "ASGD"

    lr: float = option(1e-2, LR_DOC, ge=0)
    lambd: float = option(1e-4, "how fast the weights decay and the rate falls, per step", ge=0)
    alpha: float = option(0.75, "exponent of the fall of the learning rate", ge=0)
    t0: float = option(1e6, "step at which averaging begins", unit="steps", ge=0)
    weight_decay: float = option(0.0, _L2, ge=0)


@dataclass(kw_only=True, slots=True)
class NAdam(Optimizer):
    """Adam with Nesterov momentum, Dozat 2016 (torch.optim.NAdam)."""

    torch_name: ClassVar[str] = "NAdam"

    lr: float = option(2e-3, LR_DOC, ge=0)
    betas: list[float] = option(
        [0.9, 0.999], "decay rates of the running means of the gradient and of its square", length=2, ge=0, lt=1
    )
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(0.0, "L2 penalty, added to the gradient unless decoupled_weight_decay", ge=0)
    momentum_decay: float = option(4e-3, "how fast the momentum rises to betas[0]", ge=0)
    decoupled_weight_decay: bool = option(False, _DECOUPLED)


@dataclass(kw_only=True, slots=True)
class RAdam(Optimizer):
    """Adam whose first steps are rectified, a warm-up of its own, Liu et al. 2020 (torch.optim.RAdam)."""

    torch_name: ClassVar[str] = "RAdam"

    lr: float = option(1e-3, LR_DOC, ge=0)
    betas: list[float] = option(
        [0.9, 0.999], "decay rates of the running means of the gradient and of its square", length=2, ge=0, lt=1
    )
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(0.0, "L2 penalty, added to the gradient unless decoupled_weight_decay", ge=0)
    decoupled_weight_decay: bool = option(False, _DECOUPLED)


@dataclass(kw_only=True, slots=True)
class RMSprop(Optimizer):
    """The gradient by the root of its mean square, Tieleman and Hinton 2012 (torch.optim.RMSprop)."""

    torch_name: ClassVar[str] = "RMSprop"

    lr: float = option(1e-2, LR_DOC, ge=0)
    alpha: float = option(0.99, "decay rate of the mean square", ge=0)
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(0.0, _L2, ge=0)
    momentum: float = option(0.0, "share of the last update that is kept", ge=0)
    centered: bool = option(False, "divide by the running variance of the gradient instead of its mean square")


def _etas_rule(etas: Any) -> str | None:
    return None if 0 < etas[0] < 1 < etas[1] else "must be [down, up] with 0 < down < 1 < up"


def _step_sizes_rule(sizes: Any) -> str | None:
    return None if 0 <= sizes[0] <= sizes[1] else "must be [smallest, largest], both >= 0"


@dataclass(kw_only=True, slots=True)
class Rprop(Optimizer):
    """Steps from the gradient's sign alone, Riedmiller and Braun 1993 (torch.optim.Rprop). It has no weight decay, and
    is made for whole-set gradients: a sign that batches flip holds every step small."""

    torch_name: ClassVar[str] = "Rprop"

    lr: float = option(1e-2, "size of the first step; an lr_policy has no effect on later ones", ge=0)
    etas: list[float] = option(
        [0.5, 1.2],
        "factors on the size of a step: where the gradient's sign flips, where it stays",
        length=2,
        check=_etas_rule,
    )
    step_sizes: list[float] = option(
        [1e-6, 50.0], "smallest and largest size of a step", length=2, check=_step_sizes_rule
    )
