"""A net without memory: its names, shapes and classes of layers, for plans and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vexp.model import ModelOption, build_model


def meta_model(option: str | ModelOption, num_classes: int) -> nn.Module:
    """The net of an option on torch's meta device, frozen where the option says so; its values do not exist."""
    with torch.device("meta"), SkipRandomInit():
        return build_model(option, num_classes, pretrained=False)


class SkipRandomInit(TorchFunctionMode):
    """Leaves out random initial values. Torch draws "meta" numbers in Python and imports its compiler for the first of
    them: three seconds for nothing."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]  # of torch.Tensor, and of torch.nn.init, by keyword
        return func(*args, **kwargs)
