"""Freezing: parameters without gradients, and norm layers that stay in eval mode during training."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from vexp.core.errors import ConfigError
from vexp.model.layers import is_batch_norm, is_norm, near_paths


def freeze(model: nn.Module, patterns: Sequence[str], *, norm_eval: bool, partial_bn: bool) -> None:
    """Exclude parameters of ``model`` from training, in place. Call it once the model is complete.

    Frozen parameters do not require gradients. Norm layers whose parameters are all frozen, here or by the model
    itself, stay in eval mode during training: they use their running statistics and do not update them.

    Args:
        model: The model to change.
        patterns: Dotted paths of modules (with everything below them) or parameters; ``*``, ``?`` and ``[12]`` match as
            in file names.
        norm_eval: Keep every norm layer in eval mode; its weight and bias are still trained (mmaction2).
        partial_bn: Freeze all batch norm layers except the first (TSN, Wang et al. 2016).

    Raises:
        ConfigError: If a pattern matches nothing, nothing is left to train, or the model has no batch norm for
            ``norm_eval`` or ``partial_bn``.
    """
    name = type(model).__name__
    for pattern in patterns:
        matching = [p for path, p in model.named_parameters(remove_duplicate=False) if matches(path, pattern)]
        if not matching:
            rule, hint = f"no parameter of {name} matches {pattern!r}", near_paths(pattern, model)
            raise ConfigError(rule, key="model.freeze", hint=hint)
        for parameter in matching:
            parameter.requires_grad_(False)
    norms = {path: layer for path, layer in model.named_modules() if is_norm(layer)}
    if norm_eval and not any(getattr(layer, "track_running_stats", False) for layer in norms.values()):
        raise ConfigError(f"{name} has no norm layer with running statistics", key="model.norm_eval", value=True)
    batch_norms = [layer for layer in norms.values() if is_batch_norm(layer)]
    if partial_bn and len(batch_norms) < 2:
        rule = f"needs a model with at least 2 batch norm layers, {name} has {len(batch_norms)}"
        raise ConfigError(rule, key="model.partial_bn", value=True)
    partial = batch_norms[1:] if partial_bn else []
    for layer in partial:
        layer.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"freezes all parameters of {name}, so nothing is left to train", key="model.freeze")
    paths = [
        path for path, layer in norms.items() if norm_eval or layer in partial or _is_frozen(path, layer, patterns)
    ]
    if paths:
        keep_in_eval_mode(model, paths)


def keep_in_eval_mode(model: nn.Module, paths: Sequence[str]) -> None:
    """Override ``model.train`` on this instance, so that the modules at ``paths`` stay in eval mode.

    The override is an instance attribute: ``model.train(mode)`` calls the method of the class and then puts the modules
    back in eval mode. It is not part of the state dict and is copied with the model.
    """
    model.train = _TrainMode(model, paths)  # type: ignore[method-assign]
    model.train(model.training)


class _TrainMode:
    """A replacement for ``model.train`` that keeps some modules in eval mode.

    Modules are identified by path, so that it still applies to a copy of the model (its moving average) and after batch
    norm layers were replaced by synchronized ones.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        self.model, self.paths = model, paths

    def __call__(self, mode: bool = True) -> nn.Module:
        type(self.model).train(self.model, mode)
        for path in self.paths:
            self.model.get_submodule(path).eval()
        return self.model


def matches(path: str, pattern: str) -> bool:
    """Return whether a shell-style pattern matches a dotted path or one of the modules that contain it."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _is_frozen(path: str, layer: nn.Module, patterns: Sequence[str]) -> bool:
    parameters = list(layer.parameters())
    if not parameters:  # a norm layer without weight and bias is frozen if a pattern names it
        return any(matches(path, pattern) for pattern in patterns)
    return not any(parameter.requires_grad for parameter in parameters)
