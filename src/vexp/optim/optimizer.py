"""The ``optimizer`` group: torch's optimizers by their own names and arguments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.fields import Checked, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Optimizer(Checked):
    """Base of the options: ``lr`` and ``weight_decay`` are what parameter groups and learning-rate policies scale."""

    torch_name: ClassVar[str]

    lr: float = option(doc="base learning rate, which the lr_policy scales", ge=0)
    weight_decay: float = option(0.0, "weight decay", ge=0)

    def build(self, params: Any) -> torch.optim.Optimizer:
        """The torch optimizer over ``params`` (an iterable of parameters or groups)."""
        import torch

        cls: type[torch.optim.Optimizer] = getattr(torch.optim, self.torch_name)
        return cls(params, **asdict(self))


@dataclass(kw_only=True, slots=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    torch_name: ClassVar[str] = "SGD"

    lr: float = option(0.1, "base learning rate, which the lr_policy scales", ge=0)
    momentum: float = option(0.9, "share of the last update that is kept", ge=0)
    dampening: float = option(0.0, "takes away from the gradient's share")
    weight_decay: float = option(1e-4, "L2 penalty, added to the gradient", ge=0)
    nesterov: bool = option(False, "look ahead along the momentum (needs momentum > 0, dampening 0)")

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov=true: needs momentum > 0 and dampening=0")


@dataclass(kw_only=True, slots=True)
class Adam(Optimizer):
    """Adam, Kingma and Ba 2015 (torch.optim.Adam): weight decay is added to the gradient; see adamw."""

    torch_name: ClassVar[str] = "Adam"

    lr: float = option(1e-3, "base learning rate, which the lr_policy scales", ge=0)
    betas: list[float] = option([0.9, 0.999], "decay rates of the two running means", length=2, ge=0, lt=1)
    eps: float = option(1e-8, "added to the denominator", ge=0)
    amsgrad: bool = option(False, "use the maximum of the second moment so far")


@dataclass(kw_only=True, slots=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019 (torch.optim.AdamW)."""

    torch_name: ClassVar[str] = "AdamW"

    lr: float = option(1e-3, "base learning rate, which the lr_policy scales", ge=0)
    betas: list[float] = option([0.9, 0.999], "decay rates of the two running means", length=2, ge=0, lt=1)
    eps: float = option(1e-8, "added to the denominator", ge=0)
    weight_decay: float = option(1e-2, "shrinks the weights by lr x weight_decay each step", ge=0)
    amsgrad: bool = option(False, "use the maximum of the second moment so far")
