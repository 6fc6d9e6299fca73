"""The rest of a config: length, seeds, weights to start from, and keys that mean nothing here."""

from __future__ import annotations

from collections.abc import Mapping

from vexp.migration.draft import Draft, Drop, No, Rule, To, apply, as_lists, elsewhere, follow
from vexp.migration.hooks import ONE_PROCESS
from vexp.migration.nodes import Node, Table, plain
from vexp.migration.weights import weights_name


def _weights(draft: Draft, node: Node, prefix: str) -> None:
    named = plain(node)
    if not named:
        draft.same(node, "none")
    else:
        draft.carry(node, "init_from", weights_name(str(named)))


def _resume(draft: Draft, node: Node, prefix: str) -> None:
    named = plain(node)
    if not named:
        draft.same(node, "a new run")
    else:
        draft.refuse(node, "a checkpoint of mmaction2 cannot be gone on from; init_from=FILE starts from its weights")


def _workflow(draft: Draft, node: Node, prefix: str) -> None:
    steps = [list(step) for step in as_lists(plain(node))]
    if all(kind == "train" for kind, _ in steps):
        draft.same(node, "trains, and evaluates as eval says")
    else:
        draft.refuse(node, "validation within the workflow gives the loss of val: eval does so, with eval.interval")


# --- the runner ------------------------------------------------------------------------------------------------------


def _seed(draft: Draft, node: Node, prefix: str) -> None:
    if plain(node) is None:
        draft.change(node, "seed", 0, "mmaction2 draws one; a run without one here has seed 0, so that it repeats")
    else:
        draft.carry(node, "seed", plain(node))


_RANDOMNESS: dict[str, Rule] = {
    "seed": _seed, "deterministic": To("deterministic"), "diff_rank_seed": To("diff_rank_seed"),
}  # fmt: skip


def _tables(rules: Mapping[str, Rule]) -> Rule:
    """The rules of a dict's keys; a None in its place is dropped."""

    def rule(draft: Draft, node: Node, prefix: str) -> None:
        if isinstance(node, Table):
            follow(draft, node, rules)
        else:
            draft.drop(node, "nothing in it")

    return rule


def _runner(draft: Draft, node: Node, prefix: str) -> None:
    """``runner`` of 0.x, ``train_cfg`` of 1.x, whose names of the same things differ."""
    if not isinstance(node, Table):
        draft.drop(node, "nothing in it")
        return
    if node.word("type") in ("IterBasedRunner", "IterBasedTrainLoop"):
        draft.imply("eval.by_epoch", False, f"{node.word('type')} counts steps")
    follow(draft, node, {
        "type": Drop("epochs or max_steps says which"), "by_epoch": Drop("epochs or max_steps says which"),
        "max_epochs": To("epochs"), "max_iters": To("max_steps"),
        "val_interval": To("eval.interval"), "val_begin": _val_begin,
        "dynamic_intervals": No("one eval.interval for the run"),
    })  # fmt: skip


def _val_begin(draft: Draft, node: Node, prefix: str) -> None:
    begin = plain(node)
    every = draft.config_word("train_cfg", "val_interval") or 1
    first = -(-begin // every) * every  # mmengine evaluates at the multiples of the interval from there on
    if first <= every:
        draft.same(node, "from the first interval on")
    else:
        draft.carry(node, "eval.start", first)


#: Root keys of both generations that have a rule of their own; those with more to them are in vexp.migration.convert.
ROOT: dict[str, Rule] = {
    "total_epochs": To("epochs"), "max_epochs": elsewhere, "runner": _runner, "train_cfg": _runner,
    "val_cfg": Drop("eval"), "test_cfg": Drop("python -m vexp.evaluate"),
    "load_from": _weights, "resume_from": _resume, "resume": _resume, "auto_resume": No("resume=auto goes on"),
    "workflow": _workflow, "work_dir": lambda draft, node, prefix: _work_dir(draft, node),
    "dist_params": ONE_PROCESS, "launcher": ONE_PROCESS, "gpu_ids": ONE_PROCESS, "gpus": ONE_PROCESS,
    "find_unused_parameters": ONE_PROCESS, "model_wrapper_cfg": ONE_PROCESS,
    "log_level": Drop("everything is logged"), "opencv_num_threads": Drop("workers use one thread each"),
    "mp_start_method": Drop("data.mp_context, where fork does not do"),
    "default_scope": Drop("names are vexp's"), "log_processor": Drop("log.interval is also what is averaged over"),
    "seed": _seed, "deterministic": To("deterministic"), "cudnn_benchmark": To("cudnn_benchmark"),
    "randomness": _tables(_RANDOMNESS), "diff_seed": To("diff_rank_seed"),
    "env_cfg": _tables({
        "cudnn_benchmark": To("cudnn_benchmark"), "mp_cfg": Drop("data.mp_context, where fork does not do"),
        "dist_cfg": ONE_PROCESS, "resource_limit": Drop("open files are few"),
    }),
    "momentum_config": No("momentum stays as it is"),
    "precise_bn": No("not built; ema=average averages weights and statistics"),
    "module_hooks": No("there are no hooks here"), "custom_imports": No("bring your own code with plugins=[package]"),
    "omnisource": No("one data set a split"), "multigrid": No("not built"), "contrastive_cfg": No("not built"),
    "cfg_name": Drop("names nothing that is trained"), "device": To("device"),
}  # fmt: skip


def _work_dir(draft: Draft, node: Node) -> None:
    folder = str(plain(node)).rstrip("/")
    above, _, name = folder.rpartition("/")
    draft.carry(node, "run_name", name)
    draft.carry(node, "out_root", above or ".")


def convert_root(draft: Draft, done: tuple[str, ...]) -> None:
    """All root keys with a rule of their own, but for those that are done."""
    for key, node in draft.config.items.items():
        if key in ROOT and key not in done:
            apply(draft, ROOT[key], node)
