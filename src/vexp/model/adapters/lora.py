"""Insertion, merging and export of low-rank adapters.

A layer with an adapter is one of peft's, in place of the original layer, which becomes its ``base_layer``: the weight
``PATH.weight`` is then called ``PATH.base_layer.weight``, and the adapter ``PATH.lora_A.default.weight`` and so on.
Pretrained weights are therefore loaded before adapters are inserted (``vexp.model.config.Model.build``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from vexp.core.errors import ConfigError, UserError
from vexp.core.files import atomic_directory, ensure_writable_dir
from vexp.model.adapters.config import Lora
from vexp.model.adapters.merge import ADAPTER_KEY, NAME, merge_tensors
from vexp.model.features import head_paths
from vexp.model.freeze import matches
from vexp.model.layers import near_paths

_LINEAR, _CONVOLUTIONS = (nn.Linear,), (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAX_NAMES = 4  # layers named in a message


def add_adapters(model: nn.Module, options: Lora, num_classes: int) -> None:
    """Insert adapters into the target layers, in place; only they and the head require gradients.

    The matrices B are 0, so that the outputs do not change.

    Raises:
        UserError: If peft is not installed.
        ConfigError: If a pattern of ``targets`` matches no layer that can have an adapter.
    """
    peft = _import_peft()
    heads = head_paths(model, num_classes)
    assert options.rank is not None
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank if options.alpha is None else options.alpha,
        lora_dropout=options.dropout,
        target_modules=_targets(model, options, heads),
        use_rslora=options.rslora,
        use_dora=options.dora,
    )
    peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    for path in heads:
        model.get_submodule(path).requires_grad_(True)


def check_trained(model: nn.Module, freeze: list[str]) -> None:
    """Check that the patterns of ``model.freeze`` leave an adapter to train.

    Raises:
        ConfigError: If they freeze all adapters.
    """
    if not any(p.requires_grad for name, p in model.named_parameters() if ADAPTER_KEY.fullmatch(name)):
        rule = "freezes all adapters of model.lora, whose base weights are frozen anyway"
        raise ConfigError(
            rule, key="model.freeze", value=freeze, hint="; remove the pattern, or set model.lora.rank=null"
        )


def check_magnitudes(model: nn.Module) -> None:
    """Check that DoRA can divide by the norm of every row of the weights, once pretrained weights are loaded.

    Raises:
        ConfigError: If a layer has a row of zeros, as one that is initialized to zero.
    """
    for name, magnitudes in model.named_parameters():
        if (match := ADAPTER_KEY.fullmatch(name)) and match[2] == "lora_magnitude_vector" and not magnitudes.all():
            rule = f"divides by the norm of the weights of each output, which is 0 in {match[1]}"
            hint = "; leave this layer out of model.lora.targets"
            raise ConfigError(rule, key="model.lora.dora", value=True, hint=hint)


def _import_peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UserError(f"model.lora needs the library peft: pip install 'vexp[peft]' ({error})") from None
    return peft


def _targets(model: nn.Module, options: Lora, heads: list[str]) -> list[str]:
    """Return the paths of the layers outside of the head that get an adapter."""
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, (*_LINEAR, *_CONVOLUTIONS))}
    head_layers = [path for path in layers if any(matches(path, head) for head in heads)]
    adaptable = {
        path: layer for path, layer in layers.items() if path not in head_layers and _supports_adapter(model, path)
    }
    name = type(model).__name__
    if not options.targets:
        targets = [path for path, layer in adaptable.items() if type(layer) in _LINEAR]
        if not targets:
            rule = f"{name} has no linear layer except its head; name convolutions"
            raise ConfigError(rule, key="model.lora.targets", value=[], hint=near_paths("", model))
        return targets
    for pattern in options.targets:
        if any(matches(path, pattern) for path in adaptable):
            continue
        found = [path for path in layers if matches(path, pattern)]
        rule = f"no linear layer or convolution of {name} matches {pattern!r}"
        if found and set(found) <= set(head_layers):
            rule = f"{pattern!r} matches only the head ({_few(found)}), which is trained itself"
        elif found:
            rule = (
                f"{pattern!r} matches only layers of {name} on which an adapter would not act as a low-rank update "
                f"(grouped or shifted convolutions, weights that are used without calling the layer): {_few(found)}"
            )
        raise ConfigError(rule, key="model.lora.targets", hint="" if found else near_paths(pattern.strip("*."), model))
    return [path for path in adaptable if any(matches(path, pattern) for pattern in options.targets)]


def _supports_adapter(model: nn.Module, path: str) -> bool:
    """Return whether an adapter has the effect of a low-rank update of the layer's weight.

    It has not if the layer is of a subclass that computes something else with its weight (TSM's shifted convolution),
    or if the parent reads the weight instead of calling the layer. Of convolutions with groups peft merges none.
    """
    layer, parent = model.get_submodule(path), model.get_submodule(path.rpartition(".")[0])
    is_bypassed = type(parent).__name__.startswith("ShiftedWindowAttention")  # of torchvision's Swin transformers
    return type(layer) in (*_LINEAR, *_CONVOLUTIONS) and not is_bypassed and getattr(layer, "groups", 1) == 1


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:_MAX_NAMES]) + (f" and {len(paths) - _MAX_NAMES} more" if len(paths) > _MAX_NAMES else "")


def adapted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with an adapter, by path."""
    return {
        path: layer for path, layer in model.named_modules() if isinstance(getattr(layer, "lora_A", None), nn.Module)
    }


def describe_adapters(model: nn.Module, options: Lora) -> str:
    """Describe the adapters: ``rank 8 on 24 layers, 294,912 parameters: blocks.0.attn.qkv, ...``."""
    layers = adapted_layers(model)
    size = sum(p.numel() for name, p in model.named_parameters() if ADAPTER_KEY.fullmatch(name))
    kind = "DoRA" if options.dora else "LoRA"
    return f"{kind} of rank {options.rank} on {len(layers)} layers, {size:,} parameters: {_few(list(layers))}"


def merge_adapters(model: nn.Module, options: Lora) -> None:
    """Replace every layer with an adapter by its original layer with the merged weight, in place."""
    for path, layer in adapted_layers(model).items():
        base = layer.base_layer
        assert isinstance(base, nn.Module)
        adapter = {f"{path}.{name}": tensor.detach() for name, tensor in layer.state_dict().items()}
        with torch.no_grad():
            base.weight.copy_(merge_tensors(adapter, options)[f"{path}.weight"])  # type: ignore[operator]
        model.set_submodule(path, base)


def save_adapters(
    model: nn.Module, folder: Path, num_classes: int, *, base: str | None = None, prefix: str = ""
) -> list[str]:
    """Write the adapters and the head in peft's layout, and return the names of the files.

    ``peft.PeftModel.from_pretrained(model, folder)`` inserts them into the model without adapters. Paths are relative
    to its part ``prefix`` if all of them are below that. ``base`` is the name of the weights in adapter_config.json.

    Raises:
        UserError: If the folder cannot be written.
    """
    from safetensors.torch import save_file

    peft = _import_peft()
    heads = head_paths(model, num_classes)
    state = peft.get_peft_model_state_dict(model, adapter_name=NAME)
    head_keys = tuple(f"{path}." for path in heads)
    state |= {key: value for key, value in model.state_dict().items() if key.startswith(head_keys)}
    if not all(key.startswith(prefix) for key in state):
        prefix = ""
    config = peft.LoraConfig(**{
        **model.peft_config[NAME].to_dict(),  # type: ignore[union-attr, index]
        "target_modules": [path.removeprefix(prefix) for path in adapted_layers(model)],
        "modules_to_save": [path.removeprefix(prefix) for path in heads],
        "base_model_name_or_path": base,
        "inference_mode": True,
    })  # fmt: skip
    tensors = {key.removeprefix(prefix): value.detach().cpu().contiguous() for key, value in state.items()}
    ensure_writable_dir(folder.parent, "set out=FOLDER")
    with atomic_directory(folder) as temporary:
        config.save_pretrained(temporary)
        named = {f"base_model.model.{key}": value for key, value in tensors.items()}  # as peft names them
        save_file(named, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        return sorted(path.name for path in temporary.iterdir())
