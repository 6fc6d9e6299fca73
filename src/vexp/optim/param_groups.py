"""Parameter groups: which parameter is trained at which rate and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from vexp.model.layers import is_depthwise, is_norm, near_paths
from vexp.optim.layer_decay import layer_indices
from vexp.optim.optimizers import Optimizer
from vexp.optim.paramwise import BASE, ParamMultipliers, Paramwise

_MOST_RULES = 3  # that a group's name tells


@dataclass(slots=True)
class _Place:
    """A trainable parameter under one of its names."""

    path: str  # of the module that holds it, "" for the model itself
    leaf: str
    module: nn.Module
    parameter: nn.Parameter

    @property
    def name(self) -> str:
        return f"{self.path}.{self.leaf}" if self.path else self.leaf


def param_groups(
    model: nn.Module, *, lr: float, weight_decay: float | None, paramwise: Paramwise | None
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: every trainable parameter in exactly one, those with equal settings in the same.

    Args:
        model: parameters with ``requires_grad`` are trained.
        lr: base learning rate.
        weight_decay: base weight decay; None for an optimizer that has none.
        paramwise: multiples of both; None for one group of all.

    Returns:
        In the order of each group's first parameter in ``model``: ``params``, ``param_names``, ``lr``, ``initial_lr``
        (what a learning-rate policy scales), ``weight_decay`` (unless it is None) and ``name``: "base" for what no
        rule changes, else the rules that made the group, "norm+bias".

    Raises:
        ValueError: nothing to train, a key of ``custom_keys`` that is in no parameter's name, a shared parameter whose
            names have different multipliers, no transformer for ``layer_decay``; begins with the option's name.
    """
    paramwise = Paramwise() if paramwise is None else paramwise
    if weight_decay is None:
        paramwise.refuse_decay("this optimizer")
    places = list(_places(model))
    if not places:
        raise ValueError("every parameter is frozen, nothing is left to train")
    _refuse_unused_keys(paramwise, model)
    shares = _shares(places, _rule(paramwise, model, places), bypass_duplicate=paramwise.bypass_duplicate)
    groups: dict[tuple[float, float | None], dict[str, Any]] = {}
    reasons: dict[tuple[float, float | None], list[ParamMultipliers]] = {}
    for place, share in shares:
        rate = lr * share.lr_mult
        decay = None if weight_decay is None else weight_decay * share.decay_mult
        settings = {"lr": rate, "initial_lr": rate} | ({} if decay is None else {"weight_decay": decay})
        group = groups.setdefault((rate, decay), {"params": [], "param_names": [], **settings})
        group["params"].append(place.parameter)
        group["param_names"].append(place.name)
        reasons.setdefault((rate, decay), []).append(share)
    names: list[str] = []
    for key, group in groups.items():
        names.append(_unused_name(_group_name(reasons[key]), names))
        group["name"] = names[-1]
    return list(groups.values())


def groups_of_option(option: Optimizer, model: nn.Module, *, samples_per_step: int) -> list[dict[str, Any]]:
    """The ``param_groups`` of an ``optimizer`` option, without the optimizer: torch takes seconds to make its first."""
    weight_decay = getattr(option, "weight_decay", None)
    lr = option.scaled_lr(samples_per_step)
    return param_groups(model, lr=lr, weight_decay=weight_decay, paramwise=option.paramwise)


def build_optimizer(option: Any, model: nn.Module, *, samples_per_step: int) -> torch.optim.Optimizer:
    """The torch optimizer of an ``optimizer`` option over the trainable parameters of ``model``.

    An option of one's own that is no ``Optimizer`` gets the parameters, makes groups if it likes, and keeps its rates.

    Raises:
        ValueError: see ``param_groups``; ``fused=true`` where torch cannot.
    """
    if isinstance(option, Optimizer):
        groups = groups_of_option(option, model, samples_per_step=samples_per_step)
        return replace(option, lr=option.scaled_lr(samples_per_step)).build(groups)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer: torch.optim.Optimizer = option.build([p for p in model.parameters() if p.requires_grad])
    several = len(optimizer.param_groups) > 1
    for number, group in enumerate(optimizer.param_groups):
        group.setdefault("name", f"group_{number}" if several else BASE.rule)
        group["param_names"] = [names[id(parameter)] for parameter in group["params"]]
        group["initial_lr"] = group["lr"]
    return optimizer


def _places(model: nn.Module) -> Iterator[_Place]:
    """Module by module from the outside in, a module's own parameters before those of its children; under all names."""
    for path, module in model.named_modules(remove_duplicate=False):
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter.requires_grad:
                yield _Place(path, leaf, module, parameter)


def _rule(paramwise: Paramwise, model: nn.Module, places: list[_Place]) -> Callable[[_Place], ParamMultipliers]:
    if paramwise.rule == "tsm":
        return _tsm_rule(places, fc_lr5=paramwise.fc_lr5 is not False)
    numbers, last = ({}, 0) if paramwise.layer_decay is None else layer_indices(model)

    def share(place: _Place) -> ParamMultipliers:
        # mmcv's form of the name, ".scale" for a parameter of the model itself, so that its keys find what they found
        named = f"{place.path}.{place.leaf}"
        share = paramwise.share(named, norm=is_norm(place.module), depthwise=is_depthwise(place.module))
        number = numbers.get(place.name, last)
        if number == last:
            return share
        assert paramwise.layer_decay is not None
        scale = paramwise.layer_decay ** (last - number)
        rule = BASE.rule if share.multipliers == BASE.multipliers else share.rule
        return ParamMultipliers(rule, share.lr_mult * scale, share.decay_mult, layer=f"layer_{number}")

    return share


def _tsm_rule(places: list[_Place], *, fc_lr5: bool) -> Callable[[_Place], ParamMultipliers]:
    """TSM's recipe. The classifier is a layer, so that one without bias makes no other layer's bias ten times as fast;
    layers of any kind have a place in it, and so have parameters of a module's own."""
    layers = [place.module for place in places if isinstance(place.module, nn.Linear | nn.modules.conv._ConvNd)]
    classifier = layers[-1] if layers and fc_lr5 else None

    def share(place: _Place) -> ParamMultipliers:
        bias = place.leaf == "bias"
        if is_norm(place.module):
            return ParamMultipliers("norm", 1.0, 0.0)
        if place.module is classifier:
            return ParamMultipliers("classifier_bias", 10.0, 0.0) if bias else ParamMultipliers("classifier", 5.0, 1.0)
        return ParamMultipliers("bias", 2.0, 0.0) if bias else BASE

    return share


def _shares(
    places: list[_Place], rule: Callable[[_Place], ParamMultipliers], *, bypass_duplicate: bool
) -> list[tuple[_Place, ParamMultipliers]]:
    """Every parameter once, under its first name."""
    found: dict[int, tuple[_Place, ParamMultipliers]] = {}
    for place in places:
        share = rule(place)
        first, before = found.setdefault(id(place.parameter), (place, share))
        if share.multipliers != before.multipliers and not bypass_duplicate:
            raise ValueError(
                f"paramwise: {first.name} and {place.name} are one parameter, with the multipliers of {before.rule} "
                f"and {share.rule}; paramwise.bypass_duplicate=true takes those of the first name"
            )
    return list(found.values())


def _refuse_unused_keys(paramwise: Paramwise, model: nn.Module) -> None:
    """Frozen parameters count: a key may stay while parts of the model are frozen and thawed."""
    names = [
        f"{path}.{leaf}"
        for path, module in model.named_modules(remove_duplicate=False)
        for leaf, _ in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    for key in paramwise.custom_keys:
        if not any(key in name for name in names):
            raise ValueError(
                f"paramwise.custom_keys.{key}: is part of no parameter's name in {type(model).__name__}"
                f"{near_paths(key, model)}"
            )


def _group_name(shares: list[ParamMultipliers]) -> str:
    """``base``, ``norm+bias``, ``layer_3``, ``layer_3.norm+bias``."""
    if any(share.multipliers == BASE.multipliers for share in shares):
        return BASE.rule
    layers = list(dict.fromkeys(share.layer for share in shares))
    if len(layers) > 1:
        return _joined(layer or "base" for layer in layers)
    rules = _joined(share.rule for share in shares)
    return ".".join(part for part in (layers[0], "" if layers[0] and rules == BASE.rule else rules) if part)


def _joined(words: Iterable[str]) -> str:
    different = list(dict.fromkeys(words))
    more = len(different) - _MOST_RULES
    return "+".join(different[:_MOST_RULES]) + (f"+{more}_more" if more > 0 else "")


def _unused_name(name: str, taken: list[str]) -> str:
    """Names tell groups apart in logs: where two come out alike (a key is called "norm"), the later gets a number."""
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused
