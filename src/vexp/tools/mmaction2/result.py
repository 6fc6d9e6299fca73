"""The result of a conversion: the experiment, and the outcome of every leaf of the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import format_value
from vexp.tools.mmaction2.tree import MappingNode, Node, Where

#: Outcomes of a leaf, most urgent first; a leaf that is used in several places has its most urgent outcome.
STATUSES = {
    "placeholder": "a value to fill in",
    "unsupported": "not supported",
    "changed": "converted, with a difference",
    "carried": "converted",
    "default": "equal to the default, left out",
    "part": "part of another value",
    "needless": "not needed",
    "replaced": "replaced by a later line",
}
_DEFAULT = " (default)"
#: A placeholder in the experiment: vexp refuses it by name until the user has replaced it.
FILL_IN, CHOOSE = "${FILL_IN}", "???"
#: Groups of which the user may be asked to choose an option.
_GROUPS = ("optimizer", "lr_policy", "amp", "eval", "checkpoint", "log")
_URGENCY = {status: index for index, status in enumerate(STATUSES)}


@dataclass(slots=True)
class Outcome:
    """Outcome of a leaf; ``targets`` are the keys and options that it was converted to."""

    status: str
    targets: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the experiment; ``node`` is its source, or None for a default of mmaction2."""

    value: Any
    node: Node | None
    remark: str = ""


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
        needed: Keys and groups that the user must set, and why: the source has no value that can be read.
        missing: Places and descriptions of what the model lacks without a leaf that says so.
        lacking: Places and descriptions of what vexp lacks besides the model.
        replaced_model: What the model of the experiment lacks, accepted with ``model=OPTION``; empty if it is the same.
        channels: Values per pixel; 2 for optical flow.
        frames: Whether mmaction2's clips of one frame are the frames of one clip (image models).
        loss_weight: Weight of the loss in the source, and its node.
        experiment: The composed config of the experiment; None if its placeholders are needed for that.
        weights: Whether a run would refuse each named weight file, and how many of its tensors fit.
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
    needed: dict[str, str] = field(default_factory=dict)
    missing: list[tuple[Where, str]] = field(default_factory=list)
    lacking: list[tuple[Where, str]] = field(default_factory=list)
    replaced_model: list[str] = field(default_factory=list)
    channels: int = 3
    frames: bool = False
    loss_weight: tuple[float, Node | None] = (1.0, None)
    experiment: Any = None
    weights: list[tuple[bool, str]] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def value(self, key: str, otherwise: Any = None) -> Any:
        """Return the value of a key of the experiment, or ``otherwise`` if it is not set."""
        return self.values[key].value if key in self.values else otherwise

    def choose(self, group: str, option: str, node: Node | None = None, remark: str = "") -> None:
        """Set the option of a group."""
        self.choices[group] = option
        if node is not None:
            self.record(node, "carried", f"{group}={option}", remark)

    def set(self, node: Node, key: str, value: Any, remark: str = "", *, changed: bool = False) -> None:
        """Set a key to a value of ``node``, unless it already has another value.

        ``changed`` marks the closest equivalent of a value that has none; ``remark`` describes the difference.
        """
        value = list(value) if isinstance(value, tuple) else value
        before = self.values.get(key)
        if before is not None and before.value != value:
            where = "" if before.node is None else f" by {before.node.where.file.name}:{before.node.where.line}"
            remark = f"{key} is already set to {format_value(before.value)}{where} and has one value for all splits"
            self.mark_unsupported(node, remark)
            return
        self.values[key] = Value(value, node, remark)
        self.record(node, "changed" if changed else "carried", key, remark)

    def set_implied(self, key: str, value: Any, why: str) -> None:
        """Set a key to a default of mmaction2, unless it is already set."""
        self.values.setdefault(key, Value(value, None, why))

    def need(self, key: str, node: Node | None = None, why: str = "") -> None:
        """Leave a key or a group to the user: vexp's default is not what the source means."""
        self.needed.setdefault(key, why if node is None else f"{why} ({node.where.file.name}:{node.where.line})")
        if key in _GROUPS:
            self.choices[key] = CHOOSE
        elif key.endswith(".ann_file"):
            self.values.pop(key, None)  # null is refused with a sentence of its own
        else:
            self.values[key] = Value(FILL_IN, None, why)
        if node is not None:
            self.record(node, "placeholder", key, why)

    def need_other(self, key: str, node: Node, why: str) -> None:
        """Leave a group to the user whose option in the source is known, and vexp does not have it."""
        self.need(key, node, why)
        self.lacking.append((node.where, why))

    def mark_default(self, node: Node, why: str) -> None:
        self.record(node, "default", "", why)

    def mark_unneeded(self, node: Node, why: str) -> None:
        self.record(node, "needless", "", why)

    def mark_unsupported(self, node: Node, why: str) -> None:
        """Record that ``node`` has no equivalent; ``why`` includes what to do instead."""
        self.record(node, "unsupported", "", why)

    def add_pitfall(self, node: Node, what: str) -> None:
        if (node.where, what) not in self.pitfalls:
            self.pitfalls.append((node.where, what))

    def record(self, node: Node, status: str, target: str = "", remark: str = "") -> None:
        """Record the outcome of all leaves of ``node``."""
        for _, leaf in node.leaves():
            outcome = self.outcomes.setdefault(id(leaf), Outcome(status))
            outcome.status = min(outcome.status, status, key=_URGENCY.__getitem__)
            for entries, new in ((outcome.targets, target), (outcome.remarks, remark)):
                if new and new not in entries:
                    entries.append(new)

    def rename_target(self, key: str, new: str) -> None:
        """Replace a key among the targets of all leaves."""
        for outcome in self.outcomes.values():
            outcome.targets = list(dict.fromkeys(new if target == key else target for target in outcome.targets))

    def default(self, key: str) -> Any:
        """Return the default of a key; ``...`` if it has none."""
        group, *rest = key.split(".")
        if group == "pipeline":
            split, name, *rest = rest
            default = self.options("transform", self.steps[split][name])
        else:
            option = self.choices.get(group, "")
            default = self.options(group, "" if option == CHOOSE else option)
        for part in rest:
            default = default.get(part, ...) if isinstance(default, Mapping) else ...
        return default

    def drop_defaults(self) -> None:
        """Remove every value that equals its default, and record this for its leaf."""
        for key, given in list(self.values.items()):
            if given.value == FILL_IN:
                continue
            default = self.default(key)
            if default != given.value or isinstance(default, bool) != isinstance(given.value, bool):
                if given.node is None:
                    self.implied.append(f"{key}: {format_value(given.value)} ({given.remark})")
                continue
            del self.values[key]
            for _, leaf in given.node.leaves() if given.node is not None else ():
                outcome = self.outcomes[id(leaf)]
                outcome.targets = [target + self._default_text(target, key, given) for target in outcome.targets]
                has_effect = any(
                    target in self.values or ("=" in target and not target.endswith(_DEFAULT))
                    for target in outcome.targets
                )
                if outcome.status == "carried" and not has_effect:
                    outcome.status = "default"

    @staticmethod
    def _default_text(target: str, key: str, given: Value) -> str:
        return f"={format_value(given.value)}{_DEFAULT}" if target == key else ""

    def revoke(self, key: str, why: str, status: str = "unsupported") -> bool:
        """Remove a value that vexp rejects or that another one replaces; return whether it was set."""
        given = self.values.pop(key, None)
        if given is not None and given.node is not None:
            for _, leaf in given.node.leaves():
                outcome = self.outcomes[id(leaf)]
                outcome.targets = [target for target in outcome.targets if target != key]
                outcome.status = outcome.status if outcome.targets else status
            self.record(given.node, status, "", why)
        return given is not None
