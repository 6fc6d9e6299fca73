"""Initial values of selected layers: mmcv's ``init_cfg``.

    initialize(model, {"type": "Normal", "std": 0.01, "layer": "Linear"})
    initialize(model, [{"type": "Kaiming", "layer": ["Conv3d"]}, {"type": "Constant", "val": 1, "layer": "_BatchNorm"}])

The semantics are those of ``mmcv.cnn.initialize`` in mmcv 1.7, with four differences: a rule without effect (no
``layer`` and no ``override``, or a misspelled layer) is an error; all base classes of a layer match, not only the
nearest; ``override`` accepts nested modules (``layer4.0``); and all layers are looked up before the first value is
changed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError, UserError, did_you_mean
from vexp.model.init.rules import RULES, Pretrained, Rule

if TYPE_CHECKING:
    from torch import nn

    from vexp.model.weights.report import LoadReport

logger = logging.getLogger(__name__)

InitConfig = Mapping[str, Any] | Sequence[Mapping[str, Any]]
_Action = Callable[[], "LoadReport | None"]


def initialize(module: nn.Module, init_cfg: InitConfig) -> list[LoadReport]:
    """Initialize the weights and biases of the layers named by ``init_cfg``, using torch's global random generator.

    Args:
        module: Any module.
        init_cfg: A rule or a list of rules; later rules win. ``type``: Constant (val), Normal (mean, std), TruncNormal
            (mean, std, a, b), Uniform (a, b), Xavier (gain, distribution), Kaiming (a, mode, nonlinearity,
            distribution), Caffe2Xavier, Pretrained (checkpoint, prefix). ``layer``: one or more class names, base
            classes included. ``bias`` (0), or ``bias_prob``: the bias of a sigmoid with this initial probability.
            ``override``: one or a list of {"name": submodule}, which applies the rule to all layers of that submodule,
            or another rule if the override has its own "type" and arguments.

    Returns:
        The reports of the Pretrained rules. Every rule is logged.

    Raises:
        UserError: If a type or argument is unknown, or the module has no such layer or submodule.
    """
    actions = [action for rule_cfg in _as_list(init_cfg) for action in _plan_rule(module, rule_cfg)]
    return [report for action in actions if (report := action()) is not None]


def check_init(init_cfg: Any) -> str | None:
    """Return what is wrong with an ``init_cfg``, as far as it can be checked without a model; None if it is valid."""
    try:
        for rule_cfg in _as_list(init_cfg):
            _parse(rule_cfg)
    except UserError as error:
        return str(error)
    return None


def _parse(
    rule_cfg: Mapping[str, Any],
) -> tuple[Rule | Pretrained, list[str], list[tuple[str, Rule | Pretrained]]]:
    """Return the rule, the class names of its layers, and its overrides as (path of a submodule, rule)."""
    rule = _make_rule({key: value for key, value in rule_cfg.items() if key not in ("layer", "override")})
    layer = rule_cfg.get("layer")
    layers = [layer] if isinstance(layer, str) else list(layer or [])
    overrides: list[tuple[str, Rule | Pretrained]] = []
    for override in _as_list(rule_cfg.get("override") or []):
        arguments = {key: value for key, value in override.items() if key != "name"}
        if not isinstance(override.get("name"), str):
            raise UserError(f"override={dict(override)}: must have the name of a submodule, {{name: ...}}")
        if arguments and "type" not in arguments:
            raise UserError(f"override {override['name']}: {', '.join(arguments)} need a type, or give the name alone")
        overrides.append((override["name"], _make_rule(arguments) if arguments else rule))
    if isinstance(rule, Pretrained) and (layers or overrides):
        raise UserError("Pretrained: applies to the whole model, so layer and override are not allowed")
    if not (isinstance(rule, Pretrained) or layers or overrides):
        raise UserError(f"{rule_cfg['type']}: has no effect without layer (class names, such as Linear) or override")
    return rule, layers, overrides


def _make_rule(arguments: Mapping[str, Any]) -> Rule | Pretrained:
    kind = arguments.get("type")
    if kind not in RULES:
        raise UserError(f"type={kind}: unknown initialization{did_you_mean(str(kind), RULES)}; use {', '.join(RULES)}")
    cls = RULES[kind]
    values = {key: value for key, value in arguments.items() if key != "type"}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise UserError(
                f"{kind}: unknown argument {key!r}{did_you_mean(key, fields)}; use {', '.join(fields)}, layer, override"
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise UserError(f"{kind}: the argument {name} is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise UserError(f"{kind}: {error}") from None


def _plan_rule(module: nn.Module, rule_cfg: Mapping[str, Any]) -> list[_Action]:
    """Look up the layers of a rule and return the actions that initialize them."""
    rule, class_names, overrides = _parse(rule_cfg)
    if isinstance(rule, Pretrained):
        return [partial(_load_pretrained, rule, module)]
    actions: list[_Action] = []
    if class_names:
        actions.append(_fill_action(rule, _layers_of_classes(module, class_names), ", ".join(class_names)))
    for name, override in overrides:
        submodule = _submodule(module, name)
        if isinstance(override, Pretrained):
            actions.append(partial(_load_pretrained, override, submodule))
            continue
        parts = [(f"{name}.{path}".rstrip("."), part) for path, part in submodule.named_modules()]
        layers = [(path, part) for path, part in parts if _weight_and_bias(part)]
        if not layers:
            raise UserError(f"override {name}: contains no layer with a weight or bias")
        actions.append(_fill_action(override, layers, name))
    return actions


def _fill_action(rule: Rule, layers: list[tuple[str, nn.Module]], target: str) -> _Action:
    for name, layer in layers:
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim < 2 and rule.needs_fan:
            raise UserError(
                f"{type(rule).__name__}: the weight of {type(layer).__name__} {name} has one dimension and therefore "
                "no fan-in or fan-out; use Constant, or exclude the layer"
            )

    def fill() -> None:
        for _, layer in layers:
            values = _weight_and_bias(layer)
            if "weight" in values:
                rule.fill(values["weight"])
            if "bias" in values:
                values["bias"].data.fill_(rule.bias_value())
        names = ", ".join(name or type(layer).__name__ for name, layer in layers[:3])
        more = " ..." * (len(layers) > 3)
        logger.info(f"init: {type(rule).__name__} on {len(layers)} layers ({target}): {names}{more}")

    return fill


def _load_pretrained(rule: Pretrained, module: nn.Module) -> LoadReport:
    from vexp.model.weights.load import load_checkpoint

    return load_checkpoint(module, rule.checkpoint, prefix=rule.prefix)


def _layers_of_classes(module: nn.Module, class_names: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """Return the layers whose class or one of its base classes has one of the names."""
    named = [(path, layer, {cls.__name__ for cls in type(layer).__mro__}) for path, layer in module.named_modules()]
    for name in class_names:
        matching = [layer for _, layer, classes in named if name in classes]
        if not matching:
            available = sorted({type(layer).__name__ for _, layer, _ in named if _weight_and_bias(layer)})
            raise UserError(
                f"layer={name}: the model has no such layer{did_you_mean(name, available)}; "
                f"it has {', '.join(available)}"
            )
        if not any(_weight_and_bias(layer) for layer in matching):
            raise UserError(f"layer={name}: has no weight and no bias")
    return [(path, layer) for path, layer, classes in named if classes & set(class_names) and _weight_and_bias(layer)]


def _submodule(module: nn.Module, path: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    if path not in modules:
        children = ", ".join(name for name, _ in module.named_children())
        hint = did_you_mean(path, filter(None, modules))
        raise UserError(f"override {path}: the model has no such submodule{hint}; it has {children}")
    return modules[path]


def _weight_and_bias(layer: nn.Module) -> dict[str, Any]:
    """Return those of ``weight`` and ``bias`` that the layer has as tensors."""
    values = {name: getattr(layer, name, None) for name in ("weight", "bias")}
    return {name: value for name, value in values.items() if hasattr(value, "ndim")}


def _as_list(init_cfg: Any) -> list[Mapping[str, Any]]:
    rules = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not all(isinstance(c, Mapping) for c in rules):
        raise UserError("must be a rule {type: Normal, std: 0.01, layer: Linear}, or a list of rules")
    return list(rules)
