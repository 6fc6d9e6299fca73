"""The result of a conversion, and the rules that convert the arguments of mmaction2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import ConfigError, format_value
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, UnreadableError, Where, leaves, to_python

#: Outcomes of a leaf, most urgent first; a leaf that is used in several places has its most urgent outcome.
STATUSES = {
    "unsupported": "not supported",
    "changed": "converted, with a difference",
    "carried": "converted",
    "default": "equal to the default, left out",
    "part": "part of another value",
    "needless": "not needed",
    "replaced": "replaced by a later line",
}


@dataclass(slots=True)
class Outcome:
    """Outcome of a leaf; ``targets`` are the keys and options that it was converted to."""

    status: str
    targets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the experiment; ``node`` is its source, or None for a default of mmaction2."""

    value: Any
    node: Node | None
    note: str = ""


@dataclass(slots=True)
class ConversionResult:
    """The experiment that a config is converted to, and the outcome of every leaf of the config.

    Attributes:
        options: Returns the default values of an option, given its group and name.
        config: The source.
        generation: Major version of mmaction2, 0 or 1.
        choices: Option of each group.
        steps: Options of group transform by split and name of the step.
        values: Values by dotted key.
        implied: Defaults of mmaction2 that differ from vexp's, as lines for the report.
        pitfalls: Places and descriptions of values that do not have the effect that they seem to have.
        repeats: Passes through the training set per epoch (RepeatDataset).
        channels: Values per pixel; 2 for optical flow.
        needed: Keys that the user must set, because the value of the source cannot be read.
        outcomes: Outcome of each leaf by its id.
    """

    options: Callable[[str, str], Any]
    config: MappingNode
    generation: int = 0
    choices: dict[str, str] = field(default_factory=dict)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    implied: list[str] = field(default_factory=list)
    pitfalls: list[tuple[Where, str]] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    repeats: int = 1
    channels: int = 3
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def config_value(self, *path: str) -> Any:
        """Return a scalar of the source by its keys; None if it is missing or unreadable."""
        node = self.config.get(*path)
        return node.value if isinstance(node, ScalarNode) and not node.unread else None

    def choose(self, group: str, option: str, node: Node | None = None, note: str = "") -> None:
        """Set the option of a group."""
        self.choices[group] = option
        if node is not None:
            self.record(node, "carried", f"{group}={option}", note)

    def set(self, node: Node, key: str, value: Any, note: str = "", *, changed: bool = False) -> None:
        """Set a key to a value of ``node``, unless it already has another value."""
        value = list(value) if isinstance(value, tuple) else value
        before = self.values.get(key)
        if before is not None and before.value != value:
            where = "" if before.node is None else f" by line {before.node.where.line}"
            note = f"{key} is already set to {format_value(before.value)}{where} and has one value for all splits"
            self.record(node, "unsupported", "", note)
            return
        self.values[key] = Value(value, node, note)
        self.record(node, "changed" if changed else "carried", key, note)

    def set_changed(self, node: Node, key: str, value: Any, note: str) -> None:
        """Set a key to the closest equivalent of ``node``; ``note`` describes the difference."""
        self.set(node, key, value, note, changed=True)

    def set_implied(self, key: str, value: Any, why: str) -> None:
        """Set a key to a default of mmaction2, unless it is already set."""
        if key not in self.values:
            self.values[key] = Value(value, None, why)

    def mark_default(self, node: Node, why: str) -> None:
        """Record that ``node`` equals the default."""
        self.record(node, "default", "", why)

    def mark_unneeded(self, node: Node, why: str) -> None:
        """Record that ``node`` is not needed."""
        self.record(node, "needless", "", why)

    def mark_unsupported(self, node: Node, why: str) -> None:
        """Record that ``node`` has no equivalent; ``why`` includes what to do instead."""
        self.record(node, "unsupported", "", why)

    def add_pitfall(self, node: Node, what: str) -> None:
        if (node.where, what) not in self.pitfalls:
            self.pitfalls.append((node.where, what))

    def record(self, node: Node, status: str, target: str = "", note: str = "") -> None:
        """Record the outcome of all leaves of ``node``."""
        for _, leaf in leaves(node):
            outcome = self.outcomes.setdefault(id(leaf), Outcome(status))
            if _urgency(status) < _urgency(outcome.status):
                outcome.status = status
            for entries, new in ((outcome.targets, target), (outcome.notes, note)):
                if new and new not in entries:
                    entries.append(new)

    def default(self, key: str) -> Any:
        """Return the default of a key; ``...`` if it has none."""
        group, _, rest = key.partition(".")
        if group == "pipeline":
            split, _, rest = rest.partition(".")
            name, _, rest = rest.partition(".")
            group, option = "transform", self.steps[split][name]
        else:
            option = self.choices.get(group, "")
        default: Any = self.options(group, option)
        for part in rest.split(".") if rest else ():
            default = default.get(part, ...) if isinstance(default, Mapping) else ...
        return default

    def drop_defaults(self) -> None:
        """Remove every value that equals its default, and record this for its leaf."""
        for key, given in list(self.values.items()):
            if not _same(self.default(key), given.value):
                if given.node is None:
                    self.implied.append(f"{key}: {format_value(given.value)} ({given.note})")
                continue
            del self.values[key]
            if given.node is not None:
                for _, leaf in leaves(given.node):
                    outcome = self.outcomes[id(leaf)]
                    others = [target for target in outcome.targets if target in self.values]
                    if outcome.status == "carried" and not others and not _chooses(outcome):
                        outcome.status = "default"

    def revoke(self, key: str, why: str, status: str = "unsupported") -> bool:
        """Remove a value that vexp rejects or that another one replaces; return whether it was set."""
        given = self.values.pop(key, None)
        if given is None:
            return False
        if given.node is not None:
            for _, leaf in leaves(given.node):
                outcome = self.outcomes[id(leaf)]
                outcome.targets = [target for target in outcome.targets if target != key]
                outcome.status = status if not outcome.targets else outcome.status
            self.record(given.node, status, "", why)
        return True


def _urgency(status: str) -> int:
    return list(STATUSES).index(status)


def _chooses(outcome: Outcome) -> bool:
    return any("=" in target for target in outcome.targets)


def _same(default: Any, value: Any) -> bool:
    if isinstance(default, bool) != isinstance(value, bool):
        return False
    return bool(default == value)


#: A rule converts an argument, given the result, its node and the prefix of the key ("optimizer.").
Rule = Callable[[ConversionResult, Node, str], None]
_NOT_IMPLIED = object()
_INVALID = "is not a value that mmaction2 accepts; left out"


@dataclass(frozen=True, slots=True)
class Map:
    """Set ``key``. ``convert`` raises ConfigError with the reason if the value has no equivalent.

    ``implied`` is mmaction2's default, if it may differ from vexp's.
    """

    key: str
    convert: Callable[[Any], Any] = lambda value: value
    note: str = ""
    implied: Any = _NOT_IMPLIED

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        value = to_python(node)
        try:
            value = self.convert(value)
        except ConfigError:
            raise
        except (ValueError, TypeError, AttributeError, LookupError):  # a value of another type
            raise ConfigError(_INVALID) from None
        result.set(node, prefix + self.key, value, self.note)


@dataclass(frozen=True, slots=True)
class Require:
    """The value is fixed in vexp: the source must agree. ``implied`` is as in ``Map``."""

    value: Any
    otherwise: str = "the model of vexp has {0}; keep it, or use a custom model (plugins=)"
    implied: Any = _NOT_IMPLIED

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        if as_lists(to_python(node)) == as_lists(self.value):
            result.mark_default(node, "the only supported value")
        else:
            result.mark_unsupported(node, self.otherwise.format(format_value(as_lists(self.value))))


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


def handled_elsewhere(result: ConversionResult, node: Node, prefix: str) -> None:
    """The rule of a key that another part of the importer reads."""


def number(node: Node) -> Any:
    """Return a number of the source.

    Raises:
        ConfigError: If it is not a number.
    """
    value = to_python(node)
    if not isinstance(value, int | float):
        raise ConfigError(_INVALID)
    return value


def apply_rules(
    result: ConversionResult, table: MappingNode, rules: Mapping[str, Rule], prefix: str = "", *, owner: str = ""
) -> None:
    """Apply the rule of every key, then the implied defaults of missing keys.

    Keys without a rule are reported as unknown at the end of the conversion.
    """
    for name, node in table.items.items():
        if name in rules:
            apply(result, rules[name], node, prefix)
    for name, rule in rules.items():
        implied = getattr(rule, "implied", _NOT_IMPLIED)
        if name in table.items or implied is _NOT_IMPLIED:
            continue
        if isinstance(rule, Map):
            result.set_implied(prefix + rule.key, implied, f"mmaction2's default of {owner}{name}")
        elif isinstance(rule, Require) and as_lists(implied) != as_lists(rule.value):
            result.implied.append(
                f"{owner}{name}={format_value(as_lists(implied))} is mmaction2's default; not supported: "
                f"{rule.otherwise.format(format_value(as_lists(rule.value)))}"
            )


def apply(result: ConversionResult, rule: Rule, node: Node, prefix: str = "") -> None:
    """Apply one rule, and record its error if the value is unreadable or invalid."""
    try:
        rule(result, node, prefix)
    except (UnreadableError, ConfigError) as error:
        result.mark_unsupported(node, str(error))


def as_lists(value: Any) -> Any:
    """Convert tuples to lists at any depth, because YAML has no tuples."""
    if isinstance(value, list | tuple):
        return [as_lists(entry) for entry in value]
    if isinstance(value, dict):
        return {key: as_lists(entry) for key, entry in value.items()}
    return value
