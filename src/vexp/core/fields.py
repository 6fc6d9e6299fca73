"""Fields of config dataclasses that carry their own documentation and rules.

A policy (sampler, crop, learning-rate policy ...) declares every argument once::

    @dataclass(kw_only=True, slots=True)
    class Flip(ValidatedConfig):
        flip_ratio: float = option(0.5, "Probability of mirroring a clip.", ge=0, le=1)

The default, the text and the rule stand on that line. ``ValidatedConfig`` applies the rules when an instance is made,
from Python or from a composed config. Free of torch, so that an invalid value is refused before torch is imported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vexp.core.errors import ConfigError

#: OmegaConf's mark of a value that must be given (spelled out here, because only config imports omegaconf).
REQUIRED = "???"


def option(
    default: Any = dataclasses.MISSING,
    doc: str = "",
    *,
    unit: str = "",
    accepts: str = "",
    see: Sequence[str] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[str] = (),
    length: int | None = None,
    check: Callable[[Any], str | None] | None = None,
    entries: type[Any] | None = None,
) -> Any:
    """Declare a dataclass field with its documentation and rule.

    Args:
        default: The default; leave it out for a value that must be given. A dataclass means an instance of it with its
            own defaults.
        doc: Help text: a noun phrase ("Training loss.").
        unit: Unit of the value ("epochs", "pixels", "frames" ...); empty if it has none.
        accepts: The accepted types, if the annotation is Any ("int or list of int").
        see: Related keys of other groups, dotted. Those that ``doc`` names need no entry.
        ge: Lower bound, itself allowed; bounds hold for every entry of a list.
        gt: Lower bound, itself not allowed.
        le: Upper bound, itself allowed.
        lt: Upper bound, itself not allowed.
        choices: The allowed values.
        length: The exact number of entries of a list.
        check: Returns the broken rule as text, or None if the value is valid.
        entries: The dataclass of a dict's values, whose keys the user chooses.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "accepts": accepts,
        "see": tuple(see),
        "bounds": {
            name: bound for name, bound in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if bound is not None
        },
        "choices": tuple(choices),
        "length": length,
        "check": check,
        "entries": entries,
    }
    if dataclasses.is_dataclass(default) and isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "ge": (">=", lambda value, bound: value >= bound),
    "gt": (">", lambda value, bound: value > bound),
    "le": ("<=", lambda value, bound: value <= bound),
    "lt": ("<", lambda value, bound: value < bound),
}


def broken_rule(value: Any, metadata: Mapping[str, Any]) -> str | None:
    """Return the rule of a field that ``value`` breaks, as text; None if it breaks none, or is None itself."""
    if value is None:
        return None
    choices = metadata.get("choices")
    if choices and any(item not in choices for item in _items(value)):
        return f"must be one of {', '.join(choices)}"
    length = metadata.get("length")
    if length is not None and (not isinstance(value, list | tuple) or len(value) != length):
        return f"needs exactly {length} values" + (f", got {len(value)}" if isinstance(value, list | tuple) else "")
    for name, bound in metadata.get("bounds", {}).items():
        symbol, holds = _BOUNDS[name]
        for item in _items(value):
            if isinstance(item, int | float) and (math.isnan(item) or not holds(item, bound)):
                return f"must be {symbol} {bound}"
    check = metadata.get("check")
    return check(value) if check is not None else None


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


@dataclasses.dataclass(kw_only=True, slots=True)
class ValidatedConfig:
    """Base of every config dataclass; an instance that breaks a rule of a field cannot be made (ConfigError).

    A subclass with rules across fields defines ``__post_init__``, calls ``ValidatedConfig.__post_init__(self)`` first
    (zero-argument ``super()`` fails in slotted dataclasses before Python 3.14), and raises ``ConfigError`` with a key
    relative to itself.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            rule = broken_rule(value, field.metadata)
            if rule is not None:
                raise ConfigError(rule, key=field.name, value=value)
