"""Initial values of chosen layers: mmcv's ``init_cfg``, with every rule's effect checked.

    initialize(net, {"type": "Normal", "std": 0.01, "layer": "Linear"})
    initialize(net, [{"type": "Kaiming", "layer": ["Conv3d"]}, {"type": "Constant", "val": 1, "layer": "_BatchNorm"}])

Semantics of mmcv 1.7 (``mmcv.cnn.initialize``). Different: a rule without effect (no ``layer`` and no ``override``, a
misspelt layer) is an error; every base class counts, not the nearest alone; ``override`` may name a part of a part
(``layer4.0``); all layers are looked up before the first value changes.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.model.init.rules import RULES, Pretrained, Rule

if TYPE_CHECKING:
    from torch import nn

InitConfig = Mapping[str, Any] | Sequence[Mapping[str, Any]]
_Tell = Callable[[Any], object]


def initialize(module: nn.Module, init_cfg: InitConfig, *, tell: _Tell = print) -> None:
    """Set the weights and biases of the layers that ``init_cfg`` names; draws from torch's global generator.

    Args:
        module: any net.
        init_cfg: a rule or a list of them, a later one wins. ``type``: Constant (val), Normal (mean, std), TruncNormal
            (mean, std, a, b), Uniform (a, b), Xavier (gain, distribution), Kaiming (a, mode, nonlinearity,
            distribution), Caffe2Xavier, Pretrained (checkpoint, prefix). ``layer``: one or more names of classes, base
            classes included. ``bias`` (0), or ``bias_prob``: the bias of a sigmoid that starts at this probability.
            ``override``, one or a list: {"name": a part of the net} does the same to all layers of that part; with a
            "type" and arguments of its own, that instead.
        tell: is given a line a rule, and the report of Pretrained.

    Raises:
        UserError: an unknown type or argument, a layer or part that the net does not have.
    """
    for act in [act for config in _listed(init_cfg) for act in _acts(module, config, tell)]:
        act()


def check_init(init_cfg: Any) -> str | None:
    """The rule that an ``init_cfg`` breaks, as far as it shows without a net; None where it breaks none."""
    try:
        for config in _listed(init_cfg):
            _parse(config)
    except ValueError as error:
        return str(error)
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Parsed:
    rule: Rule | Pretrained
    layers: list[str]
    overrides: list[tuple[str, Rule | Pretrained]]


def _parse(config: Mapping[str, Any]) -> _Parsed:
    """One rule, its own words apart from the arguments of its type."""
    arguments = {key: value for key, value in config.items() if key not in ("layer", "override")}
    rule = _rule(arguments)
    layer = config.get("layer")
    layers = [layer] if isinstance(layer, str) else list(layer or [])
    overrides: list[tuple[str, Rule | Pretrained]] = []
    for override in _listed(config.get("override") or []):
        own = {key: value for key, value in override.items() if key != "name"}
        if not isinstance(override.get("name"), str):
            raise UserError(f"override={dict(override)}: name the part of the net, {{name: ...}}")
        if own and "type" not in own:
            raise UserError(f"override {override['name']}: give a type with {', '.join(own)}, or the name alone")
        overrides.append((override["name"], _rule(own) if own else rule))
    if isinstance(rule, Pretrained):
        if layers or overrides:
            raise UserError("Pretrained: sets the whole net and takes no layer and no override")
    elif not layers and not overrides:
        raise UserError(f"{config['type']}: has no effect without layer (class names, such as Linear) or override")
    return _Parsed(rule, layers, overrides)


def _rule(arguments: Mapping[str, Any]) -> Rule | Pretrained:
    kind = arguments.get("type")
    if kind not in RULES:
        raise UserError(f"type={kind}: is no initialisation{_near(str(kind), RULES)}; there are {', '.join(RULES)}")
    cls = RULES[kind]
    given = {key: value for key, value in arguments.items() if key != "type"}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in given:
        if key not in fields:
            raise UserError(
                f"{kind}: has no {key!r}{_near(key, fields)}; it takes {', '.join(fields)}, layer, override"
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in given:
            raise UserError(f"{kind}: {name} must be given ({field.metadata['doc']})")
    try:
        return cls(**given)
    except ValueError as error:
        raise UserError(f"{kind}: {error}") from None


def _acts(module: nn.Module, config: Mapping[str, Any], tell: _Tell) -> list[Callable[[], None]]:
    """What a rule does, looked up and not yet done."""
    parsed = _parse(config)
    rule = parsed.rule
    if isinstance(rule, Pretrained):
        return [lambda: _load(module, rule, tell)]
    acts: list[Callable[[], None]] = []
    if parsed.layers:
        acts.append(_filling(rule, _of_classes(module, parsed.layers), ", ".join(parsed.layers), tell))
    for name, own in parsed.overrides:
        part = _part(module, name)
        if isinstance(own, Pretrained):
            acts.append(lambda part=part, own=own: _load(part, own, tell))  # type: ignore[misc]
        else:
            found = [(f"{name}.{inner}".rstrip("."), layer) for inner, layer in part.named_modules() if _values(layer)]
            if not found:
                raise UserError(f"override {name}: holds no layer with a weight or bias")
            acts.append(_filling(own, found, name, tell))
    return acts


def _filling(rule: Rule, layers: list[tuple[str, nn.Module]], what: str, tell: _Tell) -> Callable[[], None]:
    for name, layer in layers:
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim < 2 and not _any_shape(rule):
            raise UserError(
                f"{type(rule).__name__}: {type(layer).__name__} {name} has a weight of one dimension, which has no "
                "fan; use Constant, or leave it out"
            )

    def fill() -> None:
        for _, layer in layers:
            values = _values(layer)
            if "weight" in values:
                rule.fill(values["weight"])
            if "bias" in values:
                values["bias"].data.fill_(rule.bias_value())
        names = ", ".join(name or type(layer).__name__ for name, layer in layers[:3])
        tell(f"init: {type(rule).__name__} on {len(layers)} layers ({what}): {names}{' ...' * (len(layers) > 3)}")

    return fill


def _any_shape(rule: Rule) -> bool:
    return type(rule).__name__ in ("Constant", "Normal", "TruncNormal", "Uniform")


def _load(module: nn.Module, rule: Pretrained, tell: _Tell) -> None:
    from vexp.model.weights.load import load_checkpoint

    load_checkpoint(module, rule.checkpoint, prefix=rule.prefix, tell=tell)


def _of_classes(module: nn.Module, layers: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """The layers whose class, or a base class of it, has one of the names."""
    named = [(name, layer, {cls.__name__ for cls in type(layer).__mro__}) for name, layer in module.named_modules()]
    for wanted in layers:
        matching = [layer for _, layer, classes in named if wanted in classes]
        if not matching:
            there = sorted({type(layer).__name__ for _, layer, _ in named if _values(layer)})
            raise UserError(f"layer={wanted}: the net has none{_near(wanted, there)}; it has {', '.join(there)}")
        if not any(_values(layer) for layer in matching):
            raise UserError(f"layer={wanted}: has no weight and no bias of its own")
    return [(name, layer) for name, layer, classes in named if classes & set(layers) and _values(layer)]


def _part(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in module.named_modules() if known]
        top = [known for known, _ in module.named_children()]
        raise UserError(
            f"override {name}: is no part of the net{_near(name, names)}; it has {', '.join(top)}"
        ) from None


def _values(layer: nn.Module) -> dict[str, Any]:
    """Weight and bias of a layer, those that it has as tensors."""
    found = {name: getattr(layer, name, None) for name in ("weight", "bias")}
    return {name: value for name, value in found.items() if hasattr(value, "ndim")}


def _listed(init_cfg: Any) -> list[Mapping[str, Any]]:
    configs = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg
    if (
        not isinstance(configs, Sequence)
        or isinstance(configs, str)
        or not all(isinstance(c, Mapping) for c in configs)
    ):
        raise UserError("must be a rule {type: Normal, std: 0.01, layer: Linear}, or a list of rules")
    return list(configs)


def _near(word: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
