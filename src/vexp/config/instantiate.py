"""Turn a composed DictConfig into plain typed dataclasses; nothing past here depends on OmegaConf."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vexp.config.errors import missing_value, unknown_key, value_error
from vexp.config.option_types import TARGET, TYPE, class_of_name, class_of_target, group_at, is_built_in, option_name
from vexp.config.options import OPEN_GROUPS, options
from vexp.config.plugins import CallableOption, option_class
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import ConfigError, raise_all
from vexp.model.config import Model

#: The method that the class of an option must have to serve its group.
REQUIRED_METHODS = {"data": "source", "model": "build", "loss": "build", "optimizer": "build", "lr_policy": "lr_at"}


def instantiate(composed: DictConfig, provenance: Provenance) -> Config:
    """Return the typed configuration, every value checked.

    Raises:
        ConfigError: If values are missing, keys are unknown, or a rule of a field or class is broken; with all such
            errors in its ``errors``.
    """
    try:
        _add_values_from_files(composed, provenance)
        raise_all([missing_value(key, provenance) for key in sorted(OmegaConf.missing_keys(composed))])
        OmegaConf.resolve(composed)
        _keep_literals(composed)
    except OmegaConfBaseException as error:
        raise value_error(error, provenance) from None
    walk = _Walk(provenance, list(composed.get("plugins") or []))
    config = walk.value(composed, "")
    raise_all(walk.errors)
    return cast(Config, config)


def escape_interpolations(value: Any) -> Any:
    r"""Escape ``${`` in all texts of a value with a backslash, so that OmegaConf keeps them.

    Backslashes before it are doubled.
    """
    if isinstance(value, dict):
        return {key: escape_interpolations(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escape_interpolations(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)


#: Values of a model option that its name stands for. A new name makes those of a saved run invalid.
_OF_NAME = ("architecture", "input", "revision")


def _add_values_from_files(composed: DictConfig, provenance: Provenance) -> None:
    """Add the values of the model option that are read from files (``Model.from_files``), in place.

    Those of a saved run are in its config, unless an override gives it another model.
    """
    node = composed._get_node("model")
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
        return
    cls = options()["model"].get(str(node.get(TYPE))) or OmegaConf.get_type(node)
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        return
    raise_all([missing_value(key, provenance) for key in sorted(OmegaConf.missing_keys(node))])
    values = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    if provenance.saved is not None and provenance.override("model.name") is not None:
        values |= {key: None for key in _OF_NAME if provenance.override(f"model.{key}") is None}
    try:
        filled = cls.from_files(values)
    except ConfigError as error:
        for each in error.errors:
            each.below("model")
            each.origin = each.origin or provenance.describe(each.key)
        raise
    for key, value in filled.items():
        is_structured = dataclasses.is_dataclass(OmegaConf.get_type(node, key))
        OmegaConf.update(node, key, escape_interpolations(value), merge=is_structured, force_add=True)
    if OmegaConf.is_interpolation(composed.img_norm, "mean") and OmegaConf.select(node, "input.mean") is None:
        rule = "the files of the model do not state its mean and std: choose another option, such as img_norm=kinetics"
        raise ConfigError(rule, key="img_norm.mean", hint=", or set model.input.mean=[R,G,B] model.input.std=[R,G,B]")


def _keep_literals(node: Any) -> None:
    """Escape the ``${`` of resolved texts, which reading a node would resolve once more."""
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        child = node._get_node(key)
        if isinstance(child, DictConfig | ListConfig):
            if not child._is_none():
                _keep_literals(child)
        elif isinstance(child._value(), str) and "${" in child._value():
            child._set_value(escape_interpolations(child._value()))


class _Walk:
    """Makes instances from the leaves up and gathers their errors."""

    def __init__(self, provenance: Provenance, plugins: list[str]) -> None:
        self.provenance = provenance
        self.plugins = plugins
        self.errors: list[ConfigError] = []

    def value(self, node: Any, path: str) -> Any:
        """The plain value of a node; None after an error."""
        if isinstance(node, ListConfig):
            return [self.value(item, f"{path}[{i}]") for i, item in enumerate(node)]
        if not isinstance(node, DictConfig):
            return node
        cls = OmegaConf.get_type(node)
        if not dataclasses.is_dataclass(cls):
            if _class_key(node, path) is None:
                return {str(key): self.value(node[key], _join(path, key)) for key in node}
            typed = self.typed(node, path)
            if typed is None:
                return None
            cls, node = cast(type[Any], OmegaConf.get_type(typed)), typed
        return self.instance(cast(type[Any], cls), node, path)

    def typed(self, node: DictConfig, path: str) -> DictConfig | None:
        """Convert a plain node that names its option to a node of the option's class; None after an error."""
        values = {key: node._get_node(key) for key in node if key != _class_key(node, path)}
        try:
            cls = self.named_class(node, path)
            names = [field.name for field in dataclasses.fields(cls)]
            self.check_keys(values, cls, path)
            typed = OmegaConf.merge(OmegaConf.structured(cls), {k: v for k, v in values.items() if k in names})
        except ConfigError as error:
            self.add(error, path)
            return None
        except OmegaConfBaseException as error:
            self.errors.append(value_error(error, self.provenance, path))
            return None
        absent = sorted(OmegaConf.missing_keys(typed))
        self.errors += [missing_value(_join(path, key), self.provenance) for key in absent]
        return None if absent else cast(DictConfig, typed)

    def named_class(self, node: DictConfig, path: str) -> type[Any]:
        """The class that a plain node names by ``type`` or ``_target_``.

        Raises:
            ConfigError: If there is no such class, or the config may not instantiate it.
        """
        group = group_at(path)
        if TARGET not in node:
            return class_of_name(cast(str, group), str(node[TYPE]))
        target = str(node[TARGET])
        if is_built_in(target):
            return class_of_target(group, target)
        # vexp passes no positional argument to a transform: all arguments are the user's.
        return option_class(target, self.plugins, skip_positional=not path.startswith("pipeline."))

    def instance(self, cls: type[Any], node: DictConfig, path: str) -> Any:
        """Make an instance of ``cls``; None after an error of it or of a part of it."""
        before = len(self.errors)
        self.check_keys(node, cls, path)  # '+optimizer.lrr=1' adds a key that no class reads
        values = {
            field.name: self.value(node[field.name], _join(path, field.name))
            for field in dataclasses.fields(cls)
            if field.name in node
        }
        if not path:  # OmegaConf knows the root by a class of its own (vexp.config.structured)
            cls = Config
            self.check_groups(values)
        if len(self.errors) > before:
            return None
        try:
            return cls(**values)
        except ConfigError as error:
            self.add(error, path)
        except ValueError as error:  # of a plugin's class
            self.add(ConfigError(str(error)), path)
        return None

    def add(self, error: ConfigError, path: str) -> None:
        """Record errors whose keys are relative to the node at ``path``, with the place where the key was written."""
        for each in error.errors:
            each.below(path)
            each.origin = each.origin or self.provenance.describe(each.key)
            self.errors.append(each)

    def check_keys(self, keys: Any, cls: type[Any], path: str) -> None:
        """Record an error for every key that is no field of ``cls``."""
        names = [field.name for field in dataclasses.fields(cls)]
        for key in (_join(path, key) for key in keys if key not in names):
            self.errors.append(unknown_key(key, cls.__name__, names, self.provenance.describe(key)))

    def check_groups(self, values: dict[str, Any]) -> None:
        """Record an error for an open group whose value lacks the method that the group needs."""
        for group in OPEN_GROUPS:
            value, method = values[group], REQUIRED_METHODS[group]
            if value is None or hasattr(value, method):
                continue
            rule = f"cannot be used as {group}: {type(value).__name__} has no {method}()"
            if isinstance(value, dict):
                rule = "names no class: add type: OPTION, or _target_: PACKAGE.CLASS"
            self.add(ConfigError(rule, key=group), "")


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _class_key(node: DictConfig, path: str) -> str | None:
    """The key by which a plain node names its class, or None. Beside ``_target_``, ``type`` is an argument."""
    if TARGET in node:
        return TARGET
    return TYPE if TYPE in node and group_at(path) is not None else None


def to_dict(value: Any, *, types: bool = False) -> Any:
    """Convert dataclasses to dicts and lists, for YAML, JSON and checkpoints.

    Args:
        value: A dataclass, or a value that may hold some.
        types: Name the class of every option of an open group and of every transform of a ``Config``, as ``type: sgd``
            or ``_target_: PACKAGE.CLASS``, so that ``instantiate`` can read the result back.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_dict(getattr(value, field.name), types=types) for field in dataclasses.fields(value)}
        if types and isinstance(value, Config):
            for group in OPEN_GROUPS:
                plain[group] = _class_entry(getattr(value, group), group) | plain[group]
            for split in ("train", "val", "test"):
                steps = getattr(value.pipeline, split)
                plain["pipeline"][split] = {
                    name: _class_entry(step, "transform") | plain["pipeline"][split][name]
                    for name, step in steps.items()
                }
        return plain
    if isinstance(value, dict):
        return {key: to_dict(item, types=types) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item, types=types) for item in value]
    return value


def _class_entry(value: Any, group: str) -> dict[str, str]:
    name = option_name(group, type(value))
    return {TYPE: name} if name is not None else {TARGET: _target(value)}


def _target(value: Any) -> str:
    cls = value.target if isinstance(value, CallableOption) else type(value)
    module = cls.__module__
    public = module.partition("._")[0]  # torchvision.transforms.v2._color.ColorJitter is exported one level up
    if getattr(sys.modules.get(public), cls.__qualname__, None) is cls:
        module = public
    return f"{module}.{cls.__qualname__}"
