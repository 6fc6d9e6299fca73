"""Parts of a net that do not learn: frozen parameters, and norm layers that stay in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from vexp.core.errors import UserError
from vexp.model.layers import is_batch_norm, is_norm, near_paths


def freeze(net: nn.Module, patterns: Sequence[str], *, norm_eval: bool, partial_bn: bool) -> None:
    """Take parameters out of training, in place. Only once the net has all of its parts.

    Frozen parameters have no gradient. Norm layers all of whose parameters are frozen, here or by the net itself, stay
    in eval mode whenever the net is put in train mode: they use their running statistics and do not update them.

    Args:
        patterns: dotted paths of modules (with all they hold) or parameters; ``*``, ``?``, ``[12]`` as in file names.
        norm_eval: every norm layer stays in eval mode; its weight and bias are trained all the same (mmaction2).
        partial_bn: all batch norm layers but the first are frozen (TSN, Wang et al. 2016).

    Raises:
        UserError: a pattern that fits nothing, nothing left to train, no batch norm for ``norm_eval``, ``partial_bn``.
    """
    for pattern in patterns:
        fitting = [p for name, p in net.named_parameters(remove_duplicate=False) if _fits(name, pattern)]
        if not fitting:
            raise UserError(f"model.freeze: no parameter of {_name(net)} is in {pattern!r}{near_paths(pattern, net)}")
        for parameter in fitting:
            parameter.requires_grad_(False)
    batch_norms = [layer for layer in net.modules() if is_batch_norm(layer)]
    if norm_eval and not any(getattr(layer, "track_running_stats", False) for layer in net.modules() if is_norm(layer)):
        raise UserError(f"model.norm_eval=true: {_name(net)} has no norm layer that differs in eval mode (batch norm)")
    if partial_bn:
        if len(batch_norms) < 2:
            raise UserError(
                f"model.partial_bn=true: keeps all batch norm layers but the first as they are, {_name(net)} has "
                f"{len(batch_norms)}"
            )
        for layer in batch_norms[1:]:
            layer.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError(f"model.freeze: all parameters of {_name(net)} are frozen, nothing is left to train")
    still = [
        name
        for name, layer in net.named_modules()
        if is_norm(layer) and (norm_eval or _frozen(name, layer, patterns) or (partial_bn and layer in batch_norms[1:]))
    ]
    if still:
        net.train = _Train(net, still)  # type: ignore[method-assign]
        net.train(net.training)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _frozen(name: str, layer: nn.Module, patterns: Sequence[str]) -> bool:
    parameters = list(layer.parameters())
    if not parameters:  # no weight and bias that could say so
        return any(_fits(name, pattern) for pattern in patterns)
    return not any(parameter.requires_grad for parameter in parameters)


def _name(net: nn.Module) -> str:
    return type(net).__name__


class _Train:
    """``train`` of one net: some of its layers stay in eval mode.

    They are known by path, so that a copy of the net (its moving average) and a net whose batch norm layers were
    replaced (by synchronised ones) do the same.
    """

    def __init__(self, net: nn.Module, still: Sequence[str]) -> None:
        self.net = net
        self.still = still

    def __call__(self, mode: bool = True) -> nn.Module:
        type(self.net).train(self.net, mode)
        for path in self.still:
            self.net.get_submodule(path).eval()
        return self.net
