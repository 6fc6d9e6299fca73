"""The one border: a composed DictConfig comes in, plain typed dataclasses go out, and every check has been made."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vexp.config.errors import explain_value, missing, unknown_key
from vexp.config.option_types import TARGET, TYPE, class_of_target, class_of_word, group_at, is_built_in, word_of
from vexp.config.plugins import CallableOption, option_class
from vexp.config.provenance import Provenance
from vexp.config.schema import OPEN_GROUPS, Config
from vexp.core.errors import ConfigError, UserError

REQUIRED_METHODS = {"data": "source", "model": "build", "loss": "build", "optimizer": "build", "lr_policy": "lr_at"}


def load(composed: DictConfig, origins: Provenance) -> Config:
    """The typed configuration.

    Raises:
        ConfigError: everything that is wrong, in one message: values that are missing, keys that no class has, rules of
            fields and classes that do not hold.
    """
    try:
        absent = sorted(OmegaConf.missing_keys(composed))
        if absent:
            raise ConfigError("\n".join(missing(key, origins) for key in absent))
        OmegaConf.resolve(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(explain_value(error, origins)) from None
    walk = _Walk(origins, list(composed.get("plugins") or []))
    config = walk.value(composed, "")
    if walk.complaints:
        raise ConfigError("\n".join(walk.complaints))
    return cast(Config, config)


class _Walk:
    """Makes instances from the leaves up and gathers what each class complains of."""

    def __init__(self, origins: Provenance, plugins: list[str]) -> None:
        self.origins = origins
        self.plugins = plugins
        self.complaints: list[str] = []

    def value(self, node: Any, path: str) -> Any:
        if isinstance(node, ListConfig):
            return [self.value(item, f"{path}[{i}]") for i, item in enumerate(node)]
        if not isinstance(node, DictConfig):
            return node
        cls = OmegaConf.get_type(node)
        if not dataclasses.is_dataclass(cls):
            if _names_option(node, path) is None:
                return {str(key): self.value(node[key], _join(path, key)) for key in node}
            typed = self.typed(node, path)
            if typed is None:
                return None
            cls, node = cast(type[Any], OmegaConf.get_type(typed)), typed
        return self.instance(cast(type[Any], cls), node, path)

    def typed(self, node: DictConfig, path: str) -> DictConfig | None:
        """A plain node that names its option as a node of the option's class; None after a complaint."""
        values = {key: node._get_node(key) for key in node if key != _names_option(node, path)}
        try:
            cls = self.named_class(node, path)
            names = [field.name for field in dataclasses.fields(cls)]
            strangers = [key for key in values if key not in names]
            self.complaints += [unknown_key(_join(path, key), cls.__name__, names, self.origins) for key in strangers]
            typed = OmegaConf.merge(OmegaConf.structured(cls), {k: v for k, v in values.items() if k not in strangers})
        except UserError as error:
            self.complaints.append(f"{path}: {error}{self.origins.of(path)}")
            return None
        except OmegaConfBaseException as error:
            self.complaints.append(explain_value(error, self.origins, path))
            return None
        absent = sorted(OmegaConf.missing_keys(typed))
        self.complaints += [missing(_join(path, key), self.origins) for key in absent]
        return None if absent else cast(DictConfig, typed)

    def named_class(self, node: DictConfig, path: str) -> type[Any]:
        """The class that a plain node names by ``type`` or ``_target_``.

        Raises:
            UserError: there is no such class, or none that a config may build from.
        """
        group = group_at(path)
        if TARGET not in node:
            return class_of_word(cast(str, group), str(node[TYPE]))
        target = str(node[TARGET])
        if is_built_in(target):
            return class_of_target(group, target)
        # Nothing is filled in for a pipeline step: all arguments of a transform are the user's.
        return option_class(target, self.plugins, filled_in=not path.startswith("pipeline."))

    def instance(self, cls: type[Any], node: DictConfig, path: str) -> Any:
        """An instance of ``cls``; None after a complaint, its own or one of its parts'."""
        before = len(self.complaints)
        names = [field.name for field in dataclasses.fields(cls)]
        for key in node:
            if key not in names:  # '+optimizer.lrr=1' adds a key that nobody would read
                self.complaints.append(unknown_key(_join(path, key), cls.__name__, names, self.origins))
        values = {name: self.value(node[name], _join(path, name)) for name in names if name in node}
        if not path:  # the root: what OmegaConf knows it by is made anew in every process
            cls = Config
            self.check_groups(values)
        if len(self.complaints) > before:
            return None
        try:
            return cls(**values)
        except ValueError as error:  # a rule of the class, worded for the user; begins with the field's name
            field = str(error).partition("=")[0].partition(":")[0]
            key = _join(path, field) if field.partition(".")[0].partition("[")[0] in names else path
            text = str(error) if not path else f"{path}.{error}" if key != path else f"{path}: {error}"
            self.complaints.append(text + self.origins.of(key))
            return None

    def check_groups(self, values: dict[str, Any]) -> None:
        """An open group takes any class, but it must be able to do the group's work."""
        for group in OPEN_GROUPS:
            value = values[group]
            if value is not None and not hasattr(value, REQUIRED_METHODS[group]):
                kind = "it names no class: add type: OPTION, or _target_: PACKAGE.CLASS"
                if not isinstance(value, dict):
                    kind = f"{type(value).__name__} has no {REQUIRED_METHODS[group]}()"
                self.complaints.append(f"{group}: cannot be used as {group}, {kind}{self.origins.of(group)}")


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _names_option(node: DictConfig, path: str) -> str | None:
    """The key by which a plain node names its option. Next to ``_target_``, ``type`` is an argument like any other."""
    if TARGET in node:
        return TARGET
    return TYPE if TYPE in node and group_at(path) is not None else None


def to_dict(value: Any, *, types: bool = False) -> Any:
    """Dataclasses to dicts and lists, for YAML, JSON and checkpoints.

    ``types`` adds to every option of an open group and every pipeline step of a ``Config`` its name, ``type: sgd`` or
    ``_target_: PACKAGE.CLASS``, so that ``load`` can read the file back.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_dict(getattr(value, field.name), types=types) for field in dataclasses.fields(value)}
        if types and isinstance(value, Config):
            for group in OPEN_GROUPS:
                plain[group] = _option_name(getattr(value, group), group) | plain[group]
            for split in ("train", "val", "test"):
                steps = getattr(value.pipeline, split)
                plain["pipeline"][split] = {
                    name: _option_name(step, "transform") | plain["pipeline"][split][name]
                    for name, step in steps.items()
                }
        return plain
    if isinstance(value, dict):
        return {key: to_dict(item, types=types) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item, types=types) for item in value]
    return value


def _option_name(value: Any, group: str) -> dict[str, str]:
    word = word_of(group, type(value))
    return {TYPE: word} if word is not None else {TARGET: _target(value)}


def _target(value: Any) -> str:
    found = value.target if isinstance(value, CallableOption) else type(value)
    module = found.__module__
    public = module.partition("._")[0]  # torchvision.transforms.v2._color.ColorJitter is exported one level up
    if getattr(sys.modules.get(public), found.__qualname__, None) is found:
        module = public
    return f"{module}.{found.__qualname__}"
