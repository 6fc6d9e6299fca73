"""The experiment while it is put together: what is chosen and set, and what became of every leaf of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import format_value
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, UnreadableError, Where, leaves, plain

#: What can become of a leaf, most urgent first: what is said of one that is used in several places.
STATUSES = {
    "unsupported": "not supported",
    "changed": "carried over, with a difference",
    "carried": "carried over",
    "default": "equal to the default here, left out",
    "part": "part of another value",
    "needless": "not needed here",
    "replaced": "replaced by a later line of the source",
}


@dataclass(slots=True)
class Outcome:
    """What became of a leaf. ``targets``: the keys or choices here that it went into."""

    status: str
    targets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the experiment. ``node``: what says so; None: mmaction2 does so without being told."""

    value: Any
    node: Node | None
    note: str = ""


@dataclass(slots=True)
class ConversionResult:
    """``options``: the values of an option, by (group, option), as vexp itself has them before anything is set;
    ``config``: the source.

    Attributes:
        generation: 0 or 1, of mmaction2.
        choices: group -> option.
        steps: split -> name of the step -> option of group transform.
        values: dotted key -> value.
        implied: what mmaction2 does without being told and vexp does not, as lines for the report.
        traps: (where, what) of a source that does not do what it seems to say.
        repeats: how often mmaction2's epoch goes through the training set (RepeatDataset).
        channels: values of a pixel; 2 where the data are optical flow.
        needed: keys that the user must give, since the source's value cannot be read.
    """

    options: Callable[[str, str], Any]
    config: MappingNode
    generation: int = 0
    choices: dict[str, str] = field(default_factory=dict)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    implied: list[str] = field(default_factory=list)
    traps: list[tuple[Where, str]] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    repeats: int = 1
    channels: int = 3
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def config_word(self, *path: str) -> Any:
        """A scalar of the source by its keys; None where there is none that can be read."""
        node = self.config.get(*path)
        return node.value if isinstance(node, ScalarNode) and not node.unread else None

    def choose(self, group: str, option: str, node: Node | None = None, note: str = "") -> None:
        """Take an option of a group."""
        self.choices[group] = option
        if node is not None:
            self.record(node, "carried", f"{group}={option}", note)

    def carry(self, node: Node, key: str, value: Any, note: str = "", *, changed: bool = False) -> None:
        """Set a key to what ``node`` says. Where it was set to something else before, the first word counts."""
        value = list(value) if isinstance(value, tuple) else value
        before = self.values.get(key)
        if before is not None and before.value != value:
            where = "" if before.node is None else f" by line {before.node.where.line}"
            self.record(
                node, "unsupported", "", f"{key} is {format_value(before.value)}{where} already; there is one for all"
            )
            return
        self.values[key] = Value(value, node, note)
        self.record(node, "changed" if changed else "carried", key, note)

    def change(self, node: Node, key: str, value: Any, note: str) -> None:
        """Set a key to what is nearest to what ``node`` says; ``note``: the difference."""
        self.carry(node, key, value, note, changed=True)

    def imply(self, key: str, value: Any, why: str) -> None:
        """Set a key to what mmaction2 does without being told."""
        if key not in self.values:
            self.values[key] = Value(value, None, why)

    def same(self, node: Node, why: str) -> None:
        """``node`` says what is so anyway."""
        self.record(node, "default", "", why)

    def drop(self, node: Node, why: str) -> None:
        """Nothing here needs ``node``."""
        self.record(node, "needless", "", why)

    def refuse(self, node: Node, why: str) -> None:
        """``node`` has no counterpart; ``why`` also says what to do."""
        self.record(node, "unsupported", "", why)

    def trap(self, node: Node, what: str) -> None:
        if (node.where, what) not in self.traps:
            self.traps.append((node.where, what))

    def record(self, node: Node, status: str, target: str = "", note: str = "") -> None:
        """Say of all leaves of ``node`` what became of them."""
        for _, leaf in leaves(node):
            outcome = self.outcomes.setdefault(id(leaf), Outcome(status))
            if _urgency(status) < _urgency(outcome.status):
                outcome.status = status
            for known, new in ((outcome.targets, target), (outcome.notes, note)):
                if new and new not in known:
                    known.append(new)

    def default(self, key: str) -> Any:
        """What a key is before anything is set; ``...`` where it must be given."""
        group, _, rest = key.partition(".")
        if group == "pipeline":
            split, _, rest = rest.partition(".")
            name, _, rest = rest.partition(".")
            group, option = "transform", self.steps[split][name]
        else:
            option = self.choices.get(group, "")
        found: Any = self.options(group, option)
        for part in rest.split(".") if rest else ():
            found = found.get(part, ...) if isinstance(found, Mapping) else ...
        return found

    def settle(self) -> None:
        """Leave out every value that is the default here, and say so of its leaf."""
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

    def withdraw(self, key: str, why: str, status: str = "unsupported") -> bool:
        """Take a value back, because vexp refuses it or another one counts; whether there was one."""
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


# --- rules: what becomes of an argument of mmaction2 -----------------------------------------------------------------

#: A rule is given the draft, the argument's node and what its key here is to begin with ("optimizer.").
Rule = Callable[[ConversionResult, Node, str], None]
_NOT_IMPLIED = object()


@dataclass(frozen=True, slots=True)
class Map:
    """Carried over to ``key``. ``convert`` raises ValueError with the reason where a value has no counterpart.

    ``implied``: mmaction2's own default, where it may differ from the one here.
    """

    key: str
    convert: Callable[[Any], Any] = lambda value: value
    note: str = ""
    implied: Any = _NOT_IMPLIED

    def __call__(self, draft: ConversionResult, node: Node, prefix: str) -> None:
        draft.carry(node, prefix + self.key, self.convert(plain(node)), self.note)


@dataclass(frozen=True, slots=True)
class Require:
    """Fixed here: fine if the source says the same. ``implied``: as of ``Map``."""

    value: Any
    otherwise: str = "the net here has {0}; leave it, or bring a net of your own (plugins=)"
    implied: Any = _NOT_IMPLIED

    def __call__(self, draft: ConversionResult, node: Node, prefix: str) -> None:
        if as_lists(plain(node)) == as_lists(self.value):
            draft.same(node, "the only value here")
        else:
            draft.refuse(node, self.otherwise.format(format_value(as_lists(self.value))))


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not needed here."""

    why: str

    def __call__(self, draft: ConversionResult, node: Node, prefix: str) -> None:
        draft.drop(node, self.why)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Not supported, unless it is ``off`` in the source."""

    why: str
    off: tuple[Any, ...] = (None, False)

    def __call__(self, draft: ConversionResult, node: Node, prefix: str) -> None:
        if isinstance(node, ScalarNode) and not node.unread and node.value in self.off:
            draft.same(node, "off")
        else:
            draft.refuse(node, self.why)


def elsewhere(draft: ConversionResult, node: Node, prefix: str) -> None:
    """The rule of a key that another part of the import reads."""


def apply_rules(
    draft: ConversionResult, table: MappingNode, rules: Mapping[str, Rule], prefix: str = "", *, owner: str = ""
) -> None:
    """Apply the rule of every key, then what mmaction2 does where a key is not there.

    A key without a rule is left for the end, where it is reported as unknown.
    """
    for name, node in table.items.items():
        if name in rules:
            apply(draft, rules[name], node, prefix)
    for name, rule in rules.items():
        implied = getattr(rule, "implied", _NOT_IMPLIED)
        if name in table.items or implied is _NOT_IMPLIED:
            continue
        if isinstance(rule, Map):
            draft.imply(prefix + rule.key, implied, f"mmaction2's default of {owner}{name}")
        elif isinstance(rule, Require) and as_lists(implied) != as_lists(rule.value):
            draft.implied.append(
                f"{owner}{name}={format_value(as_lists(implied))} is mmaction2's default; not supported: "
                f"{rule.otherwise.format(format_value(as_lists(rule.value)))}"
            )


def apply(draft: ConversionResult, rule: Rule, node: Node, prefix: str = "") -> None:
    """One rule, its refusals recorded."""
    try:
        rule(draft, node, prefix)
    except (UnreadableError, ValueError, TypeError, AttributeError, LookupError) as error:
        text = str(error) if isinstance(error, ValueError) else "is not what mmaction2 takes here; left out"
        draft.refuse(node, text)


def as_lists(value: Any) -> Any:
    """Tuples as lists, at any depth: YAML has no others."""
    if isinstance(value, list | tuple):
        return [as_lists(entry) for entry in value]
    if isinstance(value, dict):
        return {key: as_lists(entry) for key, entry in value.items()}
    return value
