"""Less common optimizers of torch.optim, as options like those of ``vexp.optim.optimizers``.

The fields are written out, since reading the signatures of ``torch.optim`` would import torch with the config.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from vexp.core.fields import option
from vexp.optim.optimizers import BETAS_DOC, Optimizer, decoupled_option, eps_option, fused_option, l2_option, lr_option

_either_decay_option = partial(option, 0.0, "Weight decay, an L2 penalty unless decoupled_weight_decay.", ge=0)
_decoupled_flag = partial(option, False, "Use decoupled weight decay as in AdamW.")


@dataclass(kw_only=True, slots=True)
class Adadelta(Optimizer):
    """Adadelta, Zeiler 2012 (torch.optim.Adadelta)."""

    torch_name: ClassVar[str] = "Adadelta"

    lr: float = lr_option(1.0)
    rho: float = option(0.9, "Decay rate of the running averages of squares.", ge=0, le=1)
    eps: float = option(1e-6, "Term added to both roots for numerical stability.", ge=0)
    weight_decay: float = l2_option(0.0)


def _adafactor_eps(eps: Any) -> str | None:
    first, second = eps
    positive = second is not None and second >= 0 and (first is None or first >= 0)
    return None if positive else "must be two numbers >= 0, of which the first may be null (the precision of the dtype)"


@dataclass(kw_only=True, slots=True)
class Adafactor(Optimizer):
    """Adafactor, with a factored second moment, Shazeer and Stern 2018 (torch.optim.Adafactor)."""

    torch_name: ClassVar[str] = "Adafactor"
    supports_shards: ClassVar[bool] = False  # it averages over rows and columns

    lr: float = lr_option(1e-2)
    beta2_decay: float = option(-0.8, "Exponent c of the decay rate 1 - step ** c of the second moment.", le=0)
    eps: list[float | None] = option(
        [None, 1e-3], "Lower bounds of the squared gradient and of the parameter scale.", length=2, check=_adafactor_eps
    )
    d: float = option(1.0, "Clipping threshold of the root mean square of an update.", ge=1, infinite=True)
    weight_decay: float = decoupled_option(0.0)


@dataclass(kw_only=True, slots=True)
class Adagrad(Optimizer):
    """Adagrad, Duchi et al. 2011 (torch.optim.Adagrad)."""

    torch_name: ClassVar[str] = "Adagrad"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu",)  # older versions of torch have no CUDA kernel

    lr: float = lr_option(1e-2)
    lr_decay: float = option(0.0, "Learning rate decay; the rate after n steps is lr / (1 + n * lr_decay).", ge=0)
    weight_decay: float = l2_option(0.0)
    initial_accumulator_value: float = option(0.0, "Initial value of the sum of squared gradients.", ge=0)
    eps: float = eps_option(1e-10)
    fused: bool | None = fused_option()


@dataclass(kw_only=True, slots=True)
class Adamax(Optimizer):
    """Adamax, Adam with the infinity norm, Kingma and Ba 2015 (torch.optim.Adamax)."""

    torch_name: ClassVar[str] = "Adamax"

    lr: float = lr_option(2e-3)
    betas: list[float] = option(
        [0.9, 0.999], "Decay rates of the running average and of the maximum.", length=2, ge=0, lt=1
    )
    eps: float = eps_option(1e-8)
    weight_decay: float = l2_option(0.0)


@dataclass(kw_only=True, slots=True)
class ASGD(Optimizer):
    """Averaged SGD, Polyak and Juditsky 1992 (torch.optim.ASGD).

    The average is kept in the optimizer's state and is not evaluated; see ``ema`` for that.
    """

    torch_name: ClassVar[str] = "ASGD"

    lr: float = lr_option(1e-2)
    lambd: float = option(1e-4, "Decay of the weights and of the rate per step.", ge=0)
    alpha: float = option(0.75, "Exponent of the decay of the learning rate.", ge=0)
    t0: float = option(1e6, "Step at which averaging begins.", unit="steps", ge=0, infinite=True)
    weight_decay: float = l2_option(0.0)


@dataclass(kw_only=True, slots=True)
class NAdam(Optimizer):
    """Adam with Nesterov momentum, Dozat 2016 (torch.optim.NAdam)."""

    torch_name: ClassVar[str] = "NAdam"

    lr: float = lr_option(2e-3)
    betas: list[float] = option([0.9, 0.999], BETAS_DOC, length=2, ge=0, lt=1)
    eps: float = eps_option(1e-8)
    weight_decay: float = _either_decay_option()
    momentum_decay: float = option(4e-3, "Decay of the momentum.", ge=0)
    decoupled_weight_decay: bool = _decoupled_flag()


@dataclass(kw_only=True, slots=True)
class RAdam(Optimizer):
    """Rectified Adam, with a built-in warm-up, Liu et al. 2020 (torch.optim.RAdam)."""

    torch_name: ClassVar[str] = "RAdam"

    lr: float = lr_option(1e-3)
    betas: list[float] = option([0.9, 0.999], BETAS_DOC, length=2, ge=0, lt=1)
    eps: float = eps_option(1e-8)
    weight_decay: float = _either_decay_option()
    decoupled_weight_decay: bool = _decoupled_flag()


@dataclass(kw_only=True, slots=True)
class RMSprop(Optimizer):
    """RMSprop, Tieleman and Hinton 2012 (torch.optim.RMSprop)."""

    torch_name: ClassVar[str] = "RMSprop"

    lr: float = lr_option(1e-2)
    alpha: float = option(0.99, "Decay rate of the running average of the squared gradient.", ge=0)
    eps: float = eps_option(1e-8)
    weight_decay: float = l2_option(0.0)
    momentum: float = option(0.0, "Momentum factor.", ge=0)
    centered: bool = option(False, "Normalize by the variance of the gradient instead of its mean square.")


def _etas_rule(etas: Any) -> str | None:
    return None if 0 < etas[0] < 1 < etas[1] else "must be [down, up] with 0 < down < 1 < up"


def _step_sizes_rule(sizes: Any) -> str | None:
    return None if 0 <= sizes[0] <= sizes[1] else "must be [smallest, largest], both >= 0"


@dataclass(kw_only=True, slots=True)
class Rprop(Optimizer):
    """Rprop, Riedmiller and Braun 1993 (torch.optim.Rprop).

    It has no weight decay and is intended for full-batch gradients, since it uses only their sign.
    """

    torch_name: ClassVar[str] = "Rprop"

    lr: float = option(1e-2, "Size of the first step; lr_policy has no effect on later steps.", ge=0)
    etas: list[float] = option(
        [0.5, 1.2], "Factors on the step size if the sign of the gradient changes, and if it does not.", length=2,
        check=_etas_rule,
    )  # fmt: skip
    step_sizes: list[float] = option(
        [1e-6, 50.0], "Minimum and maximum step size.", length=2, check=_step_sizes_rule, infinite=True
    )
