"""The learning rate of 0.x: ``lr_config`` as ``lr_policy=``. The policies are here by the same names and formulas."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.rules import ConversionResult, Map, Rule, apply_rules, as_lists
from vexp.tools.mmaction2.tree import MappingNode, Node

_WARMUP: dict[str, Rule] = {
    "warmup": Map("warmup"), "warmup_iters": Map("warmup_iters"), "warmup_ratio": Map("warmup_ratio"),
    "warmup_by_epoch": Map("warmup_by_epoch"),
}  # fmt: skip
_BASE: dict[str, Rule] = {"by_epoch": Map("by_epoch", implied=True), **_WARMUP}
_FLOOR: dict[str, Rule] = {"min_lr": Map("min_lr"), "min_lr_ratio": Map("min_lr_ratio")}
_CYCLE: dict[str, Rule] = {"by_epoch": Map("by_epoch", implied=False), **_WARMUP}


def one_peak(value: Any) -> Any:
    """Return ``max_lr``; a list of values is not supported."""
    if isinstance(value, list | tuple | dict):
        raise ConfigError(
            "a peak for each parameter group: leave lr.max_lr null, the peak is then the group's own rate"
        )
    return value


#: Policy of 0.x, in small letters -> option here and its arguments.
POLICIES: dict[str, tuple[str, dict[str, Rule]]] = {
    "fixed": ("fixed", _BASE),
    "step": ("step", {**_BASE, "step": Map("step", as_lists), "gamma": Map("gamma"), "min_lr": Map("min_lr")}),
    "cosineannealing": ("cosine", {**_BASE, **_FLOOR}),
    "cosinerestart": ("cosine_restart", {
        **_BASE, **_FLOOR, "periods": Map("periods"),
        "restart_weights": Map("restart_weights", lambda value: [float(weight) for weight in value], implied=[1.0]),
    }),
    "exp": ("exp", {**_BASE, "gamma": Map("gamma")}),
    "poly": ("poly", {**_BASE, "power": Map("power"), "min_lr": Map("min_lr")}),
    "inv": ("inv", {**_BASE, "gamma": Map("gamma"), "power": Map("power")}),
    "linearannealing": ("linear", {**_BASE, **_FLOOR}),
    "flatcosineannealing": ("flat_cosine", {**_BASE, **_FLOOR, "start_percent": Map("start_percent")}),
    "cyclic": ("cyclic", {
        **_CYCLE, "target_ratio": Map("target_ratio", as_lists), "cyclic_times": Map("cyclic_times"),
        "step_ratio_up": Map("step_ratio_up"), "anneal_strategy": Map("anneal_strategy"), "gamma": Map("gamma"),
    }),
    "onecycle": ("one_cycle", {
        **_CYCLE, "max_lr": Map("max_lr", one_peak), "total_steps": Map("total_steps"), "pct_start": Map("pct_start"),
        "anneal_strategy": Map("anneal_strategy"), "div_factor": Map("div_factor"),
        "final_div_factor": Map("final_div_factor"), "three_phase": Map("three_phase"),
    }),
}  # fmt: skip

_ARGUMENTS = {key for _, rules in POLICIES.values() for key in rules}


def convert_lr_config(result: ConversionResult, node: Node | None) -> None:
    """``lr_config`` of 0.x."""
    if not isinstance(node, MappingNode):
        result.choose("lr_policy", "fixed")
        if node is not None:
            result.mark_unneeded(node, "a constant rate: lr_policy=fixed")
        return
    policy, name = node.items.get("policy"), node.text("policy")
    known = POLICIES.get(name.lower())
    if known is None or policy is None:
        result.choose("lr_policy", "fixed")
        result.mark_unsupported(
            node, f"policy {name or 'without a name'} is not supported, so the rate is constant; choose lr="
        )
        return
    if name == name.lower() and name not in ("fixed", "step", "exp", "poly", "inv", "cyclic"):
        result.add_pitfall(
            policy, f"mmcv would not find policy={name!r}, which it takes for {name.title()}; read as {known[0]}"
        )
    result.choose("lr_policy", known[0], policy)
    apply_rules(result, node, known[1], "lr_policy.", owner=f"{name}'s ")
    for key in set(node.items) & _ARGUMENTS - set(known[1]):
        result.add_pitfall(
            node.items[key], f"{key} is another policy's, left by a base: mmcv stops with an error over it"
        )
        result.mark_unneeded(node.items[key], f"{name} has no {key}")
    if known[0] == "cosine_restart":
        result.set_implied("lr_policy.restart_floor", "fixed", "mmcv's weights leave the floor where it is")
