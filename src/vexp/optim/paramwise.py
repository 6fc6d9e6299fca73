"""``optimizer.paramwise``: learning rates and weight decays of parts of the model, applied by ``param_groups``.

The rules are those of mmcv 1.7's DefaultOptimizerConstructor and mmaction2 0.24's TSMOptimizerConstructor without their
bugs; the layer-wise decay is that of BEiT (Bao et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.optim.lr_policy.base import finite


class ParamMultipliers(NamedTuple):
    """Multipliers of the base learning rate and weight decay of a parameter."""

    rule: str  # name of the rule that sets them, "base" if none does
    lr_mult: float
    decay_mult: float
    layer: str = ""  # of a transformer, with ``layer_decay``

    @property
    def multipliers(self) -> tuple[float, float]:
        return self.lr_mult, self.decay_mult


BASE = ParamMultipliers("base", 1.0, 1.0)
_DEFAULT_RULE = ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult")
_factor = partial(option, 1.0, ge=0, check=finite)


@dataclass(kw_only=True, slots=True)
class Multipliers(ValidatedConfig):
    """An entry of ``custom_keys``."""

    lr_mult: float = _factor("Factor on the learning rate of these parameters.")
    decay_mult: float = _factor("Factor on the weight decay of these parameters.")


@dataclass(kw_only=True, slots=True)
class Paramwise(ValidatedConfig):
    """Multipliers of the base learning rate and weight decay by parameter name and layer type (mmcv's paramwise_cfg).

    ``custom_keys`` has precedence: the longest key contained in a parameter's dotted name (of equally long ones, the
    first in alphabetical order) sets both multipliers, or with ``multiply_keys`` the products of all contained keys
    (mmaction2's SwinOptimWrapperConstructor). For the other parameters:

    * norm layers (batch, instance, group, layer, RMS): ``norm_decay_mult`` for weight and bias;
    * depthwise convolutions (1D, 2D, 3D): ``dwconv_decay_mult`` for weight and bias;
    * any other parameter named ``bias``: ``bias_decay_mult``;
    * parameters named ``bias`` outside norm layers: ``bias_lr_mult``.

    ``layer_decay`` additionally multiplies the learning rates. With n attention blocks, the factor is
    layer_decay ** (n + 1 - i) for block i (from 1) and what follows it, layer_decay ** (n + 1) for what precedes the
    first block, and 1 for the last norm and the head. Blocks are modules with attention in an ``nn.ModuleList`` or
    ``nn.Sequential``.

    ``rule=tsm`` replaces these rules by the recipe of TSM (Lin et al. 2019): weights have 1 x lr, biases 2 x lr without
    decay, norm layers no decay; with ``fc_lr5`` the classifier (the last linear or convolution layer) has 5 x lr and
    its bias 10 x lr without decay.
    """

    rule: str = option(
        "default", "The multipliers below (default), or the recipe of TSM (tsm).", choices=("default", "tsm")
    )
    custom_keys: dict[str, Any] = option(
        {}, "lr_mult and decay_mult of the parameters whose names contain the key.",
        accepts="dict of {lr_mult, decay_mult} by name", see=("optimizer.lr",),
    )  # fmt: skip
    multiply_keys: bool = option(
        False, "Multiply the factors of all custom_keys that a name contains; false: those of the longest key alone."
    )
    bias_lr_mult: float = _factor("Factor on the learning rate of biases outside norm layers.")
    bias_decay_mult: float = _factor("Factor on the weight decay of biases outside norm and depthwise layers.")
    norm_decay_mult: float = _factor("Factor on the weight decay of norm layers.")
    dwconv_decay_mult: float = _factor("Factor on the weight decay of depthwise convolutions.")
    layer_decay: float | None = option(
        None, "Ratio of the learning rate of a transformer block to that of the next one.", gt=0, le=1
    )
    bypass_duplicate: bool = option(
        False, "Use the first name of a shared parameter if its names have different multipliers; false: an error."
    )
    fc_lr5: bool | None = option(None, "With rule=tsm: 5 and 10 x lr for the classifier; null for true.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self.custom_keys = dict(_by_key(self.custom_keys, ""))
        if self.rule == "tsm":
            for name in ("custom_keys", *_DEFAULT_RULE, "layer_decay"):
                if getattr(self, name) not in ({}, 1.0, None):
                    raise ConfigError(
                        "conflicts with rule=tsm, which sets all multipliers; remove one of them", key=name
                    )
        elif self.fc_lr5 is not None:
            raise ConfigError("has no effect without rule=tsm", key="fc_lr5", value=self.fc_lr5)

    def refuse_decay(self, optimizer: str) -> None:
        """Raise ConfigError if a multiplier applies to a weight decay that the optimizer does not have."""
        keys = [f"custom_keys.{key}.decay_mult" for key, given in self.custom_keys.items() if given.decay_mult != 1]
        keys += [name for name in _DEFAULT_RULE if name != "bias_lr_mult" and getattr(self, name) != 1]
        keys += ["rule=tsm"] * (self.rule == "tsm")
        if keys:
            raise ConfigError(f"{optimizer} has no weight decay", key=f"paramwise.{keys[0]}")

    def keys_of(self, name: str) -> list[str]:
        """Return the keys of ``custom_keys`` that apply to a parameter with this dotted name."""
        matching = sorted((key for key in self.custom_keys if key in name), key=lambda key: (-len(key), key))
        return matching if self.multiply_keys else matching[:1]

    def multipliers_of(self, name: str, *, norm: bool, depthwise: bool) -> ParamMultipliers:
        """Return the multipliers of a parameter with ``rule=default``, without ``layer_decay``.

        As in mmcv, the dotted name of a parameter of the model itself starts with a dot. ``norm`` and ``depthwise``
        give the type of its layer.
        """
        if keys := self.keys_of(name):
            factors = [self.custom_keys[key] for key in keys]
            lr_mult, decay_mult = (math.prod(getattr(each, of) for each in factors) for of in ("lr_mult", "decay_mult"))
            return ParamMultipliers("+".join(keys), lr_mult, decay_mult)
        bias = name.endswith(".bias") or name == "bias"
        if norm:
            return ParamMultipliers("norm", 1.0, self.norm_decay_mult)
        lr_mult = self.bias_lr_mult if bias else 1.0
        if depthwise:
            return ParamMultipliers("dwconv_bias" if bias else "dwconv", lr_mult, self.dwconv_decay_mult)
        return ParamMultipliers("bias", lr_mult, self.bias_decay_mult) if bias else BASE


def _by_key(entries: dict[str, Any], parent: str) -> Iterator[tuple[str, Multipliers]]:
    """Yield the entries by dotted key; on the command line, ``backbone.layer1.lr_mult`` creates nested dicts."""
    for part, value in entries.items():
        key = f"{parent}.{part}" if parent else str(part)
        if isinstance(value, Multipliers):
            yield key, value
            continue
        if not isinstance(value, dict) or not key:
            rule = f"must have lr_mult and decay_mult, as in {key}.lr_mult=0.1"
            raise ConfigError(rule, key=f"custom_keys.{key}", value=value)
        numbers = {name: value[name] for name in ("lr_mult", "decay_mult") if name in value}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ConfigError("must be a number", key=f"custom_keys.{key}.{name}", value=number)
        if numbers or not value:
            try:
                yield key, Multipliers(**{name: float(number) for name, number in numbers.items()})
            except ConfigError as error:
                raise error.below(f"custom_keys.{key}") from None
        yield from _by_key({name: inner for name, inner in value.items() if name not in numbers}, key)
