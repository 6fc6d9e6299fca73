"""Activation checkpointing: blocks keep only their inputs and are computed again in the backward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, by ``torch.utils.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vexp.core.errors import ConfigError
from vexp.model.layers import is_batch_norm, near_paths
from vexp.model.repeated_blocks import repeated_blocks

_KEY = "backend.activation_checkpointing"


def checkpoint_activations(model: nn.Module, blocks: bool | Sequence[str]) -> list[str]:
    """Let blocks of ``model`` be computed again in the backward pass of training, in place; return their paths.

    Random numbers (dropout, drop path) are repeated and the running statistics of batch norm updated once, so the
    gradients are those without it. The modules, the keys of the state dict and evaluation do not change.

    Args:
        model: The model, before it is compiled or wrapped for several processes.
        blocks: True for ``repeated_blocks``; else the dotted paths of modules, with shell-style patterns. Of nested
            modules that match, the outermost are taken.

    Raises:
        ConfigError: If the model has no repeated blocks, or a pattern matches no module.
    """
    if blocks is True:
        paths = repeated_blocks(model)
        if not paths:
            rule = f"{type(model).__name__} has no blocks with attention or convolutions in an nn.ModuleList or "
            rule += "nn.Sequential; give the paths of modules that need much memory, as in [stage1,stage2]"
            raise ConfigError(rule, key=_KEY, value=True)
    else:
        paths = _outermost([path for pattern in blocks or () for path in _matching(model, pattern)])
    for path in paths:
        block = model.get_submodule(path)
        block.forward = _CheckpointedForward(block)
    return paths


def describe_checkpointed(paths: Sequence[str]) -> str:
    """Return the number of checkpointed modules with the first and the last."""
    shown = " ... ".join(dict.fromkeys((paths[0], paths[-1])))
    return f"{len(paths)} module{'s' * (len(paths) != 1)} ({shown})"


class _CheckpointedForward:
    """A replacement for ``block.forward`` that does not save the activations of a training step.

    It is an attribute of the instance, so it is not part of the state dict and is copied with the module.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block, self.forward = block, block.forward
        self.has_batch_norm = any(map(is_batch_norm, block.modules()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.block.training and torch.is_grad_enabled()):
            return self.forward(*args, **kwargs)
        # torch.compile recomputes operations of its graph instead, which never include an update of a buffer
        if self.has_batch_norm and not torch.compiler.is_compiling():
            kwargs["context_fn"] = self._contexts
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return the contexts of the forward pass and of its repetition."""
        return nullcontext(), _frozen_statistics(self.block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm, which still normalizes with those of the batch."""
    layers: list[Any] = [layer for layer in block.modules() if is_batch_norm(layer)]
    settings = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, batches) in zip(layers, settings, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, batches


def _matching(model: nn.Module, pattern: str) -> list[str]:
    paths = [
        path
        for path, module in model.named_modules()
        if path and fnmatchcase(path, pattern) and not isinstance(module, nn.ModuleList | nn.ModuleDict)
    ]
    if not paths:
        rule, hint = f"no module of {type(model).__name__} matches {pattern!r}", near_paths(pattern, model)
        raise ConfigError(rule, key=_KEY, hint=hint)
    return paths


def _outermost(paths: Sequence[str]) -> list[str]:
    unique = dict.fromkeys(paths)
    return [path for path in unique if not any(path.startswith(f"{other}.") for other in unique)]
