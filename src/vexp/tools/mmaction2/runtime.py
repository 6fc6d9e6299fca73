"""The rest of a config: length, seeds, weights to start from, and keys that mean nothing here."""

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
    elsewhere,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, plain
from vexp.tools.mmaction2.weights import weights_name


def _weights(draft: ConversionResult, node: Node, prefix: str) -> None:
    named = plain(node)
    if not named:
        draft.same(node, "none")
    else:
        draft.carry(node, "init_from", weights_name(str(named)))


def _resume(draft: ConversionResult, node: Node, prefix: str) -> None:
    named = plain(node)
    if not named:
        draft.same(node, "a new run")
    else:
        draft.refuse(node, "a checkpoint of mmaction2 cannot be gone on from; init_from=FILE starts from its weights")


def _workflow(draft: ConversionResult, node: Node, prefix: str) -> None:
    steps = [list(step) for step in as_lists(plain(node))]
    if all(kind == "train" for kind, _ in steps):
        draft.same(node, "trains, and evaluates as eval says")
    else:
        draft.refuse(node, "validation within the workflow gives the loss of val: eval does so, with eval.interval")


# --- the runner ------------------------------------------------------------------------------------------------------


def _seed(draft: ConversionResult, node: Node, prefix: str) -> None:
    if plain(node) is None:
        draft.change(node, "seed", 0, "mmaction2 draws one; a run without one here has seed 0, so that it repeats")
    else:
        draft.carry(node, "seed", plain(node))


_RANDOMNESS: dict[str, Rule] = {
    "seed": _seed, "deterministic": Map("deterministic"), "diff_rank_seed": Map("diff_rank_seed"),
}  # fmt: skip


def _tables(rules: Mapping[str, Rule]) -> Rule:
    """The rules of a dict's keys; a None in its place is dropped."""

    def rule(draft: ConversionResult, node: Node, prefix: str) -> None:
        if isinstance(node, MappingNode):
            apply_rules(draft, node, rules)
        else:
            draft.drop(node, "nothing in it")

    return rule


def _runner(draft: ConversionResult, node: Node, prefix: str) -> None:
    """``runner`` of 0.x, ``train_cfg`` of 1.x, whose names of the same things differ."""
    if not isinstance(node, MappingNode):
        draft.drop(node, "nothing in it")
        return
    if node.word("type") in ("IterBasedRunner", "IterBasedTrainLoop"):
        draft.imply("eval.by_epoch", False, f"{node.word('type')} counts steps")
    apply_rules(draft, node, {
        "type": Ignore("epochs or max_steps says which"), "by_epoch": Ignore("epochs or max_steps says which"),
        "max_epochs": Map("epochs"), "max_iters": Map("max_steps"),
        "val_interval": Map("eval.interval"), "val_begin": _val_begin,
        "dynamic_intervals": Unsupported("one eval.interval for the run"),
    })  # fmt: skip


def _val_begin(draft: ConversionResult, node: Node, prefix: str) -> None:
    begin = plain(node)
    every = draft.config_word("train_cfg", "val_interval") or 1
    first = -(-begin // every) * every  # mmengine evaluates at the multiples of the interval from there on
    if first <= every:
        draft.same(node, "from the first interval on")
    else:
        draft.carry(node, "eval.start", first)


#: Root keys of both generations that have a rule of their own; those with more to them are in vexp.tools.mmaction2.convert.
ROOT: dict[str, Rule] = {
    "total_epochs": Map("epochs"), "max_epochs": elsewhere, "runner": _runner, "train_cfg": _runner,
    "val_cfg": Ignore("eval"), "test_cfg": Ignore("python -m vexp.cli.evaluate"),
    "load_from": _weights, "resume_from": _resume, "resume": _resume, "auto_resume": Unsupported("resume=auto goes on"),
    "workflow": _workflow, "work_dir": lambda draft, node, prefix: _work_dir(draft, node),
    "dist_params": ONE_PROCESS, "launcher": ONE_PROCESS, "gpu_ids": ONE_PROCESS, "gpus": ONE_PROCESS,
    "find_unused_parameters": ONE_PROCESS, "model_wrapper_cfg": ONE_PROCESS,
    "log_level": Ignore("everything is logged"), "opencv_num_threads": Ignore("workers use one thread each"),
    "mp_start_method": Ignore("data.mp_context, where fork does not do"),
    "default_scope": Ignore("names are vexp's"), "log_processor": Ignore("log.interval is also what is averaged over"),
    "seed": _seed, "deterministic": Map("deterministic"), "cudnn_benchmark": Map("cudnn_benchmark"),
    "randomness": _tables(_RANDOMNESS), "diff_seed": Map("diff_rank_seed"),
    "env_cfg": _tables({
        "cudnn_benchmark": Map("cudnn_benchmark"), "mp_cfg": Ignore("data.mp_context, where fork does not do"),
        "dist_cfg": ONE_PROCESS, "resource_limit": Ignore("open files are few"),
    }),
    "momentum_config": Unsupported("momentum stays as it is"),
    "precise_bn": Unsupported("not built; ema=average averages weights and statistics"),
    "module_hooks": Unsupported("there are no hooks here"), "custom_imports": Unsupported("bring your own code with plugins=[package]"),
    "omnisource": Unsupported("one data set a split"), "multigrid": Unsupported("not built"), "contrastive_cfg": Unsupported("not built"),
    "cfg_name": Ignore("names nothing that is trained"), "device": Map("device"),
}  # fmt: skip


def _work_dir(draft: ConversionResult, node: Node) -> None:
    folder = str(plain(node)).rstrip("/")
    above, _, name = folder.rpartition("/")
    draft.carry(node, "run_name", name)
    draft.carry(node, "out_root", above or ".")


def convert_root(draft: ConversionResult, done: tuple[str, ...]) -> None:
    """All root keys with a rule of their own, but for those that are done."""
    for key, node in draft.config.items.items():
        if key in ROOT and key not in done:
            apply(draft, ROOT[key], node)
