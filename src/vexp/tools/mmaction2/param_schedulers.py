"""The learning rate of 1.x: ``param_scheduler`` as ``lr_policy=``, the same rate at every optimizer step.

Each scheduler of the list moves the rate of the moment. A list is one policy with its warm-up where that has its rates:

    LinearLR or ConstantLR in steps, first     the warm-up
    MultiStepLR, StepLR, ExponentialLR         step, exp
    CosineAnnealingLR                          cosine; beginning later: flat_cosine; T_max beyond the end of the run:
                                               cosine_restart with one period
    CosineRestartLR, OneCycleLR                cosine_restart, one_cycle

and ``chain``, a phase for each scheduler, everywhere else: a warm-up in epochs, a floor beside a warm-up, PolyLR and
LinearLR, which mmengine ends within the run, several schedulers one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count, pairwise
from typing import Any

from vexp.core.errors import ConfigError
from vexp.optim.lr_policy import Phase
from vexp.tools.mmaction2.lr_config import one_peak
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Require, Rule, apply_rules, as_lists, number
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, UnreadableError, to_python

_ALONE = {"CosineRestartLR": "cosine_restart", "OneCycleLR": "one_cycle"}
#: Scheduler -> shape of a phase, and its arguments there.
PHASES: dict[str, tuple[str, dict[str, str]]] = {
    "LinearLR": ("linear", {"start_factor": "start_factor", "end_factor": "end_factor"}),
    "ConstantLR": ("constant", {"factor": "start_factor"}),
    "MultiStepLR": ("step", {"milestones": "step", "gamma": "gamma"}),
    "StepLR": ("step", {"step_size": "step", "gamma": "gamma"}),
    "ExponentialLR": ("exp", {"gamma": "gamma"}),
    "PolyLR": ("poly", {"power": "power", "eta_min": "min_lr"}),
    "CosineAnnealingLR": ("cosine", {"T_max": "period", "eta_min": "min_lr", "eta_min_ratio": "min_lr_ratio"}),
}


@dataclass(slots=True)
class _Scheduler:
    """One entry of ``param_scheduler``, its times in its own unit. ``length``: of the run in that unit, if known."""

    table: MappingNode
    kind: str
    run: dict[bool, Any]  # by_epoch -> length of the run

    def number(self, key: str, otherwise: Any) -> Any:
        node = self.table.get(key)
        value = otherwise if node is None else as_lists(to_python(node))
        entries = value if isinstance(value, list) else [value]
        if not all(entry is None or isinstance(entry, int | float) for entry in entries):
            raise ConfigError(f"{key} is not a number")
        return value

    @property
    def by_epoch(self) -> bool:
        return bool(self.number("by_epoch", True))

    @property
    def every_step(self) -> bool:
        """Whether times in epochs are made steps."""
        return bool(self.number("convert_to_iter_based", False))

    @property
    def begin(self) -> Any:
        return self.number("begin", 0)

    @property
    def length(self) -> Any:
        return self.run[self.by_epoch]

    @property
    def to_the_end(self) -> bool:
        end = self.number("end", None)
        return end is None or (self.length is not None and end >= self.length)

    @property
    def wave(self) -> Any:
        """Half a wave of CosineAnnealingLR; None: not known."""
        end = self.number("end", self.length)
        return self.number("T_max", None) or (None if end is None else end - self.begin)


def convert_schedulers(result: ConversionResult, node: Node | None) -> None:
    """``param_scheduler`` of 1.x."""
    entries = node.items if isinstance(node, SequenceNode) else [node] if isinstance(node, MappingNode) else []
    run = {True: result.config_value("train_cfg", "max_epochs"), False: result.config_value("train_cfg", "max_iters")}
    found = [_Scheduler(entry, entry.text("type"), run) for entry in entries if isinstance(entry, MappingNode)]
    if node is not None and not found:
        result.mark_unneeded(node, "a constant rate: lr_policy=fixed")
    known = [scheduler for scheduler in found if scheduler.kind in PHASES or scheduler.kind in _ALONE]
    for scheduler in found:
        if scheduler not in known:
            result.mark_unsupported(
                scheduler.table, f"{scheduler.kind}: only the learning rate is scheduled, by {', '.join(PHASES)}"
            )
    try:
        for scheduler in known:
            to_python(scheduler.table)  # of half a schedule nothing is made
        _convert(result, known)
    except (UnreadableError, ConfigError) as error:
        result.choose("lr_policy", "fixed")
        for scheduler in known:
            result.mark_unsupported(scheduler.table, f"{error}; the rate stays constant: choose lr=")


def _convert(result: ConversionResult, found: list[_Scheduler]) -> None:
    alone = next((scheduler for scheduler in found if scheduler.kind in _ALONE), None)
    if alone is not None:
        for other in found:
            if other is not alone:
                result.mark_unsupported(
                    other.table, f"{alone.kind} sets the rate by itself, over the others; see lr.warmup"
                )
        _convert_alone(result, alone)
        return
    warmup = next((scheduler for scheduler in found[:1] if _is_warmup(scheduler)), None)
    mains = [scheduler for scheduler in found if scheduler is not warmup]
    if len(mains) > 1 or (mains and not _is_policy(mains[0], warmup is not None)):
        _convert_chain(result, found)
        return
    result.choose("lr_policy", "fixed")
    for main in mains:
        _convert_main(result, main)
    if warmup is not None:
        _convert_warmup(result, warmup)


# --- a policy and its warm-up ----------------------------------------------------------------------------------------


def _is_warmup(scheduler: _Scheduler) -> bool:
    """Whether a scheduler is the warm-up that every policy has: in steps, from the first on, to the full rate."""
    to_full = scheduler.kind == "ConstantLR" or scheduler.number("end_factor", 1.0) == 1.0
    rises = scheduler.kind in ("LinearLR", "ConstantLR") and to_full
    return rises and not scheduler.by_epoch and not scheduler.begin and scheduler.number("end", 0) > 1


def _is_policy(main: _Scheduler, warmed: bool) -> bool:
    """Whether a policy has the rates of this scheduler to the end of the run."""
    whole, begin = main.to_the_end, main.begin
    match main.kind:
        case "MultiStepLR":
            stones = [begin + stone for stone in main.number("milestones", [])]
            rising = all(before < after for before, after in pairwise([0, *stones]))
            return whole and bool(stones) and rising and all(isinstance(stone, int) for stone in stones)
        case "StepLR" | "ExponentialLR":
            return whole and not begin
        case "CosineAnnealingLR":
            wave, length = main.wave, main.length
            floor = main.number("eta_min", 0) or main.number("eta_min_ratio", 0)
            if not whole or length is None or (warmed and floor):  # a floor is lifted while the warm-up goes on
                return False
            if begin or main.every_step:
                return bool(wave == length - begin and begin == int(begin))
            return bool(wave >= length and wave == int(wave))
    return False


def _convert_warmup(result: ConversionResult, warmup: _Scheduler) -> None:
    shape = "linear" if warmup.kind == "LinearLR" else "constant"
    table = warmup.table
    result.set(table.items["type"], "lr_policy.warmup", shape)
    factor = table.get("start_factor" if shape == "linear" else "factor")
    if factor is None:
        result.set_implied("lr_policy.warmup_ratio", 1 / 3, f"mmengine's default of {warmup.kind}")
    else:
        result.set(factor, "lr_policy.warmup_ratio", to_python(factor))
    note = "mmengine reaches the full rate at the last step of the warm-up"
    result.set(table.items["end"], "lr_policy.warmup_iters", warmup.number("end", 0) - 1, note)
    _follow_rest(result, warmup, ("start_factor", "factor", "end"), {
        "begin": Require(0), "end_factor": Require(1.0, "the warm-up here ends at the full rate"),
        "by_epoch": Ignore("the unit of the warm-up"), "convert_to_iter_based": Ignore("the warm-up moves at every step"),
    })  # fmt: skip


def _convert_main(result: ConversionResult, main: _Scheduler) -> None:
    """The scheduler that goes on to the end of the run."""
    table, kind = main.table, main.kind
    drops = kind in ("MultiStepLR", "StepLR")  # at the beginning of an epoch, whether or not made steps
    staircase = main.by_epoch and (drops or not main.every_step)
    why = "the scheduler moves between epochs" if staircase else "the scheduler moves at every step"
    result.set_implied("lr_policy.by_epoch", staircase, why)
    done: tuple[str, ...] = ()
    rules: dict[str, Rule] = {
        "gamma": Map("gamma"), "step_size": Map("step"), "T_max": Ignore("the length of the run"),
        "eta_min": Map("min_lr", float), "eta_min_ratio": Map("min_lr_ratio", float),
        "begin": Ignore("counted into the milestones") if drops else Require(0),
    }  # fmt: skip
    if kind == "MultiStepLR":
        result.choose("lr_policy", "step", table.items["type"])
        milestones = [main.begin + stone for stone in main.number("milestones", [])]
        result.set(table.items["milestones"], "lr_policy.step", milestones)
        done = ("milestones",)
    elif kind != "CosineAnnealingLR":
        result.choose("lr_policy", "step" if drops else "exp", table.items["type"])
    elif main.begin:
        result.choose(
            "lr_policy", "flat_cosine", table.items["type"], "the full rate up to the beginning of the cosine"
        )
        result.set(table.items["begin"], "lr_policy.start_percent", main.begin / main.length)
        done = ("begin",)
    elif main.wave > main.length:
        result.choose("lr_policy", "cosine_restart", table.items["type"], "one period, longer than the run")
        rules["T_max"] = Map("periods", lambda steps: [int(steps)])
    else:
        result.choose("lr_policy", "cosine", table.items["type"])
    _follow_rest(result, main, done, rules)


def _convert_alone(result: ConversionResult, main: _Scheduler) -> None:
    """CosineRestartLR and OneCycleLR."""
    option, table = _ALONE[main.kind], main.table
    result.choose("lr_policy", option, table.items["type"])
    rules: dict[str, Rule]
    if option == "cosine_restart":
        staircase = main.by_epoch and not main.every_step
        result.set_implied(
            "lr_policy.by_epoch", staircase, "the scheduler moves between epochs" if staircase else "by step"
        )
        rules = {
            "periods": Map("periods"), "eta_min": Map("min_lr", float), "eta_min_ratio": _floor_of_all,
            "restart_weights": Map("restart_weights", lambda value: [float(weight) for weight in value]),
        }  # fmt: skip
        if main.every_step:
            rules["periods"] = _refused("its cycles here are in whole epochs, or in steps: give lr.periods in steps")
    else:
        steps: Rule = Map("total_steps")
        if main.by_epoch:
            fits = main.every_step and main.number("total_steps", None) == main.length
            note = "the cycle here lasts as long as the run and moves at every step"
            steps = Ignore("the length of the run") if fits else _changed(note)
        rules = {
            "eta_max": Map("max_lr", one_peak), "pct_start": Map("pct_start"), "div_factor": Map("div_factor"),
            "anneal_strategy": Map("anneal_strategy"), "final_div_factor": Map("final_div_factor"),
            "three_phase": Map("three_phase"), "total_steps": steps,
        }  # fmt: skip
    if not main.to_the_end:
        rules["end"] = _refused("the policy here goes on to the end of the run")
    _follow_rest(result, main, (), {"begin": Require(0, "the policy here begins with the run"), **rules})


def _floor_of_all(result: ConversionResult, node: Node, prefix: str) -> None:
    note = "the weight of a later cycle scales its floor, too; mmengine's stays at this share of the base rate"
    result.set_changed(node, prefix + "min_lr_ratio", float(number(node)), note)


def _changed(note: str) -> Rule:
    return lambda result, node, prefix: result.record(node, "changed", "", note)


def _refused(why: str) -> Rule:
    return lambda result, node, prefix: result.mark_unsupported(node, why)


# --- a chain ---------------------------------------------------------------------------------------------------------


def _convert_chain(result: ConversionResult, found: list[_Scheduler]) -> None:
    result.choose("lr_policy", "chain")
    names: list[str] = []
    for scheduler in found:
        names.append(next(name for name in _names(scheduler) if name not in names))
        _convert_phase(result, scheduler, f"lr_policy.phases.{names[-1]}.")


def _names(scheduler: _Scheduler) -> Iterator[str]:
    """What a phase may be called."""
    shape = PHASES[scheduler.kind][0]
    warms = shape in ("linear", "constant") and not scheduler.begin and scheduler.number("end_factor", 1.0) == 1.0
    name = "warmup" if warms else shape
    yield name
    yield from (f"{name}_{number}" for number in count(2))


def _convert_phase(result: ConversionResult, scheduler: _Scheduler, prefix: str) -> None:
    shape, arguments = PHASES[scheduler.kind]
    result.set(scheduler.table.items["type"], prefix + "shape", shape)
    defaults = {field.name: field.default for field in fields(Phase)}

    def unless_default(key: str) -> Rule:
        def rule(result: ConversionResult, node: Node, prefix: str) -> None:
            value = as_lists(to_python(node))
            if value == defaults[key]:
                result.mark_default(node, f"the default of a phase's {key}")
            else:
                result.set(node, prefix + key, value)

        return rule

    rules = {name: unless_default(key) for name, key in arguments.items()}
    rules |= {"begin": unless_default("begin"), "convert_to_iter_based": unless_default("every_step")}
    rules["by_epoch"] = Ignore("a phase counts epochs") if scheduler.by_epoch else Map("by_epoch", bool)
    end = scheduler.number("end", None)
    rules["end"] = Ignore("the end of the run") if end is None or end == scheduler.length else Map("end")
    if shape == "cosine" and scheduler.number("T_max", None) == (end or scheduler.length or 0) - scheduler.begin:
        rules["T_max"] = Ignore("the length of the phase")
    if shape in ("linear", "constant") and not {"start_factor", "factor"} & set(scheduler.table.items):
        result.set_implied(prefix + "start_factor", 1 / 3, f"mmengine's default of {scheduler.kind}")
    _follow_rest(result, scheduler, (), rules, prefix)


def _follow_rest(
    result: ConversionResult,
    scheduler: _Scheduler,
    done: tuple[str, ...],
    rules: dict[str, Rule],
    prefix: str = "lr_policy.",
) -> None:
    """The rules of a scheduler's arguments but for those that are ``done``."""
    shared: dict[str, Rule] = {
        "end": Ignore("the end of the run"), "verbose": Ignore("the rate is in every log line"),
        "by_epoch": Ignore("lr_policy.by_epoch"), "convert_to_iter_based": Ignore("lr_policy.by_epoch"),
        "param_name": Require("lr", "only the learning rate is scheduled"),
    }  # fmt: skip
    rest = {key: node for key, node in scheduler.table.items.items() if key not in ("type", *done)}
    rules = {key: rule for key, rule in {**shared, **rules}.items() if key not in done}
    apply_rules(result, MappingNode(rest, scheduler.table.where), rules, prefix, owner=f"{scheduler.kind}'s ")
