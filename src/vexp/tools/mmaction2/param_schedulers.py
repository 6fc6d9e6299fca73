"""Convert ``param_scheduler`` of 1.x to ``lr_policy=``, with the same learning rate at every optimizer step.

Each scheduler of the list changes the current rate. A list is converted to one policy and its warm-up if that has the
same rates:

    LinearLR or ConstantLR in steps, first     the warm-up
    MultiStepLR, StepLR, ExponentialLR         step, exp
    CosineAnnealingLR                          cosine; with a later beginning: flat_cosine; with T_max beyond the end of
                                               the run: cosine_restart with one period
    CosineRestartLR, OneCycleLR                cosine_restart, one_cycle

Everything else becomes ``chain``, with a phase for each scheduler: a warm-up in epochs, a floor and a warm-up, PolyLR
and LinearLR, which mmengine ends within the run, several schedulers one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import count, pairwise
from typing import Any

from vexp.core.errors import ConfigError
from vexp.optim.lr_policy import Phase
from vexp.tools.mmaction2.lr_config import floats, one_peak
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, as_lists, number, sets
from vexp.tools.mmaction2.tables import all_of, apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node, UnreadableError, entries

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


@sets("min_lr_ratio")
def _floor_ratio(result: ConversionResult, node: Node, prefix: str) -> None:
    remark = "the weight of a later cycle scales its floor, too; mmengine's stays at this share of the base rate"
    result.set(node, prefix + "min_lr_ratio", float(number(node)), remark, changed=True)


#: Scheduler that sets the rate by itself -> option of group lr_policy, and the rules of its arguments.
ALONE: dict[str, tuple[str, dict[str, Rule]]] = {
    "CosineRestartLR": ("cosine_restart", {
        "periods": Map("periods"), "eta_min": Map("min_lr", float), "eta_min_ratio": _floor_ratio,
        "restart_weights": Map("restart_weights", floats),
    }),
    "OneCycleLR": ("one_cycle", {
        "eta_max": Map("max_lr", one_peak),
        **same("pct_start div_factor anneal_strategy final_div_factor three_phase total_steps"),
    }),
}  # fmt: skip


class _Scheduler:
    """One entry of ``param_scheduler``, with its times in epochs or in steps (``by_epoch``).

    Attributes:
        every_step: Whether times in epochs are converted to steps.
        length: Length of the run in the unit of the scheduler; None if it is unknown.
        to_the_end: Whether the scheduler lasts to the end of the run.
        wave: Half a wave of CosineAnnealingLR; None if it is unknown.

    Raises:
        UnreadableError: If an argument is unreadable.
        ConfigError: If an argument is not a number.
    """

    def __init__(self, table: MappingNode, result: ConversionResult) -> None:
        self.table, self.kind = table, table.text("type")
        self.arguments: dict[str, Any] = as_lists(table.to_python())
        self.by_epoch = bool(self.number("by_epoch", True))
        self.every_step = bool(self.number("convert_to_iter_based", False))
        self.begin, self.end = self.number("begin", 0), self.number("end", None)
        length = result.config.scalar("train_cfg", "max_epochs" if self.by_epoch else "max_iters")
        self.length: Any = length if isinstance(length, int | float) else None
        self.to_the_end = self.end is None or (self.length is not None and self.end >= self.length)
        end = self.length if self.end is None else self.end
        self.wave = self.number("T_max", None) or (None if end is None else end - self.begin)
        stones = self.arguments.get("milestones", [])
        self.milestones: list[Any] = stones if isinstance(stones, list) else [stones]
        if any(not isinstance(stone, int | float) for stone in self.milestones):
            raise ConfigError("milestones is not a number")

    def number(self, key: str, otherwise: Any) -> Any:
        value = self.arguments.get(key, otherwise)
        if value is not None and not isinstance(value, int | float):
            raise ConfigError(f"{key} is not a number")
        return value


def convert_schedulers(result: ConversionResult, node: Node | None) -> None:
    """Convert ``param_scheduler`` of 1.x."""
    listed = [node] if isinstance(node, MappingNode) else entries(node)
    tables = [entry for entry in listed if isinstance(entry, MappingNode)]
    if node is not None and not listed:
        result.mark_unneeded(node, "a constant rate: lr_policy=fixed")
    known = [table for table in tables if table.text("type") in PHASES or table.text("type") in ALONE]
    reasons: list[tuple[Node, str, Callable[[str, Node, str], None]]] = []  # why the rate is left to the user
    for entry in listed:
        kind = entry.text("type")
        if kind.endswith("Momentum"):
            result.mark_unsupported(entry, "only the learning rate is scheduled")
        elif entry not in known:
            lacks = f"vexp has no scheduler {kind} ({', '.join([*PHASES, *ALONE])} are converted)"
            unread = getattr(entry, "unread", "")
            reasons.append((entry, unread or lacks, result.need if unread else result.need_other))
    try:
        _convert(result, [_Scheduler(table, result) for table in known])
    except (UnreadableError, ConfigError) as error:
        reasons.append((listed[0], str(error), result.need))
    for key in [key for key in result.values if reasons and key.startswith("lr_policy.")]:
        result.revoke(key, reasons[0][1])
    for entry, why, ask in reasons:
        ask("lr_policy", entry, f"{why}; choose a policy")


def _convert(result: ConversionResult, schedulers: list[_Scheduler]) -> None:
    alone = next((scheduler for scheduler in schedulers if scheduler.kind in ALONE), None)
    if alone is not None:
        for other in schedulers:
            if other is not alone:
                why = f"{alone.kind} sets the rate by itself, over the others; see lr.warmup"
                result.mark_unsupported(other.table, why)
        _convert_alone(result, alone)
        return
    warmup = next((scheduler for scheduler in schedulers[:1] if _is_warmup(scheduler)), None)
    mains = [scheduler for scheduler in schedulers if scheduler is not warmup]
    if len(mains) > 1 or (mains and not _is_policy(mains[0], warmup is not None)):
        _convert_chain(result, schedulers)
        return
    result.choose("lr_policy", "fixed")
    for main in mains:
        _convert_main(result, main)
    if warmup is not None:
        _convert_warmup(result, warmup)


# --- a policy and its warm-up ----------------------------------------------------------------------------------------


def _is_warmup(scheduler: _Scheduler) -> bool:
    """Return whether a scheduler is the warm-up of every policy: in steps, from the first one, to the full rate."""
    to_full = scheduler.kind == "ConstantLR" or scheduler.number("end_factor", 1.0) == 1.0
    rises = scheduler.kind in ("LinearLR", "ConstantLR") and to_full
    return rises and not scheduler.by_epoch and not scheduler.begin and (scheduler.end or 0) > 1


def _is_policy(main: _Scheduler, warmed: bool) -> bool:
    """Return whether a policy has the rates of this scheduler to the end of the run."""
    begin, wave, length = main.begin, main.wave, main.length
    if not main.to_the_end:
        return False
    match main.kind:
        case "MultiStepLR":
            stones = [begin + stone for stone in main.milestones]
            rising = all(before < after for before, after in pairwise([0, *stones]))
            return bool(stones) and rising and all(isinstance(stone, int) for stone in stones)
        case "StepLR" | "ExponentialLR":
            return not begin
        case "CosineAnnealingLR":
            floor = main.number("eta_min", 0) or main.number("eta_min_ratio", 0)
            if length is None or (warmed and floor):  # a warm-up scales the floor, too
                return False
            if begin or main.every_step:
                return bool(wave == length - begin and begin == int(begin))
            return wave is not None and bool(wave >= length and wave == int(wave))
    return False


def _convert_warmup(result: ConversionResult, warmup: _Scheduler) -> None:
    linear, table = warmup.kind == "LinearLR", warmup.table
    result.set(table.items["type"], "lr_policy.warmup", "linear" if linear else "constant")
    factor = table.get("start_factor" if linear else "factor")
    if factor is None:
        result.set_implied("lr_policy.warmup_ratio", 1 / 3, f"mmengine's default of {warmup.kind}")
    else:
        result.set(factor, "lr_policy.warmup_ratio", factor.to_python())
    remark = "mmengine reaches the full rate at the last step of the warm-up"
    result.set(table.items["end"], "lr_policy.warmup_iters", warmup.end - 1, remark)
    _apply_rest(result, warmup, {
        "begin": Require(0), "end_factor": Require(1.0, "the warm-up here ends at the full rate"),
        "by_epoch": Ignore("the unit of the warm-up"),
        "convert_to_iter_based": Ignore("the warm-up moves at every step"),
    }, done=("start_factor", "factor", "end"))  # fmt: skip


def _convert_main(result: ConversionResult, main: _Scheduler) -> None:
    """Convert the scheduler that lasts to the end of the run."""
    table, kind = main.table, main.kind
    drops = kind in ("MultiStepLR", "StepLR")  # at the beginning of an epoch, even if converted to steps
    staircase = main.by_epoch and (drops or not main.every_step)
    why = "the scheduler moves between epochs" if staircase else "the scheduler moves at every step"
    result.set_implied("lr_policy.by_epoch", staircase, why)
    done: tuple[str, ...] = ()
    rules: dict[str, Rule] = {
        "gamma": Map("gamma"), "step_size": Map("step"), "T_max": Ignore("the length of the run"),
        "eta_min": Map("min_lr", float), "eta_min_ratio": Map("min_lr_ratio", float),
        "begin": Ignore("counted into the milestones") if drops else Require(0),
    }  # fmt: skip
    option, remark = "step" if drops else "exp", ""
    if kind == "MultiStepLR":
        milestones = [main.begin + stone for stone in main.milestones]
        result.set(table.items["milestones"], "lr_policy.step", milestones)
        done = ("milestones",)
    elif kind == "CosineAnnealingLR" and main.begin:
        option, remark = "flat_cosine", "the full rate up to the beginning of the cosine"
        result.set(table.items["begin"], "lr_policy.start_percent", main.begin / main.length)
        done = ("begin",)
    elif kind == "CosineAnnealingLR" and main.wave > main.length:
        option, remark = "cosine_restart", "one period, longer than the run"
        rules["T_max"] = Map("periods", lambda steps: [int(steps)])
    elif kind == "CosineAnnealingLR":
        option = "cosine"
    result.choose("lr_policy", option, table.items["type"], remark)
    _apply_rest(result, main, rules, done=done)


def _convert_alone(result: ConversionResult, main: _Scheduler) -> None:
    """Convert CosineRestartLR or OneCycleLR."""
    option, rules = ALONE[main.kind]
    rules = {"begin": Require(0, "the policy here begins with the run"), **rules}
    result.choose("lr_policy", option, main.table.items["type"])
    if option == "cosine_restart":
        staircase = main.by_epoch and not main.every_step
        why = "the scheduler moves between epochs" if staircase else "by step"
        result.set_implied("lr_policy.by_epoch", staircase, why)
        if main.every_step:
            why = "its cycles here are in whole epochs, or in steps: give lr.periods in steps"
            rules["periods"] = Unsupported(why, off=())
    elif main.by_epoch:
        fits = main.every_step and main.number("total_steps", None) == main.length
        rules["total_steps"] = Ignore("the length of the run") if fits else _whole_run
    if not main.to_the_end:
        rules["end"] = Unsupported("the policy here goes on to the end of the run", off=())
    _apply_rest(result, main, rules)


def _whole_run(result: ConversionResult, node: Node, prefix: str) -> None:
    result.record(node, "changed", "", "the cycle here lasts as long as the run and moves at every step")


# --- a chain ---------------------------------------------------------------------------------------------------------


def _convert_chain(result: ConversionResult, schedulers: list[_Scheduler]) -> None:
    result.choose("lr_policy", "chain")
    names: list[str] = []
    for scheduler in schedulers:
        shape = PHASES[scheduler.kind][0]
        warms = shape in ("linear", "constant") and not scheduler.begin and scheduler.number("end_factor", 1.0) == 1.0
        name = "warmup" if warms else shape
        if name in names:
            name = next(other for i in count(2) if (other := f"{name}_{i}") not in names)
        names.append(name)
        _convert_phase(result, scheduler, f"lr_policy.phases.{name}.")


_PHASE_DEFAULTS = {field.name: field.default for field in fields(Phase)}


def _unless_default(key: str) -> Rule:
    """Return a rule that sets an argument of a phase, unless it has its default."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        value = as_lists(node.to_python())
        if value == _PHASE_DEFAULTS[key]:
            result.mark_default(node, f"the default of a phase's {key}")
        else:
            result.set(node, prefix + key, value)

    return rule


def _convert_phase(result: ConversionResult, scheduler: _Scheduler, prefix: str) -> None:
    (shape, arguments), table, end = PHASES[scheduler.kind], scheduler.table, scheduler.end
    result.set(table.items["type"], prefix + "shape", shape)
    arguments = {**arguments, "begin": "begin", "convert_to_iter_based": "every_step"}
    rules = {name: _unless_default(key) for name, key in arguments.items()}
    rules["by_epoch"] = Ignore("a phase counts epochs") if scheduler.by_epoch else Map("by_epoch", bool)
    rules["end"] = Ignore("the end of the run") if end is None or end == scheduler.length else Map("end")
    if shape == "cosine" and scheduler.number("T_max", None) == (end or scheduler.length or 0) - scheduler.begin:
        rules["T_max"] = Ignore("the length of the phase")
    if shape in ("linear", "constant") and not {"start_factor", "factor"} & set(table.items):
        result.set_implied(prefix + "start_factor", 1 / 3, f"mmengine's default of {scheduler.kind}")
    _apply_rest(result, scheduler, rules, prefix)


def _apply_rest(
    result: ConversionResult,
    scheduler: _Scheduler,
    rules: dict[str, Rule],
    prefix: str = "lr_policy.",
    done: tuple[str, ...] = (),
) -> None:
    """Apply the rules of a scheduler's arguments, except those that are ``done``."""
    shared: dict[str, Rule] = {
        "end": Ignore("the end of the run"), "verbose": Ignore("the rate is in every log line"),
        **all_of("by_epoch convert_to_iter_based", Ignore("lr_policy.by_epoch has it")),
        "param_name": Require("lr", "only the learning rate is scheduled"),
    }  # fmt: skip
    rest = {key: rule for key, rule in {**shared, **rules}.items() if key not in done}
    apply_rules(result, scheduler.table, rest, prefix, owner=f"{scheduler.kind}'s ")
