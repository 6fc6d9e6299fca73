"""The rules that convert the arguments of mmaction2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vexp.core.errors import ConfigError, format_value
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.tree import Node, ScalarNode

#: A rule converts an argument, given the result, its node and the prefix of the key ("optimizer.").
Rule = Callable[[ConversionResult, Node, str], None]
NOT_IMPLIED = object()
INVALID = "is not a value that mmaction2 accepts"


def absolute(prefix: str, key: str) -> str:
    """Return a key of a rule in full: below ``prefix``, unless it begins with a slash."""
    return key[1:] if key.startswith("/") else prefix + key


@dataclass(frozen=True, slots=True)
class Map:
    """Set ``key``. ``convert`` raises ConfigError with the reason if the value has no equivalent.

    ``off`` is the remark if the value is false and therefore the default. ``implied`` is mmaction2's default, if it may
    differ from vexp's.
    """

    key: str
    convert: Callable[[Any], Any] = lambda value: value
    remark: str = ""
    off: str = ""
    implied: Any = NOT_IMPLIED

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        value = node.to_python()
        if self.off and not value:
            result.mark_default(node, self.off)
            return
        try:
            value = self.convert(value)
        except ConfigError:
            raise
        except (ValueError, TypeError, AttributeError, LookupError):  # a value of another type
            raise ConfigError(INVALID) from None
        result.set(node, absolute(prefix, self.key), value, self.remark)


@dataclass(frozen=True, slots=True)
class Require:
    """The value is fixed in vexp: the source must agree. ``implied`` is as in ``Map``."""

    value: Any
    otherwise: str = "the model of vexp has {0}"
    implied: Any = NOT_IMPLIED

    @property
    def reason(self) -> str:
        """Why another value is not supported."""
        return self.otherwise.format(format_value(as_lists(self.value)))

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        if as_lists(node.to_python()) == as_lists(self.value):
            result.mark_default(node, "the only supported value")
        else:
            result.mark_unsupported(node, self.reason)


@dataclass(frozen=True, slots=True)
class Ignore:
    """The argument is not needed."""

    why: str

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        result.mark_unneeded(node, self.why)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The argument is not supported, unless its value is one of ``off``."""

    why: str
    off: tuple[Any, ...] = (None, False)

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        if isinstance(node, ScalarNode) and not node.unread and node.value in self.off:
            result.mark_default(node, "off")
        else:
            result.mark_unsupported(node, self.why)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that sets ``keys``."""

    keys: tuple[str, ...]
    function: Rule

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        self.function(result, node, prefix)


def sets(*keys: str) -> Callable[[Rule], Function]:
    """Declare which keys a function sets; ``vexp explain`` lists them under the name of the argument."""
    return partial(Function, keys)


def keys_of(rule: Rule) -> tuple[str, ...]:
    """Return the keys that a rule sets; those with a slash are absolute."""
    return (rule.key,) if isinstance(rule, Map) else rule.keys if isinstance(rule, Function) else ()


def handled_elsewhere(result: ConversionResult, node: Node, prefix: str) -> None:
    """The rule of a key that another part of the importer reads."""


def number(node: Node) -> Any:
    """Return a number of the source.

    Raises:
        ConfigError: If it is not a number.
    """
    value = node.to_python()
    if not isinstance(value, int | float):
        raise ConfigError(INVALID)
    return value


def as_lists(value: Any) -> Any:
    """Convert tuples to lists at any depth, because YAML has no tuples."""
    if isinstance(value, list | tuple):
        return [as_lists(entry) for entry in value]
    if isinstance(value, dict):
        return {key: as_lists(entry) for key, entry in value.items()}
    return value
