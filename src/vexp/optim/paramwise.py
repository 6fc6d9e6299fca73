"""``optimizer.paramwise``: other learning rates and weight decays for parts of the model. ``param_groups`` applies it.

The rules are those of mmcv 1.7's DefaultOptimizerConstructor and mmaction2 0.24's TSMOptimizerConstructor, their faults
mended; the layer-wise decay is that of BEiT (Bao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, option
from vexp.optim.lr_policy.base import finite


class ParamMultipliers(NamedTuple):
    """What a parameter gets of the base rate and the weight decay, and why.

    ``rule``: the one that says so, "base" where none does; ``layer``: of a transformer under ``layer_decay``.
    """

    rule: str
    lr_mult: float
    decay_mult: float
    layer: str = ""

    @property
    def multipliers(self) -> tuple[float, float]:
        return self.lr_mult, self.decay_mult


BASE = ParamMultipliers("base", 1.0, 1.0)


@dataclass(kw_only=True, slots=True)
class Multipliers(ValidatedConfig):
    """What a key of ``custom_keys`` does to the parameters that it names."""

    lr_mult: float = option(1.0, "factor on the learning rate of these parameters", ge=0, check=finite)
    decay_mult: float = option(1.0, "factor on the weight decay of these parameters", ge=0, check=finite)


@dataclass(kw_only=True, slots=True)
class Paramwise(ValidatedConfig):
    """Multiples of the base learning rate and weight decay, by a parameter's name and kind (mmcv's paramwise_cfg).

    ``custom_keys`` goes first: of the keys that are part of a parameter's dotted name the longest wins (of equally long
    ones the first in the alphabet), and no other multiplier counts for that parameter. For the others:

    * norm layers (batch, instance, group, layer, RMS): ``norm_decay_mult`` for weight and bias;
    * depth-wise convolutions (1D, 2D, 3D): ``dwconv_decay_mult`` for weight and bias;
    * any other parameter called ``bias``: ``bias_decay_mult``;
    * ``bias_lr_mult`` for parameters called ``bias`` outside norm layers.

    ``layer_decay`` multiplies the rates of all these: in a model of n attention blocks, block i (from 1) and what follows
    it before the next one gets layer_decay ** (n + 1 - i), what comes before the first block layer_decay ** (n + 1),
    the last norm and the head 1. Blocks are the modules with attention in an ``nn.ModuleList`` or ``nn.Sequential``.

    ``rule=tsm`` is the recipe of TSM (Lin et al. 2019) instead of all these: weights 1 x rate, biases 2 x rate without
    decay, norm layers without decay, and with ``fc_lr5`` the classifier (the last linear or convolution layer) 5 x
    rate, its bias 10 x rate.
    """

    rule: str = option("default", "default: the multipliers below; tsm: TSM's recipe", choices=("default", "tsm"))
    custom_keys: dict[str, Any] = option(
        {},
        "part of a parameter's name -> its lr_mult and decay_mult",
        accepts="dict of {lr_mult, decay_mult} by name",
        see=("optimizer.lr",),
    )
    bias_lr_mult: float = option(1.0, "factor on the learning rate of biases outside norm layers", ge=0, check=finite)
    bias_decay_mult: float = option(
        1.0, "factor on the weight decay of biases outside norm and depth-wise layers", ge=0, check=finite
    )
    norm_decay_mult: float = option(1.0, "factor on the weight decay of norm layers", ge=0, check=finite)
    dwconv_decay_mult: float = option(1.0, "factor on the weight decay of depth-wise convolutions", ge=0, check=finite)
    layer_decay: float | None = option(None, "rate of a transformer's block in multiples of the next one's", gt=0, le=1)
    bypass_duplicate: bool = option(
        False, "where a shared parameter has several names with different multipliers the first name counts"
    )
    fc_lr5: bool | None = option(None, "with rule=tsm: 5 and 10 x rate for the classifier; null: true")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self.custom_keys = dict(_by_key(self.custom_keys, ""))
        if self.rule == "tsm":
            given = next((name for name in _DEFAULT_RULE if getattr(self, name) not in ({}, 1.0, None)), None)
            if given is not None:
                raise ValueError(f"{given}: rule=tsm sets every multiplier itself; leave out one of them")
        elif self.fc_lr5 is not None:
            raise ValueError(f"fc_lr5={format_value(self.fc_lr5)}: belongs to TSM's recipe, which rule=tsm chooses")

    def refuse_decay(self, optimizer: str) -> None:
        """
        Raises:
            ValueError: a weight decay is to be multiplied and the optimizer has none.
        """
        keys = [f"custom_keys.{key}.decay_mult" for key, given in self.custom_keys.items() if given.decay_mult != 1]
        keys += [name for name in _DEFAULT_RULE if name.endswith("_decay_mult") and getattr(self, name) != 1]
        keys += ["rule=tsm"] * (self.rule == "tsm")
        if keys:
            raise ValueError(f"paramwise.{keys[0]}: {optimizer} has no weight decay to multiply")

    def key_of(self, name: str) -> str | None:
        """The key that decides for a parameter, by its dotted name; None: no key is part of it."""
        fitting = [key for key in self.custom_keys if key in name]
        return min(fitting, key=lambda key: (-len(key), key), default=None)

    def share(self, name: str, *, norm: bool, depthwise: bool) -> ParamMultipliers:
        """Multiples for one parameter under ``rule=default``, without ``layer_decay``.

        Args:
            name: its dotted name; mmcv's form for a parameter of the model itself begins with a dot.
            norm, depthwise: the kind of the layer that holds it.
        """
        key = self.key_of(name)
        if key is not None:
            given = self.custom_keys[key]
            return ParamMultipliers(key, given.lr_mult, given.decay_mult)
        bias = name.rpartition(".")[2] == "bias"
        if norm:
            return ParamMultipliers("norm", 1.0, self.norm_decay_mult)
        lr_mult = self.bias_lr_mult if bias else 1.0
        if depthwise:
            return ParamMultipliers("dwconv_bias" if bias else "dwconv", lr_mult, self.dwconv_decay_mult)
        return ParamMultipliers("bias", lr_mult, self.bias_decay_mult) if bias else BASE


def _by_key(given: dict[str, Any], above: str) -> Iterator[tuple[str, Multipliers]]:
    """The keys as they are meant: on the command line the dots of ``backbone.layer1.lr_mult`` make dicts in dicts.

    Raises:
        ValueError: a value that is not lr_mult or decay_mult, or breaks their rules.
    """
    for part, value in given.items():
        key = f"{above}.{part}" if above else str(part)
        if isinstance(value, Multipliers):
            yield key, value
            continue
        if not isinstance(value, dict) or not key:
            raise ValueError(
                f"custom_keys.{key}={format_value(value)}: a key takes lr_mult and decay_mult, {key}.lr_mult=0.1"
            )
        numbers = {name: value[name] for name in ("lr_mult", "decay_mult") if name in value}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"custom_keys.{key}.{name}={format_value(number)}: must be a number")
        if numbers or not value:
            try:
                yield key, Multipliers(**{name: float(number) for name, number in numbers.items()})
            except ValueError as error:
                raise ValueError(f"custom_keys.{key}.{error}") from None
        yield from _by_key({name: inner for name, inner in value.items() if name not in numbers}, key)


_DEFAULT_RULE = (
    "custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "layer_decay",
)  # fmt: skip
