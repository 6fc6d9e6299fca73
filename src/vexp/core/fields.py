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
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vexp.core.errors import ConfigError

#: OmegaConf's mark of a value that must be given (spelled out here, because only config imports omegaconf).
REQUIRED = "???"

#: Of a number in a config; torch takes no larger seed, and float64 has no larger number of steps.
LARGEST_INTEGER = 2**64 - 1


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
    infinite: bool = False,
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
        infinite: Whether numbers need not be finite; true if the default is infinite.
    """
    bounds = {name: bound for name, bound in {"ge": ge, "gt": gt, "le": le, "lt": lt}.items() if bound is not None}
    metadata: dict[str, Any] = {
        "doc": doc,
        "unit": unit,
        "accepts": accepts,
        "see": tuple(see),
        "choices": tuple(choices),
    }
    infinite = infinite or (isinstance(default, float) and math.isinf(default))
    metadata |= {"bounds": bounds, "length": length, "check": check, "entries": entries, "infinite": infinite}
    if dataclasses.is_dataclass(default) and isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_SYMBOLS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def broken_rule(value: Any, metadata: Mapping[str, Any]) -> str | None:
    """Return the rule of a field that ``value`` breaks, as text; None if it breaks none, or is None itself."""
    if value is None:
        return None
    is_list = isinstance(value, list | tuple)
    items = value if is_list else (value,)
    choices, length, check = metadata.get("choices"), metadata.get("length"), metadata.get("check")
    if choices and any(item not in choices for item in items):
        return f"must be one of {', '.join(choices)}"
    if length is not None and (not is_list or len(value) != length):
        return f"needs exactly {length} values" + (f", got {len(value)}" if is_list else "")
    numbers = [item for item in items if isinstance(item, int | float)]
    if any(isinstance(number, int) and abs(number) > LARGEST_INTEGER for number in numbers):
        return f"must be between -{LARGEST_INTEGER} and {LARGEST_INTEGER}"
    for name, bound in metadata.get("bounds", {}).items():
        if not all(getattr(operator, name)(number, bound) for number in numbers):  # False for NaN
            return f"must be {_SYMBOLS[name]} {bound}"
    if not metadata.get("infinite") and not _is_finite(value):
        return "must be finite"
    return check(value) if check is not None else None


def _is_finite(value: Any) -> bool:
    """Return whether a number, or every number of a list, is finite; values of a dict have rules of their own."""
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


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
            if (rule := broken_rule(value, field.metadata)) is not None:
                raise ConfigError(rule, key=field.name, value=value)
