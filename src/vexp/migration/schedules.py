"""The learning rate: ``lr_config`` of 0.x and ``param_scheduler`` of 1.x as ``lr_policy=``.

0.x has the policies that are here, by the same names and formulas. 1.x chains schedulers, each of which multiplies the
rate of the moment; those chains that the published configs use are one policy with its warm-up here:

    LinearLR or ConstantLR at the beginning    the warm-up
    MultiStepLR, StepLR, ExponentialLR         step, exp
    CosineAnnealingLR                          cosine; beginning after the warm-up: flat_cosine; T_max beyond the end of
                                               the run: cosine_restart with one period
    CosineRestartLR, OneCycleLR                cosine_restart, one_cycle
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.migration.draft import Draft, Drop, Rule, Same, To, as_lists, follow
from vexp.migration.nodes import Items, Node, Table, UnreadableError, plain

_WARMUP: dict[str, Rule] = {
    "warmup": To("warmup"), "warmup_iters": To("warmup_iters"), "warmup_ratio": To("warmup_ratio"),
    "warmup_by_epoch": To("warmup_by_epoch"),
}  # fmt: skip
_BASE: dict[str, Rule] = {"by_epoch": To("by_epoch", implied=True), **_WARMUP}
_FLOOR: dict[str, Rule] = {"min_lr": To("min_lr"), "min_lr_ratio": To("min_lr_ratio")}
_CYCLE: dict[str, Rule] = {"by_epoch": To("by_epoch", implied=False), **_WARMUP}


def _one_peak(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        raise ValueError("a peak for each parameter group: leave lr.max_lr null, the peak is then the group's own rate")
    return value


#: Policy of 0.x, in small letters -> option here and its arguments.
POLICIES: dict[str, tuple[str, dict[str, Rule]]] = {
    "fixed": ("fixed", _BASE),
    "step": ("step", {**_BASE, "step": To("step", as_lists), "gamma": To("gamma"), "min_lr": To("min_lr")}),
    "cosineannealing": ("cosine", {**_BASE, **_FLOOR}),
    "cosinerestart": ("cosine_restart", {
        **_BASE, **_FLOOR, "periods": To("periods"),
        "restart_weights": To("restart_weights", lambda value: [float(weight) for weight in value], implied=[1.0]),
    }),
    "exp": ("exp", {**_BASE, "gamma": To("gamma")}),
    "poly": ("poly", {**_BASE, "power": To("power"), "min_lr": To("min_lr")}),
    "inv": ("inv", {**_BASE, "gamma": To("gamma"), "power": To("power")}),
    "linearannealing": ("linear", {**_BASE, **_FLOOR}),
    "flatcosineannealing": ("flat_cosine", {**_BASE, **_FLOOR, "start_percent": To("start_percent")}),
    "cyclic": ("cyclic", {
        **_CYCLE, "target_ratio": To("target_ratio", as_lists), "cyclic_times": To("cyclic_times"),
        "step_ratio_up": To("step_ratio_up"), "anneal_strategy": To("anneal_strategy"), "gamma": To("gamma"),
    }),
    "onecycle": ("one_cycle", {
        **_CYCLE, "max_lr": To("max_lr", _one_peak), "total_steps": To("total_steps"), "pct_start": To("pct_start"),
        "anneal_strategy": To("anneal_strategy"), "div_factor": To("div_factor"),
        "final_div_factor": To("final_div_factor"), "three_phase": To("three_phase"),
    }),
}  # fmt: skip


def convert_lr_config(draft: Draft, node: Node | None) -> None:
    """``lr_config`` of 0.x."""
    if not isinstance(node, Table):
        draft.choose("lr_policy", "fixed")
        if node is not None:
            draft.drop(node, "a constant rate: lr_policy=fixed")
        return
    policy, name = node.items.get("policy"), node.word("policy")
    known = POLICIES.get(name.lower())
    if known is None or policy is None:
        draft.choose("lr_policy", "fixed")
        draft.refuse(node, f"there is no policy {name or 'without a name'} here, the rate stays constant; choose lr=")
        return
    if name == name.lower() and name not in ("fixed", "step", "exp", "poly", "inv", "cyclic"):
        draft.trap(
            policy, f"mmcv would not find policy={name!r}, which it takes for {name.title()}; read as {known[0]}"
        )
    draft.choose("lr_policy", known[0], policy)
    follow(draft, node, known[1], "lr_policy.", owner=f"{name}'s ")
    if known[0] == "cosine_restart":
        draft.imply("lr_policy.restart_floor", "fixed", "mmcv's weights leave the floor where it is")


# --- 1.x -------------------------------------------------------------------------------------------------------------

_END = 10**9
_MAIN = ("MultiStepLR", "StepLR", "ExponentialLR", "CosineAnnealingLR", "CosineRestartLR", "OneCycleLR", "PolyLR")


@dataclass(slots=True)
class _Scheduler:
    """One entry of ``param_scheduler``, its times in its own unit."""

    table: Table
    kind: str

    def number(self, key: str, otherwise: Any) -> Any:
        node = self.table.get(key)
        return otherwise if node is None else as_lists(plain(node))

    @property
    def by_epoch(self) -> bool:
        """Whether the rate moves between epochs only."""
        return bool(self.number("by_epoch", True)) and not self.number("convert_to_iter_based", False)

    @property
    def begin(self) -> int:
        return int(self.number("begin", 0))

    @property
    def end(self) -> int:
        return int(self.number("end", _END))


def convert_schedulers(draft: Draft, node: Node | None, length: int | None) -> None:
    """``param_scheduler`` of 1.x. ``length``: epochs of the run (steps, where it is given in steps)."""
    entries = node.items if isinstance(node, Items) else [node] if isinstance(node, Table) else []
    found = [_Scheduler(entry, entry.word("type")) for entry in entries if isinstance(entry, Table)]
    try:
        main = _convert_chain(draft, found, length)
    except (UnreadableError, ValueError, TypeError) as error:
        draft.choose("lr_policy", "fixed")
        for scheduler in found:
            draft.refuse(scheduler.table, f"{error}; the rate stays constant: choose lr=")
        return
    if main is None:
        draft.choose("lr_policy", "fixed")
    if node is not None and not found:
        draft.drop(node, "a constant rate: lr_policy=fixed")


def _convert_chain(draft: Draft, chain: list[_Scheduler], length: int | None) -> _Scheduler | None:
    warmups = [s for s in chain if _is_warmup(s, length)]
    mains = [s for s in chain if s not in warmups and s.kind in _MAIN]
    lines = [s for s in chain if s not in warmups and s.kind == "LinearLR"]
    main = next(iter([*mains, *lines]), None)
    for other in chain:
        if other is not main and other not in warmups[:1]:
            draft.refuse(other.table, "one policy with one warm-up: this scheduler is not part of it")
    warmup = warmups[0] if warmups else None
    if main is not None:
        _convert_main(draft, main, warmup, length)
    elif warmup is not None:
        draft.choose("lr_policy", "fixed")
    if warmup is not None:
        _convert_warmup(draft, warmup)
    return main


def _is_warmup(scheduler: _Scheduler, length: int | None) -> bool:
    """Whether a scheduler rises to the full rate at the beginning of the run."""
    if scheduler.kind not in ("LinearLR", "ConstantLR") or scheduler.begin or scheduler.end == _END:
        return False
    in_steps_of_epochs = not scheduler.number("by_epoch", True)  # the run's length may be in epochs: not comparable
    return scheduler.number("end_factor", 1.0) == 1.0 and (in_steps_of_epochs or scheduler.end < (length or _END))


def _convert_warmup(draft: Draft, warmup: _Scheduler) -> None:
    shape = "linear" if warmup.kind == "LinearLR" else "constant"
    table = warmup.table
    draft.carry(table.items["type"], "lr_policy.warmup", shape)
    factor = table.get("start_factor" if shape == "linear" else "factor")
    if factor is None:
        draft.imply("lr_policy.warmup_ratio", 1 / 3, f"mmengine's default of {warmup.kind}")
    else:
        draft.carry(factor, "lr_policy.warmup_ratio", plain(factor))
    end = table.items["end"]
    if warmup.number("by_epoch", True):
        why = "mmengine reaches the full rate a step earlier, at the last step of the warm-up"
        if warmup.by_epoch:
            why = "moves at every step here, between epochs there (convert_to_iter_based is not set)"
        draft.change(end, "lr_policy.warmup_iters", warmup.end, why)
        draft.imply("lr_policy.warmup_by_epoch", True, "the warm-up is given in epochs")
    else:
        note = "mmengine reaches the full rate at the last step of the warm-up"
        draft.carry(end, "lr_policy.warmup_iters", warmup.end - 1, note)
    _follow_rest(draft, warmup, ("start_factor", "factor", "end"), {
        "end_factor": Same(1.0, "the warm-up here ends at the full rate"),
        "by_epoch": Drop("the unit of the warm-up"), "convert_to_iter_based": Drop("the warm-up moves at every step"),
    })  # fmt: skip


def _follow_rest(draft: Draft, scheduler: _Scheduler, done: tuple[str, ...], rules: dict[str, Rule]) -> None:
    """The rules of a scheduler's arguments but for those that are ``done``."""
    shared: dict[str, Rule] = {
        "begin": Same(0), "end": Drop("the end of the run"), "verbose": Drop("the rate is in every log line"),
        "param_name": Same("lr", "only the learning rate is scheduled"),
    }  # fmt: skip
    rest = {key: node for key, node in scheduler.table.items.items() if key not in ("type", *done)}
    rules = {key: rule for key, rule in {**shared, **rules}.items() if key not in done}
    follow(draft, Table(rest, scheduler.table.where), rules, "lr_policy.", owner=f"{scheduler.kind}'s ")


def _convert_main(draft: Draft, main: _Scheduler, warmup: _Scheduler | None, length: int | None) -> None:
    """The scheduler that goes on to the end of the run."""
    table, kind = main.table, main.kind
    unit: dict[str, Rule] = {
        "by_epoch": Drop("lr_policy.by_epoch"), "convert_to_iter_based": Drop("lr_policy.by_epoch"),
    }  # fmt: skip
    draft.imply("lr_policy.by_epoch", main.by_epoch, "the scheduler moves between epochs" if main.by_epoch else
                "the scheduler moves at every step")  # fmt: skip
    stop = length if length is not None and main.end >= length else None
    done: tuple[str, ...] = ()
    match kind:
        case "MultiStepLR":
            done = _whole_run(draft, main, stop)
            draft.choose("lr_policy", "step", table.items["type"])
            milestones = [main.begin + int(stone) for stone in main.number("milestones", [])]
            draft.carry(table.items["milestones"], "lr_policy.step", milestones)
            unit |= {"gamma": To("gamma"), "begin": Drop("counted into the milestones")}
            done = (*done, "milestones")
        case "StepLR":
            done = _whole_run(draft, main, stop)
            draft.choose("lr_policy", "step", table.items["type"])
            unit |= {"step_size": To("step"), "gamma": To("gamma")}
        case "ExponentialLR":
            done = _whole_run(draft, main, stop)
            draft.choose("lr_policy", "exp", table.items["type"])
            unit |= {"gamma": To("gamma")}
        case "CosineAnnealingLR":
            unit |= _cosine(draft, main, warmup, length)
            done = ("begin",) if main.begin else ()
        case "CosineRestartLR":
            draft.choose("lr_policy", "cosine_restart", table.items["type"])
            draft.imply("lr_policy.restart_floor", "fixed", "mmengine's weights leave the floor where it is")
            unit |= {
                "periods": To("periods"), "eta_min": To("min_lr"), "eta_min_ratio": To("min_lr_ratio"),
                "restart_weights": To("restart_weights", lambda value: [float(weight) for weight in value]),
            }  # fmt: skip
        case "OneCycleLR":
            draft.choose("lr_policy", "one_cycle", table.items["type"])
            draft.values.pop("lr_policy.by_epoch", None)
            unit |= {
                "eta_max": To("max_lr", _one_peak), "pct_start": To("pct_start"), "div_factor": To("div_factor"),
                "anneal_strategy": To("anneal_strategy"), "final_div_factor": To("final_div_factor"),
                "three_phase": To("three_phase"), "total_steps": _cycle_steps,
            }  # fmt: skip
        case _:  # PolyLR, LinearLR over the whole run: mmengine ends them an epoch (a step) earlier
            option, note = ("poly" if kind == "PolyLR" else "linear"), "mmengine is at the end one epoch (step) earlier"
            draft.choose("lr_policy", option)
            draft.record(table.items["type"], "changed", f"lr_policy={option}", note)
            unit |= {
                "power": To("power"), "eta_min": To("min_lr"), "end_factor": To("min_lr_ratio", float),
                "start_factor": Same(1.0, "the line begins at the full rate"),
            }  # fmt: skip
    _follow_rest(draft, main, done, unit)


def _cycle_steps(draft: Draft, node: Node, prefix: str) -> None:
    draft.drop(node, "the length of the run")


def _whole_run(draft: Draft, main: _Scheduler, stop: int | None) -> tuple[str, ...]:
    """Refuse an end before that of the run; the arguments that are done with."""
    end = main.table.get("end")
    if end is None or stop is not None:
        return ()
    draft.refuse(end, "the policy here goes on to the end of the run")
    return ("end",)


def _cosine(draft: Draft, main: _Scheduler, warmup: _Scheduler | None, length: int | None) -> dict[str, Rule]:
    """CosineAnnealingLR by where it begins and how long its half wave is; its rules."""
    table, begin, kind = main.table, main.begin, main.table.items["type"]
    wave = int(main.number("T_max", main.end - begin))
    floor: dict[str, Rule] = {"eta_min": To("min_lr", float), "eta_min_ratio": To("min_lr_ratio", float)}
    in_epochs = bool(main.number("by_epoch", True))
    rules: dict[str, Rule] = {**floor, "T_max": Drop("the length of the run")}
    if warmup is not None and begin == 0 and any(main.number(key, 0) for key in ("eta_min", "eta_min_ratio")):
        draft.record(kind, "changed", "", (
            "mmengine's cosine with a floor takes part of the warm-up's factor for its own; here the two are "
            "multiplied, as in 0.x"
        ))  # fmt: skip
    if length is None:
        draft.record(kind, "changed", "", f"T_max={wave} is taken for the length of the run, which is not given")
        length = begin + wave
    if begin == 0 and wave > length and in_epochs == main.by_epoch:
        draft.choose("lr_policy", "cosine_restart", kind, "one period, longer than the run")
        draft.imply("lr_policy.restart_floor", "fixed", "one cosine to its floor")
        return {**floor, "T_max": To("periods", lambda steps: [int(steps)])}
    if begin == 0:
        draft.choose("lr_policy", "cosine", kind)
    else:
        draft.choose("lr_policy", "flat_cosine", kind, "the full rate up to the beginning of the cosine")
        draft.carry(table.items["begin"], "lr_policy.start_percent", begin / length)
    if wave != length - begin:
        note = f"the half wave of {wave} ends with the run here, after {length - begin}"
        rules["T_max"] = lambda draft, node, prefix: draft.record(node, "changed", "", note)
    return rules
