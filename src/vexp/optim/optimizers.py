"""The ``optimizer`` group: torch's optimizers by their own names and arguments.

Arguments and defaults are those of ``torch.optim``; where a default differs on purpose, tests/optim/test_optimizer.py
says why. Not offered: ``capturable`` (for CUDA graphs) and ``differentiable`` (for gradients through a step).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.fields import ValidatedConfig, option
from vexp.optim.paramwise import Paramwise

if TYPE_CHECKING:
    import torch

LR_DOC = "base learning rate: the lr_policy moves it, optimizer.base_batch_size scales it with the batch"
FUSED_DOC = "one kernel for all parameters; null: where torch has it for their device, unless foreach is set"

#: Classes of torch.optim that no option stands for, and why.
UNSUPPORTED = {
    "LBFGS": "it measures the loss of the same batch several times a step, through a closure; a training step here "
    "computes one gradient",
    "SparseAdam": "it takes sparse gradients only, and those of a model are dense; adam is its dense form",
    "Muon": "it takes matrices only, and a video model also has convolutions, biases and norm layers",
}


def unsupported_reason(name: str) -> str | None:
    """Why there is no option for a class of torch.optim, by its name in any spelling (``lbfgs``, ``sparse_adam``)."""
    plain = name.replace("_", "").lower()
    return next((why for torch_name, why in UNSUPPORTED.items() if torch_name.lower() == plain), None)


@dataclass(kw_only=True, slots=True)
class Optimizer(ValidatedConfig):
    """Base of the options. ``lr`` and ``weight_decay`` are what parameter groups and learning-rate policies scale."""

    torch_name: ClassVar[str]
    fused_on: ClassVar[tuple[str, ...]] = ()  # device types whose parameters torch's fused kernel takes

    lr: float = option(doc=LR_DOC, ge=0)
    base_batch_size: int | None = option(
        None,
        "the lr is meant for this many samples a step and scaled to those of the run (batch x accumulate x processes), "
        "Goyal et al. 2017; null: not scaled",
        unit="samples",
        ge=1,
    )
    paramwise: Paramwise = option(Paramwise, "other learning rates and weight decays for parts of the model")
    maximize: bool = option(False, "climb the loss instead of descending it")
    foreach: bool | None = option(None, "one call for a list of parameters; null: as torch does, on a GPU")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        names = [item.name for item in fields(self)]
        if "weight_decay" not in names:
            self.paramwise.refuse_decay(type(self).__name__)
        if "fused" in names and self.foreach and getattr(self, "fused", None):
            raise ValueError("foreach=true and fused=true: torch can do one of them; set the other to null")

    def scaled_lr(self, samples_per_step: int) -> float:
        """The base learning rate of a run whose optimizer steps see so many samples."""
        return self.lr if self.base_batch_size is None else self.lr * (samples_per_step / self.base_batch_size)

    def build(self, params: Iterable[Any]) -> torch.optim.Optimizer:
        """The torch optimizer over parameters or groups of them (dicts with ``params``).

        Raises:
            ValueError: ``fused=true`` for parameters that torch has no fused kernel for.
        """
        import torch

        cls: type[torch.optim.Optimizer] = getattr(torch.optim, self.torch_name)
        given = list(params)
        arguments = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("base_batch_size", "paramwise")
        }
        if "fused" in arguments:
            arguments["fused"] = self._choose_fused(arguments["fused"], given)
        return cls(given, **arguments)

    def _choose_fused(self, wanted: bool | None, given: list[Any]) -> bool | None:
        tensors = [p for item in given for p in (item["params"] if isinstance(item, dict) else [item])]
        unfit = next((p for p in tensors if p.device.type not in self.fused_on or not p.is_floating_point()), None)
        if wanted is None:
            return (unfit is None and self.foreach is None) or None
        if wanted and unfit is not None:
            raise ValueError(
                f"fused=true: torch has this kernel for floating-point parameters on {', '.join(self.fused_on)}, "
                f"one is {unfit.dtype} on {unfit.device.type}; null chooses by itself"
            )
        return wanted


@dataclass(kw_only=True, slots=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    torch_name: ClassVar[str] = "SGD"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    lr: float = option(0.1, LR_DOC, ge=0)
    momentum: float = option(0.9, "share of the last update that is kept", ge=0)
    dampening: float = option(0.0, "what the gradient loses when it joins the momentum: it counts 1 - dampening")
    weight_decay: float = option(1e-4, "L2 penalty, added to the gradient", ge=0)
    nesterov: bool = option(False, "look ahead along the momentum (needs momentum > 0, dampening 0)")
    fused: bool | None = option(None, FUSED_DOC)

    def __post_init__(self) -> None:
        Optimizer.__post_init__(self)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov=true: needs momentum > 0 and dampening=0")


@dataclass(kw_only=True, slots=True)
class Adam(Optimizer):
    """Adam, Kingma and Ba 2015 (torch.optim.Adam): weight decay is added to the gradient; see adamw."""

    torch_name: ClassVar[str] = "Adam"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    lr: float = option(1e-3, LR_DOC, ge=0)
    betas: list[float] = option(
        [0.9, 0.999], "decay rates of the running means of the gradient and of its square", length=2, ge=0, lt=1
    )
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(0.0, "L2 penalty, added to the gradient", ge=0)
    amsgrad: bool = option(False, "divide by the largest second moment so far instead of the present one")
    fused: bool | None = option(None, FUSED_DOC)


@dataclass(kw_only=True, slots=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019 (torch.optim.AdamW)."""

    torch_name: ClassVar[str] = "AdamW"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    lr: float = option(1e-3, LR_DOC, ge=0)
    betas: list[float] = option(
        [0.9, 0.999], "decay rates of the running means of the gradient and of its square", length=2, ge=0, lt=1
    )
    eps: float = option(1e-8, "added to the denominator, so that it is never 0", ge=0)
    weight_decay: float = option(1e-2, "shrinks the weights by lr x weight_decay each step", ge=0)
    amsgrad: bool = option(False, "divide by the largest second moment so far instead of the present one")
    fused: bool | None = option(None, FUSED_DOC)
