"""Pretrained weights: reading checkpoint files, matching their tensors to a model, and loading them.

The functions below import torch, so they are resolved on first use: the config imports ``weights.config`` without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vexp.model.weights.load import load_checkpoint, load_state_dict, read_checkpoint, read_checkpoint_with_prefix
    from vexp.model.weights.report import LoadReport

__all__ = ["LoadReport", "load_checkpoint", "load_state_dict", "read_checkpoint", "read_checkpoint_with_prefix"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "report" if name == "LoadReport" else "load"
    return getattr(import_module(f"{__name__}.{module}"), name)
