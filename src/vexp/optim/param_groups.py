"""Parameter groups: the learning rate and weight decay of every parameter."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from vexp.core.errors import ConfigError
from vexp.model.layers import is_depthwise, is_norm, near_paths
from vexp.optim.layer_decay import layer_indices
from vexp.optim.optimizers import Optimizer
from vexp.optim.paramwise import BASE, ParamMultipliers, Paramwise

_MAX_RULES = 3  # in the name of a group


class _NamedParameter(NamedTuple):
    """A parameter under one of its names."""

    path: str  # of its module; "" for the model itself
    leaf: str
    module: nn.Module
    parameter: nn.Parameter

    @property
    def name(self) -> str:
        return f"{self.path}.{self.leaf}".removeprefix(".")

    @property
    def matched_name(self) -> str:
        """The name for ``custom_keys``: as in mmcv, that of a parameter of the model itself starts with a dot."""
        return f"{self.path}.{self.leaf}"


_Rule = Callable[[_NamedParameter], ParamMultipliers]


def param_groups(
    model: nn.Module, *, lr: float, weight_decay: float | None, paramwise: Paramwise | None
) -> list[dict[str, Any]]:
    """Build parameter groups for a torch optimizer, one for all trainable parameters with equal settings.

    Args:
        model: The model; parameters with ``requires_grad`` are trained.
        lr: Base learning rate.
        weight_decay: Base weight decay; None if the optimizer has none.
        paramwise: Multipliers of both; None for a single group.

    Returns:
        The groups in the order of their first parameter in ``model``, each with ``params``, ``param_names``, ``lr``,
        ``initial_lr`` (scaled by learning-rate policies), ``weight_decay`` (unless None) and ``name``: "base" if no
        rule applies, else the names of the rules, such as "norm+bias".

    Raises:
        ConfigError: If nothing is left to train, a key of ``custom_keys`` matches no parameter, the names of a shared
            parameter have different multipliers, or the model is not a transformer (``layer_decay``).
    """
    paramwise = Paramwise() if paramwise is None else paramwise
    if weight_decay is None:
        paramwise.refuse_decay("this optimizer")
    named_parameters = [  # under all of their names, those of a module before those of its children
        _NamedParameter(path, leaf, module, parameter)
        for path, module in model.named_modules(remove_duplicate=False)
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    trainable = [named for named in named_parameters if named.parameter.requires_grad]
    if not trainable:
        raise ConfigError("every parameter is frozen, so nothing is left to train")
    for key in paramwise.custom_keys:  # frozen parameters count, so that freezing needs no other change
        if not any(key in named.matched_name for named in named_parameters):
            rule = f"matches no parameter name of {type(model).__name__}"
            raise ConfigError(rule, key=f"paramwise.custom_keys.{key}", hint=near_paths(key, model, of_names=True))
    members: defaultdict[tuple[float, float | None], list[tuple[_NamedParameter, ParamMultipliers]]] = defaultdict(list)
    for named, multipliers in _assign(trainable, _make_rule(paramwise, model, trainable), paramwise.bypass_duplicate):
        decay = None if weight_decay is None else weight_decay * multipliers.decay_mult
        members[lr * multipliers.lr_mult, decay].append((named, multipliers))
    groups: list[dict[str, Any]] = []
    for (rate, decay), parameters in members.items():
        groups.append({
            "params": [named.parameter for named, _ in parameters],
            "param_names": [named.name for named, _ in parameters],
            "lr": rate, "initial_lr": rate, **({} if decay is None else {"weight_decay": decay}),
            "name": _group_name([multipliers for _, multipliers in parameters], [group["name"] for group in groups]),
        })  # fmt: skip
    return groups


def groups_of_option(option: Optimizer, model: nn.Module, *, samples_per_step: int) -> list[dict[str, Any]]:
    """Build the parameter groups of an option without the optimizer, whose creation takes torch seconds."""
    weight_decay = getattr(option, "weight_decay", None)
    return param_groups(
        model, lr=option.scaled_lr(samples_per_step), weight_decay=weight_decay, paramwise=option.paramwise
    )


def build_optimizer(option: Any, model: nn.Module, *, samples_per_step: int) -> torch.optim.Optimizer:
    """Build the torch optimizer of an ``optimizer`` option for the trainable parameters of ``model``.

    The option of a plugin that is not an ``Optimizer`` receives the parameters, may create groups, and keeps its rates.

    Raises:
        ConfigError: As for ``param_groups``, or if ``fused=true`` is not supported.
    """
    if isinstance(option, Optimizer):
        groups = groups_of_option(option, model, samples_per_step=samples_per_step)
        return replace(option, lr=option.scaled_lr(samples_per_step)).build(groups)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer: torch.optim.Optimizer = option.build([p for p in model.parameters() if p.requires_grad])
    several = len(optimizer.param_groups) > 1
    for index, group in enumerate(optimizer.param_groups):
        group.setdefault("name", f"group_{index}" if several else BASE.rule)
        group["param_names"] = [names[id(parameter)] for parameter in group["params"]]
        group["initial_lr"] = group["lr"]
    return optimizer


def _make_rule(paramwise: Paramwise, model: nn.Module, parameters: list[_NamedParameter]) -> _Rule:
    if paramwise.rule == "tsm":
        return _tsm_rule(parameters, fc_lr5=paramwise.fc_lr5 is not False)
    layer_decay = 1.0 if paramwise.layer_decay is None else paramwise.layer_decay
    indices, last = ({}, 0) if paramwise.layer_decay is None else layer_indices(model)

    def rule(named: _NamedParameter) -> ParamMultipliers:
        multipliers = paramwise.multipliers_of(
            named.matched_name, norm=is_norm(named.module), depthwise=is_depthwise(named.module)
        )
        index = indices.get(named.name, last)
        if index == last:
            return multipliers
        scale = layer_decay ** (last - index)
        rule_name = BASE.rule if multipliers.multipliers == BASE.multipliers else multipliers.rule
        return ParamMultipliers(rule_name, multipliers.lr_mult * scale, multipliers.decay_mult, layer=f"layer_{index}")

    return rule


def _tsm_rule(parameters: list[_NamedParameter], *, fc_lr5: bool) -> _Rule:
    """Return the rule of TSM.

    Unlike in mmaction2, the classifier is a layer, so that the bias of another layer is never scaled in its place if
    the classifier has none, and parameters of all kinds of layers are supported.
    """
    layers = [named.module for named in parameters if isinstance(named.module, nn.Linear | nn.modules.conv._ConvNd)]
    classifier = layers[-1] if layers and fc_lr5 else None

    def rule(named: _NamedParameter) -> ParamMultipliers:
        bias = named.leaf == "bias"
        if is_norm(named.module):
            return ParamMultipliers("norm", 1.0, 0.0)
        if named.module is classifier:
            return ParamMultipliers("classifier_bias", 10.0, 0.0) if bias else ParamMultipliers("classifier", 5.0, 1.0)
        return ParamMultipliers("bias", 2.0, 0.0) if bias else BASE

    return rule


def _assign(
    parameters: list[_NamedParameter], rule: _Rule, bypass_duplicate: bool
) -> list[tuple[_NamedParameter, ParamMultipliers]]:
    """Return every parameter once, under its first name, with its multipliers."""
    assigned: dict[int, tuple[_NamedParameter, ParamMultipliers]] = {}
    for named in parameters:
        multipliers = rule(named)
        first, before = assigned.setdefault(id(named.parameter), (named, multipliers))
        if multipliers.multipliers != before.multipliers and not bypass_duplicate:
            raise ConfigError(
                f"{first.name} and {named.name} are the same parameter, but have the multipliers of {before.rule} and "
                f"{multipliers.rule}; set paramwise.bypass_duplicate=true to use those of the first name",
                key="paramwise",
            )
    return list(assigned.values())


def _group_name(members: list[ParamMultipliers], taken: list[str]) -> str:
    """Return the name of a group: ``base``, ``norm+bias``, ``layer_3``, ``layer_3.norm+bias``.

    A numeric suffix makes it unique, since logs identify groups by name.
    """
    layers = list(dict.fromkeys(member.layer for member in members))
    rules = _join(member.rule for member in members)
    if any(member.multipliers == BASE.multipliers for member in members):
        name = BASE.rule
    elif len(layers) > 1:
        name = _join(layer or BASE.rule for layer in layers)
    elif layers[0]:
        name = layers[0] if rules == BASE.rule else f"{layers[0]}.{rules}"
    else:
        name = rules
    suffixed = (f"{name}_{suffix}" for suffix in itertools.count(2))
    return next(unused for unused in itertools.chain([name], suffixed) if unused not in taken)


def _join(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - _MAX_RULES
    return "+".join(different[:_MAX_RULES]) + (f"+{more}_more" if more > 0 else "")
