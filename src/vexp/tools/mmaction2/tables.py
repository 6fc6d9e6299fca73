"""Tables of rules, one for each argument of a dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError, format_value
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import NOT_IMPLIED, Ignore, Map, Require, Rule, absolute, as_lists, keys_of
from vexp.tools.mmaction2.tree import MappingNode, Node, UnreadableError, check_known

_EMPTY = Ignore("it is empty")


@dataclass(frozen=True, slots=True)
class Section:
    """A dict with a rule for each key.

    ``otherwise`` is the rule for a value that is not a dict; ``unread`` is the key that is left to the user if the dict
    cannot be read.
    """

    rules: Mapping[str, Rule]
    prefix: str = ""
    owner: str = ""
    otherwise: Rule = _EMPTY
    unread: str = ""

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        check_known(node)
        if isinstance(node, MappingNode):
            if not node.items:  # a leaf of the source, with the defaults of mmaction2
                _EMPTY(result, node, prefix)
            apply_rules(result, node, self.rules, self.prefix or prefix, owner=self.owner)
        else:
            self.otherwise(result, node, prefix)


def arguments(rules: Mapping[str, Rule], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every argument that rules read, also within nested dicts, and each key that it sets."""
    for name, rule in rules.items():
        yield from ((name, absolute(prefix, key)) for key in keys_of(rule))
        if isinstance(rule, Section):
            yield from [(name, rule.prefix[:-1])] if rule.prefix else []
            yield from ((f"{name}.{inner}", key) for inner, key in arguments(rule.rules, rule.prefix or prefix))


def same(names: str) -> dict[str, Rule]:
    """Return the rules of arguments, separated by blanks, that have the same names in vexp."""
    return {name: Map(name) for name in names.split()}


def required(**values: Any) -> dict[str, Rule]:
    """Return the rules of arguments whose values are fixed in vexp."""
    return {name: Require(value) for name, value in values.items()}


def all_of(names: str, rule: Rule) -> dict[str, Rule]:
    """Return one rule for several arguments, separated by blanks."""
    return dict.fromkeys(names.split(), rule)


def apply_rules(
    result: ConversionResult, table: Node | None, rules: Mapping[str, Rule], prefix: str = "", *, owner: str = ""
) -> None:
    """Apply the rule of every key of a dict, then the implied defaults of missing keys; no dict has no effect.

    Keys without a rule are reported as unknown at the end of the conversion.
    """
    if not isinstance(table, MappingNode):
        return
    for name, node in table.items.items():
        if name in rules:
            apply(result, rules[name], node, prefix)
    for name, rule in rules.items():
        implied = getattr(rule, "implied", NOT_IMPLIED)
        if name in table.items or implied is NOT_IMPLIED:
            continue
        if isinstance(rule, Map):
            result.set_implied(absolute(prefix, rule.key), implied, f"mmaction2's default of {owner}{name}")
        elif isinstance(rule, Require) and as_lists(implied) != as_lists(rule.value):
            default = format_value(as_lists(implied))
            result.missing.append((table.where, f"{owner}{name}={default}, the default of mmaction2: {rule.reason}"))


def apply(result: ConversionResult, rule: Rule, node: Node, prefix: str = "") -> None:
    """Apply one rule; an unreadable value becomes a placeholder, an invalid one is recorded with the error."""
    keys = keys_of(rule)
    if isinstance(rule, Section) and rule.unread:
        keys = (f"/{rule.prefix}{rule.unread}",)
    try:
        rule(result, node, prefix)
    except (UnreadableError, ConfigError) as error:
        if isinstance(error, UnreadableError) and len(keys) == 1:
            result.need(absolute(prefix, keys[0]), node, str(error))
            return
        result.mark_unsupported(node, str(error))
