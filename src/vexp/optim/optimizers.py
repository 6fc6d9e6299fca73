"""The ``optimizer`` group: torch's optimizers by their own names and arguments.

Arguments and defaults are those of ``torch.optim``; tests/optim/test_optimizers.py lists the intended differences. Not
supported are ``capturable`` (for CUDA graphs) and ``differentiable`` (for gradients through a step).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.sharded import is_sharded
from vexp.optim.paramwise import Paramwise

if TYPE_CHECKING:
    import torch

BETAS_DOC = "Decay rates of the running averages of the gradient and its square."
#: Declarations of fields that several optimizers share; the first argument is the default.
lr_option = partial(
    option, doc="Base learning rate, changed by lr_policy and scaled by optimizer.base_batch_size.", ge=0
)
eps_option = partial(option, doc="Term added to the denominator for numerical stability.", ge=0)
l2_option = partial(option, doc="Weight decay as an L2 penalty added to the gradient.", ge=0)
decoupled_option = partial(
    option, doc="Decoupled weight decay: the weights are multiplied by 1 - lr * weight_decay each step.", ge=0
)
amsgrad_option = partial(option, False, "Use the AMSGrad variant.")
fused_option = partial(
    option, None, "Use the fused kernel; null to use it if torch has one for the device and foreach is not set."
)

#: Classes of torch.optim without an option, with the reason.
UNSUPPORTED = {
    "LBFGS": "it evaluates the loss several times per step through a closure, while a training step computes one "
    "gradient",
    "SparseAdam": "it requires sparse gradients, and those of video models are dense; adam is its dense form",
    "Muon": "it supports matrices only, and video models also have convolutions, biases and norm layers",
}


def unsupported_reason(name: str) -> str | None:
    """Return why a class of torch.optim is not supported, by its name in any spelling (``lbfgs``, ``sparse_adam``)."""
    normalized = name.replace("_", "").lower()
    return next((reason for torch_name, reason in UNSUPPORTED.items() if torch_name.lower() == normalized), None)


@dataclass(kw_only=True, slots=True)
class Optimizer(ValidatedConfig):
    """Base class of the options. Parameter groups and learning-rate policies scale ``lr`` and ``weight_decay``."""

    torch_name: ClassVar[str]
    fused_on: ClassVar[tuple[str, ...]] = ()  # device types with a fused kernel in torch
    fused_on_shards: ClassVar[bool] = False  # whether it supports the sharded parameters of dist.strategy=fsdp
    supports_shards: ClassVar[bool] = True  # whether the update of an element depends on no other one

    lr: float = lr_option()
    base_batch_size: int | None = option(
        None,
        "Samples per step that lr is given for; lr is scaled linearly to those of the run (batch x accumulate x "
        "processes, Goyal et al. 2017); null for no scaling.",
        unit="samples", ge=1,
    )  # fmt: skip
    paramwise: Paramwise = option(Paramwise, "Learning rates and weight decays of parts of the model.")
    maximize: bool = option(False, "Maximize the loss instead of minimizing it.")
    foreach: bool | None = option(None, "Use the multi-tensor implementation; null for torch's default (on GPUs).")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if not hasattr(self, "weight_decay"):
            self.paramwise.refuse_decay(type(self).__name__)
        if self.foreach and getattr(self, "fused", None):
            raise ConfigError("conflicts with fused=true; set one of them to null", key="foreach", value=True)

    def scaled_lr(self, samples_per_step: int) -> float:
        """Return the base learning rate for this number of samples per optimizer step."""
        return self.lr if self.base_batch_size is None else self.lr * (samples_per_step / self.base_batch_size)

    def build(self, params: Iterable[Any]) -> torch.optim.Optimizer:
        """Build the torch optimizer for parameters or parameter groups (dicts with ``params``).

        Raises:
            ConfigError: If ``fused=true`` and torch has no fused kernel for the parameters.
        """
        import torch

        cls: type[torch.optim.Optimizer] = getattr(torch.optim, self.torch_name)
        params = list(params)
        arguments = {item.name: getattr(self, item.name) for item in fields(self)}
        del arguments["base_batch_size"], arguments["paramwise"]
        if "fused" in arguments:
            arguments["fused"] = self._choose_fused(arguments["fused"], params)
        return cls(params, **arguments)

    def _choose_fused(self, fused: bool | None, params: list[Any]) -> bool | None:
        tensors = (p for item in params for p in (item["params"] if isinstance(item, dict) else [item]))
        unsupported = next((tensor for tensor in tensors if not self._has_fused_kernel(tensor)), None)
        if fused is None:
            return (unsupported is None and self.foreach is None) or None
        if fused and unsupported is not None:
            sharded = "sharded " if is_sharded(unsupported) else ""
            rule = (
                f"torch has a fused kernel for floating-point parameters on {', '.join(self.fused_on)}, got "
                f"{sharded}{unsupported.dtype} on {unsupported.device.type}; null chooses automatically"
            )
            raise ConfigError(rule, key="fused", value=True)
        return fused

    def _has_fused_kernel(self, parameter: torch.Tensor) -> bool:
        supports_layout = self.fused_on_shards or not is_sharded(parameter)
        return parameter.device.type in self.fused_on and parameter.is_floating_point() and supports_layout


@dataclass(kw_only=True, slots=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    torch_name: ClassVar[str] = "SGD"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    lr: float = lr_option(0.1)
    momentum: float = option(0.9, "Momentum factor.", ge=0)
    dampening: float = option(0.0, "Dampening of the momentum; the gradient is weighted by 1 - dampening.")
    weight_decay: float = l2_option(1e-4)
    nesterov: bool = option(False, "Use Nesterov momentum; requires momentum > 0 and dampening = 0.")
    fused: bool | None = fused_option()

    def __post_init__(self) -> None:
        Optimizer.__post_init__(self)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ConfigError("requires momentum > 0 and dampening=0", key="nesterov", value=True)


@dataclass(kw_only=True, slots=True)
class Adam(Optimizer):
    """Adam, Kingma and Ba 2015 (torch.optim.Adam): weight decay is an L2 penalty; see also AdamW."""

    torch_name: ClassVar[str] = "Adam"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    fused_on_shards: ClassVar[bool] = True

    lr: float = lr_option(1e-3)
    betas: list[float] = option([0.9, 0.999], BETAS_DOC, length=2, ge=0, lt=1)
    eps: float = eps_option(1e-8)
    weight_decay: float = l2_option(0.0)
    amsgrad: bool = amsgrad_option()
    fused: bool | None = fused_option()


@dataclass(kw_only=True, slots=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019 (torch.optim.AdamW)."""

    torch_name: ClassVar[str] = "AdamW"
    fused_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    fused_on_shards: ClassVar[bool] = True

    lr: float = lr_option(1e-3)
    betas: list[float] = option([0.9, 0.999], BETAS_DOC, length=2, ge=0, lt=1)
    eps: float = eps_option(1e-8)
    weight_decay: float = decoupled_option(1e-2)
    amsgrad: bool = amsgrad_option()
    fused: bool | None = fused_option()
