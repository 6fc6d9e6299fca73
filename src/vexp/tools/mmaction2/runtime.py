"""The remaining keys of a config: length, seeds, initial weights, and keys that vexp does not need."""

from __future__ import annotations

from collections.abc import Mapping

from vexp.tools.mmaction2.hooks import ONE_PROCESS
from vexp.tools.mmaction2.rules import (
    ConversionResult,
    Ignore,
    Map,
    Rule,
    Unsupported,
    apply,
    apply_rules,
    as_lists,
    handled_elsewhere,
    number,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python
from vexp.tools.mmaction2.weights import weights_name


def _weights(result: ConversionResult, node: Node, prefix: str) -> None:
    named = to_python(node)
    if not named:
        result.mark_default(node, "none")
    else:
        result.set(node, "init_from", weights_name(str(named)))


def _resume(result: ConversionResult, node: Node, prefix: str) -> None:
    named = to_python(node)
    if not named:
        result.mark_default(node, "a new run")
    else:
        result.mark_unsupported(
            node, "resuming from a checkpoint of mmaction2 is not supported; init_from=FILE loads its weights"
        )


def _workflow(result: ConversionResult, node: Node, prefix: str) -> None:
    steps = as_lists(to_python(node))
    if isinstance(steps, list) and all(isinstance(step, list) and step[:1] == ["train"] for step in steps):
        result.mark_default(node, "trains, and evaluates as eval says")
    else:
        result.mark_unsupported(
            node, "validation within the workflow gives the loss of val: eval does so, with eval.interval"
        )


# --- the runner ------------------------------------------------------------------------------------------------------


def _seed(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node) is None:
        result.set_changed(
            node, "seed", 0, "mmaction2 draws one; a run without one here has seed 0, so that it repeats"
        )
    else:
        result.set(node, "seed", to_python(node))


_RANDOMNESS: dict[str, Rule] = {
    "seed": _seed, "deterministic": Map("deterministic"), "diff_rank_seed": Map("diff_rank_seed"),
}  # fmt: skip


def _tables(rules: Mapping[str, Rule]) -> Rule:
    """The rules of a dict's keys; a None in its place is dropped."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if isinstance(node, MappingNode):
            apply_rules(result, node, rules)
        else:
            result.mark_unneeded(node, "it is empty")

    return rule


def _runner(result: ConversionResult, node: Node, prefix: str) -> None:
    """``runner`` of 0.x, ``train_cfg`` of 1.x, whose names of the same things differ."""
    if not isinstance(node, MappingNode):
        result.mark_unneeded(node, "it is empty")
        return
    if node.text("type") in ("IterBasedRunner", "IterBasedTrainLoop"):
        result.set_implied("eval.by_epoch", False, f"{node.text('type')} counts steps")
    apply_rules(result, node, {
        "type": Ignore("epochs or max_steps says which"), "by_epoch": Ignore("epochs or max_steps says which"),
        "max_epochs": Map("epochs"), "max_iters": Map("max_steps"),
        "val_interval": Map("eval.interval"), "val_begin": _val_begin,
        "dynamic_intervals": Unsupported("one eval.interval for the run"),
    })  # fmt: skip


def _val_begin(result: ConversionResult, node: Node, prefix: str) -> None:
    begin = number(node)
    every = result.config_value("train_cfg", "val_interval") or 1
    first = -(-begin // every) * every  # mmengine evaluates at the multiples of the interval from there on
    if first <= every:
        result.mark_default(node, "from the first interval on")
    else:
        result.set(node, "eval.start", first)


#: Root keys of both generations that have a rule of their own; those with more to them are in vexp.tools.mmaction2.convert.
ROOT: dict[str, Rule] = {
    "total_epochs": Map("epochs"), "max_epochs": handled_elsewhere, "runner": _runner, "train_cfg": _runner,
    "val_cfg": Ignore("eval"), "test_cfg": Ignore("vexp evaluate"),
    "load_from": _weights, "resume_from": _resume, "resume": _resume, "auto_resume": Unsupported("use resume=auto"),
    "workflow": _workflow, "work_dir": lambda result, node, prefix: _work_dir(result, node),
    "dist_params": ONE_PROCESS, "launcher": ONE_PROCESS, "gpu_ids": ONE_PROCESS, "gpus": ONE_PROCESS,
    "find_unused_parameters": ONE_PROCESS, "model_wrapper_cfg": ONE_PROCESS,
    "log_level": Ignore("everything is logged"), "opencv_num_threads": Ignore("workers use one thread each"),
    "mp_start_method": Ignore("data.mp_context, where fork does not do"),
    "default_scope": Ignore("not used by vexp"), "log_processor": Ignore("log.interval is also what is averaged over"),
    "seed": _seed, "deterministic": Map("deterministic"), "cudnn_benchmark": Map("cudnn_benchmark"),
    "randomness": _tables(_RANDOMNESS), "diff_seed": Map("diff_rank_seed"),
    "env_cfg": _tables({
        "cudnn_benchmark": Map("cudnn_benchmark"), "mp_cfg": Ignore("data.mp_context, where fork does not do"),
        "dist_cfg": ONE_PROCESS, "resource_limit": Ignore("open files are few"),
    }),
    "momentum_config": Unsupported("momentum is constant"),
    "precise_bn": Unsupported("not built; ema=average averages weights and statistics"),
    "module_hooks": Unsupported("there are no hooks here"), "custom_imports": Unsupported("bring your own code with plugins=[package]"),
    "omnisource": Unsupported("one dataset a split"), "multigrid": Unsupported("not built"), "contrastive_cfg": Unsupported("not built"),
    "cfg_name": Ignore("names nothing that is trained"), "device": Map("device"),
}  # fmt: skip


def _work_dir(result: ConversionResult, node: Node) -> None:
    folder = str(to_python(node)).rstrip("/")
    above, _, name = folder.rpartition("/")
    result.set(node, "run_name", name)
    result.set(node, "out_root", above or ".")


def convert_root(result: ConversionResult, done: tuple[str, ...]) -> None:
    """All root keys with a rule of their own, but for those that are done."""
    for key, node in result.config.items.items():
        if key in ROOT and key not in done:
            apply(result, ROOT[key], node)
