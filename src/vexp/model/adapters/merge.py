"""Merging of adapters into the weights, on state dicts, which needs no peft."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from vexp.model.adapters.config import Lora

NAME = "default"  # of the adapter: peft supports several
#: Keys of an adapter in the state dict of a model: the path of the layer and the part of the adapter.
ADAPTER_KEY = re.compile(rf"(.+)\.(lora_A|lora_B|lora_magnitude_vector)\.{NAME}\.weight")


def saved_lora(content: Mapping[str, Any]) -> Lora | None:
    """Return the adapter options of the run that wrote a checkpoint; None if it has no adapters.

    Raises:
        ConfigError: If the options are damaged.
    """
    saved: Any = content
    for key in ("config", "model", "lora"):
        saved = saved.get(key) if isinstance(saved, Mapping) else None
    if not isinstance(saved, Mapping) or saved.get("rank") is None:
        return None
    return Lora(**{field.name: saved[field.name] for field in fields(Lora) if field.name in saved})


def without_adapters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved config of a run with adapters, for its merged weights."""
    model = config["model"]
    return {**config, "model": {**model, "lora": {**model["lora"], "rank": None}}}


def merge_tensors(tensors: Mapping[str, Tensor], options: Lora) -> dict[str, Tensor]:
    """Return the state dict of the model without adapters, with the same outputs; their keys are those of peft."""
    adapters: dict[str, dict[str, Tensor]] = {}
    merged: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if (match := ADAPTER_KEY.fullmatch(key)) is not None:
            adapters.setdefault(match[1], {})[match[2]] = tensor
        else:
            merged[key.replace(".base_layer.", ".")] = tensor
    for path, adapter in adapters.items():
        weight, a, b = merged[f"{path}.weight"], adapter["lora_A"], adapter["lora_B"]
        weight = weight + options.scale * (b.flatten(1) @ a.flatten(1)).reshape(weight.shape)
        if (magnitude := adapter.get("lora_magnitude_vector")) is not None:
            per_output = (-1, *[1] * (weight.ndim - 1))
            weight = weight * (magnitude.flatten() / weight.flatten(1).norm(dim=1)).view(per_output)
        merged[f"{path}.weight"] = weight
    return merged
