"""Convert ``lr_config`` of 0.x: the options of group lr_policy have the same names and formulas."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Map, Rule, as_lists
from vexp.tools.mmaction2.tables import apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode

_WARMUP = same("warmup warmup_iters warmup_ratio warmup_by_epoch")
_BASE: dict[str, Rule] = {"by_epoch": Map("by_epoch", implied=True), **_WARMUP}
_FLOOR = same("min_lr min_lr_ratio")
_CYCLE: dict[str, Rule] = {"by_epoch": Map("by_epoch", implied=False), **_WARMUP}


def one_peak(value: Any) -> Any:
    """Return ``max_lr``; a list of values is not supported."""
    if isinstance(value, list | tuple | dict):
        hint = "leave lr.max_lr null, the peak is then the group's own rate"
        raise ConfigError(f"a peak for each parameter group: {hint}")
    return value


def floats(values: Any) -> list[float]:
    """Convert the entries of a list to floats."""
    return [float(value) for value in values]


#: Policy of 0.x in lower case -> option of vexp, and the rules of its arguments.
POLICIES: dict[str, tuple[str, dict[str, Rule]]] = {
    "fixed": ("fixed", _BASE),
    "step": ("step", {**_BASE, "step": Map("step", as_lists), **same("gamma min_lr")}),
    "cosineannealing": ("cosine", {**_BASE, **_FLOOR}),
    "cosinerestart": ("cosine_restart", {
        **_BASE, **_FLOOR, "periods": Map("periods"), "restart_weights": Map("restart_weights", floats, implied=[1.0]),
    }),
    "exp": ("exp", {**_BASE, **same("gamma")}),
    "poly": ("poly", {**_BASE, **same("power min_lr")}),
    "inv": ("inv", {**_BASE, **same("gamma power")}),
    "linearannealing": ("linear", {**_BASE, **_FLOOR}),
    "flatcosineannealing": ("flat_cosine", {**_BASE, **_FLOOR, **same("start_percent")}),
    "cyclic": ("cyclic", {
        **_CYCLE, "target_ratio": Map("target_ratio", as_lists),
        **same("cyclic_times step_ratio_up anneal_strategy gamma"),
    }),
    "onecycle": ("one_cycle", {
        **_CYCLE, "max_lr": Map("max_lr", one_peak),
        **same("total_steps pct_start anneal_strategy div_factor final_div_factor three_phase"),
    }),
}  # fmt: skip
#: Policies that mmcv finds by a name in lower case; it takes any other for the name of a class.
_LOWER_CASE = {"fixed", "step", "exp", "poly", "inv", "cyclic"}


def convert_lr_config(result: ConversionResult, node: Node | None) -> None:
    """Convert ``lr_config`` of 0.x."""
    name = node.text("policy") if node is not None else ""
    if node is None or (isinstance(node, ScalarNode) and not node.unread):
        result.choose("lr_policy", "fixed")
        if node is not None:
            result.mark_unneeded(node, "a constant rate: lr_policy=fixed")
        return
    if not isinstance(node, MappingNode) or name.lower() not in POLICIES:
        if name:
            result.need_other("lr_policy", node, f"vexp has no policy {name}; choose one")
        else:
            result.need("lr_policy", node, "the policy is missing or cannot be read; choose one")
        return
    option, rules = POLICIES[name.lower()]
    policy = node.items["policy"]
    if name == name.lower() and name not in _LOWER_CASE:
        what = f"mmcv would not find policy={name!r}, which it takes for {name.title()}; read as {option}"
        result.add_pitfall(policy, what)
    result.choose("lr_policy", option, policy)
    apply_rules(result, node, rules, "lr_policy.", owner=f"{name}'s ")
    for key, argument in node.items.items():
        if key not in rules and any(key in others for _, others in POLICIES.values()):
            what = f"{key} is another policy's, left by a base: mmcv raises TypeError"
            result.add_pitfall(argument, what)
            result.mark_unneeded(argument, f"{name} has no {key}")
    if option == "cosine_restart":
        result.set_implied("lr_policy.restart_floor", "fixed", "mmcv's weights leave the floor where it is")
