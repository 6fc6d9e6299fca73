"""Custom classes, and those of torch and torchvision, that a YAML option names by ``_target_``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from types import FunctionType
from typing import Any, ClassVar, cast

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig
from vexp.optim.optimizers import unsupported_reason

#: Package -> base of the classes that a config may instantiate of it; ``plugins`` adds packages of the user.
ALLOWED = {
    "torch.optim": "torch.optim.Optimizer",
    "torchvision.models": "torch.nn.Module",
    "torchvision.transforms.v2": "torchvision.transforms.v2.Transform",
}


@dataclasses.dataclass(kw_only=True, slots=True)
class CallableOption(ValidatedConfig):
    """Base of option classes generated from a signature: ``build`` calls the target with the configured arguments."""

    target: ClassVar[Any]

    def build(self, *args: Any, **kwargs: Any) -> Any:
        configured = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return self.target(*args, **kwargs, **configured)


def option_class(target: str, plugins: Sequence[str], *, skip_positional: bool = True) -> type[Any]:
    """Return the dataclass that holds the options of ``_target_: target``.

    A dataclass is returned unchanged. The annotated arguments of any other class or function become fields.

    Args:
        target: Dotted path of a class or function.
        plugins: Packages of the user that may be imported.
        skip_positional: Leave out the leading arguments without a default, which vexp passes itself when it builds
            (``num_classes`` of a model, ``params`` of an optimizer).

    Raises:
        ConfigError: If the package is not allowed, or the name cannot be imported.
    """
    reason = unsupported_reason(target.rpartition(".")[2]) if target.startswith("torch.optim.") else None
    if reason is not None:
        raise _target_error(target, f"cannot train here: {reason}")
    found = _import(target, plugins)
    if dataclasses.is_dataclass(found):
        return found
    fields: list[Any] = []
    for parameter in inspect.signature(found, eval_str=True).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        if parameter.default is parameter.empty:
            if skip_positional and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not fields:
                continue
            default: Any = MISSING
        else:
            default = parameter.default
        fields.append((parameter.name, _supported(parameter.annotation), _default(default)))
    namespace = {"target": staticmethod(found)}
    return dataclasses.make_dataclass(
        target.rpartition(".")[2], fields, bases=(CallableOption,), namespace=namespace, kw_only=True
    )


def _default(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return dataclasses.field(default_factory=lambda: list(value))
    if isinstance(value, dict):
        return dataclasses.field(default_factory=lambda: dict(value))
    return dataclasses.field(default=value)


def _supported(hint: Any) -> Any:
    """Return the annotation if OmegaConf can check it, else Any."""
    try:
        OmegaConf.structured(
            dataclasses.make_dataclass("Probe", [("probed", hint, dataclasses.field(default=MISSING))])
        )
    except (OmegaConfBaseException, ValueError):
        return Any
    return hint


def _import(target: str, plugins: Sequence[str]) -> type[Any] | FunctionType:
    """Return the class or function ``target``, which must be defined in an allowed package, not only imported there.

    Otherwise ``torchvision.datasets.utils.os.system`` in the config of a checkpoint would run commands.
    """
    packages = (*ALLOWED, *plugins)
    if not _is_below(target, packages):
        raise _target_error(
            target,
            f"a config may instantiate classes of {', '.join(packages)}",
            f"; to allow your own package set plugins=[{target.partition('.')[0]}]",
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m does, so that the console script finds the same packages
    found: Any = None
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise _target_error(target, f"importing {module_name} fails: {error}") from None
            continue
        break
    else:
        raise _target_error(target, f"there is no module {'.'.join(parts[:-1])} (looked in {os.getcwd()} and sys.path)")
    for part in parts[cut:]:
        if not hasattr(found, part):
            raise _target_error(target, f"{found.__name__} has no {part!r}")
        found = getattr(found, part)
        if not isinstance(found, type | FunctionType):
            raise _target_error(target, f"{part!r} is a {type(found).__name__}, not a class or function")
    if not _is_below(f"{found.__module__}.", packages) or not _is_public(found):
        raise _target_error(target, _DEFINED_ELSEWHERE.format(found.__module__, found.__qualname__))
    return cast("type[Any] | FunctionType", found)


_DEFINED_ELSEWHERE = (
    "is {}.{}, and a config may instantiate only classes and functions that plugins define, and optimizers of "
    "torch.optim, models of torchvision and transforms of torchvision.transforms.v2"
)


def _is_below(name: str, packages: Sequence[str]) -> bool:
    return any(name.startswith(f"{package}.") for package in packages)


def _is_public(found: type[Any] | FunctionType) -> bool:
    """Whether a class or function is of a plugin, or one that torch and torchvision offer as an option."""
    package = next((package for package in ALLOWED if _is_below(f"{found.__module__}.", [package])), None)
    if package is None:
        return True
    if isinstance(found, type):
        module, _, name = ALLOWED[package].rpartition(".")
        base = getattr(importlib.import_module(module), name)
        return issubclass(found, base) and found is not base
    models = importlib.import_module("torchvision.models")
    return found.__name__ in models.list_models() and models.get_model_builder(found.__name__) is found


def _target_error(target: str, rule: str, hint: str = "") -> ConfigError:
    return ConfigError(rule, key="_target_", value=target, hint=hint)
