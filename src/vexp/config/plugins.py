"""Classes of the user's own (and of torch and torchvision) that a YAML option names by ``_target_``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vexp.core.errors import UserError
from vexp.core.fields import ValidatedConfig
from vexp.optim.optimizers import unsupported_reason

#: What any config may build from, besides the options of vexp; ``plugins`` adds the user's packages.
ALLOWED = ("torch.optim", "torchvision")


@dataclasses.dataclass(kw_only=True, slots=True)
class CallableOption(ValidatedConfig):
    """Base of the option classes made from a signature: ``build`` calls the target with the configured arguments."""

    target: ClassVar[Any]

    def build(self, *args: Any, **kwargs: Any) -> Any:
        configured = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return self.target(*args, **kwargs, **configured)


def option_class(target: str, plugins: Sequence[str], *, filled_in: bool = True) -> type[Any]:
    """The dataclass that holds the options of ``_target_: target``.

    A dataclass is taken as it is. Of any other class or function the annotated arguments become the fields. With
    ``filled_in`` the leading ones that have no default are left out: vexp fills those in when it builds
    (``num_classes`` of a model, ``params`` of an optimizer).

    Raises:
        UserError: a package that is not allowed, or a name that cannot be imported.
    """
    refusal = unsupported_reason(target.rpartition(".")[2]) if target.startswith("torch.optim.") else None
    if refusal is not None:
        raise UserError(f"_target_={target}: cannot train here: {refusal}")
    found = _import(target, plugins)
    if dataclasses.is_dataclass(found) and isinstance(found, type):
        return found
    if not callable(found):
        raise UserError(f"{target} is a {type(found).__name__}, not a class or function")
    fields: list[Any] = []
    for parameter in inspect.signature(found, eval_str=True).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        if parameter.default is parameter.empty:
            if filled_in and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not fields:
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
    """The annotation if OmegaConf can check it, else Any."""
    try:
        OmegaConf.structured(
            dataclasses.make_dataclass("Probe", [("probed", hint, dataclasses.field(default=MISSING))])
        )
    except (OmegaConfBaseException, ValueError):
        return Any
    return hint


def _import(target: str, plugins: Sequence[str]) -> Any:
    if not any(target.startswith(package + ".") for package in (*ALLOWED, *plugins)):
        package = target.partition(".")[0]
        raise UserError(
            f"_target_={target}: a config may build from {', '.join((*ALLOWED, *plugins))}; "
            f"to allow your own package say plugins=[{package}]"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m does: the console scripts find the same packages
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise UserError(f"_target_={target}: importing {module_name} fails: {error}") from None
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise UserError(f"_target_={target}: {found.__name__} has no {part!r}")
            found = getattr(found, part)
        return found
    raise UserError(
        f"_target_={target}: there is no module {'.'.join(parts[:-1])} (looked in {os.getcwd()} and sys.path)"
    )
