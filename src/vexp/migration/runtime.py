"""The rest of a config: length, evaluation, checkpoints, logging, seeds, weights to start from."""

from __future__ import annotations

from collections.abc import Mapping

from vexp.migration.backbones import weights_name
from vexp.migration.draft import Draft, Drop, No, Rule, Same, To, apply, as_lists, follow
from vexp.migration.nodes import Items, Node, Table, plain

_SEVERAL = Drop("one process a run")


def _nothing(draft: Draft, node: Node, prefix: str) -> None:
    """Read elsewhere."""


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
    if steps == [["train", 1]]:
        draft.same(node, "trains, and evaluates as eval says")
    else:
        draft.refuse(node, "validation within the workflow gives the loss of val: eval does so, with eval.interval")


# --- evaluation ------------------------------------------------------------------------------------------------------

_METRICS_0 = (
    "top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision",
)  # fmt: skip


def _metrics(draft: Draft, node: Node, prefix: str) -> None:
    names = plain(node)
    names = [names] if isinstance(names, str) else list(names)
    strange = [name for name in names if name not in _METRICS_0]
    if strange:
        raise ValueError(f"{', '.join(strange)}: there are {', '.join(_METRICS_0)} here; set eval.metrics")
    draft.carry(node, "eval.metrics", names)


def _topk(draft: Draft, node: Node, prefix: str) -> None:
    draft.carry(node, "eval.topk", as_lists(plain(node)))


def _metric_options(draft: Draft, node: Node, prefix: str) -> None:
    for metric, options in node.items.items() if isinstance(node, Table) else ():
        if metric == "top_k_accuracy" and isinstance(options, Table):
            follow(draft, options, {"topk": _topk})
        else:
            draft.refuse(options, "has no options here")


#: 1.x's names of results -> here.
_RESULTS = {"acc/top1": "top1_acc", "acc/top5": "top5_acc", "acc/mean1": "mean_class_accuracy"}


def _save_best(draft: Draft, node: Node, prefix: str) -> None:
    name = plain(node)
    if isinstance(name, list | tuple):
        raise ValueError("one metric decides here; set eval.save_best")
    draft.carry(node, "eval.save_best", _RESULTS.get(name, name))


_EVALUATION: dict[str, Rule] = {
    "interval": To("eval.interval"), "start": To("eval.start"), "by_epoch": To("eval.by_epoch"),
    "save_best": _save_best, "rule": To("eval.rule"), "metrics": _metrics, "metric_options": _metric_options,
    "topk": _topk, "gpu_collect": _SEVERAL, "tmpdir": _SEVERAL, "broadcast_bn_buffer": _SEVERAL,
    "dynamic_intervals": No("one eval.interval for the whole run"),
    "key_indicator": _save_best,
}  # fmt: skip


def convert_evaluation(draft: Draft, node: Node | None) -> None:
    """``evaluation`` of 0.x."""
    if isinstance(node, Table):
        follow(draft, node, _EVALUATION)


def convert_evaluator(draft: Draft, node: Node | None) -> None:
    """``val_evaluator``, ``test_evaluator`` of 1.x."""
    for entry in node.items if isinstance(node, Items) else [node]:
        if not isinstance(entry, Table):
            continue
        if entry.word("type") not in ("AccMetric", "AccMetric1"):
            draft.refuse(entry, "there are the metrics of eval.metrics here")
            continue
        follow(draft, entry, {
            "type": Drop("eval.metrics"), "metric_list": _metrics, "metric_options": _metric_options,
            "collect_device": _SEVERAL, "prefix": Drop("results are called val/... and test/..."),
        })  # fmt: skip


# --- checkpoints, logging --------------------------------------------------------------------------------------------

_CHECKPOINT: dict[str, Rule] = {
    "type": Drop("group checkpoint"),
    "interval": To("checkpoint.interval", implied=-1), "by_epoch": To("checkpoint.by_epoch"),
    "save_optimizer": To("checkpoint.save_optimizer"), "out_dir": To("checkpoint.out_dir"),
    "max_keep_ckpts": To("checkpoint.max_keep_ckpts"), "save_last": To("checkpoint.save_last"),
    "save_best": _save_best, "rule": To("eval.rule"),
    "create_symlink": Drop("checkpoints/last.pth is the newest"), "published_keys": No("see python -m vexp.convert"),
    "filename_tmpl": No("names are epoch_N.pth and step_N.pth"), "sync_buffer": _SEVERAL,
    "save_param_scheduler": Drop("a rate is a function of the step, nothing is saved"),
    "greater_keys": No("eval.rule says which is better"), "less_keys": No("eval.rule says which is better"),
}  # fmt: skip


def convert_checkpoint(draft: Draft, node: Node | None) -> None:
    """``checkpoint_config`` of 0.x, ``default_hooks.checkpoint`` of 1.x."""
    draft.choose("checkpoint", "all")
    if isinstance(node, Table):
        follow(draft, node, _CHECKPOINT, owner="CheckpointHook's ")
    elif node is not None:
        draft.imply("checkpoint.interval", -1, "no periodic checkpoints")
        draft.drop(node, "no periodic checkpoints")


_LOGGER: dict[str, Rule] = {
    "interval": To("interval"), "ignore_last": To("ignore_last"), "reset_flag": To("reset_flag"),
    "by_epoch": To("by_epoch", implied=True),
}  # fmt: skip
_SINKS = {
    "TensorboardLoggerHook": "tensorboard", "TensorboardVisBackend": "tensorboard", "WandbLoggerHook": "wandb",
    "WandbVisBackend": "wandb",
}  # fmt: skip
_ALWAYS = ("TextLoggerHook", "LocalVisBackend", "ActionVisualizer", "Visualizer")


def convert_log(draft: Draft, node: Node | None) -> None:
    """``log_config`` of 0.x."""
    draft.choose("log", "text")
    if not isinstance(node, Table):
        draft.imply("log.by_epoch", True, "mmcv's default")
        return
    follow(draft, node, _LOGGER, "log.", owner="LoggerHook's ")
    hooks = node.get("hooks")
    for hook in hooks.items if isinstance(hooks, Items) else ():
        _sink(draft, hook)


def _sink(draft: Draft, hook: Node) -> None:
    """One logger, by its class."""
    kind = hook.word("type") if isinstance(hook, Table) else ""
    if not isinstance(hook, Table):
        draft.refuse(hook, "is no dict; see group log")
    elif kind in _ALWAYS:
        draft.drop(hook, "log.txt and metrics.jsonl are always written")
    elif _SINKS.get(kind) == "tensorboard":
        draft.carry(hook.items["type"], "log.tensorboard", True)
        for key, node in hook.items.items():
            if key != "type":
                draft.drop(node, "event files lie in the run folder")
    elif _SINKS.get(kind) == "wandb":
        draft.carry(hook.items["type"], "log.wandb.mode", "auto")
        rules: dict[str, Rule] = {"type": _nothing, "interval": Same(10, "one log.interval for all loggers")}
        follow(draft, hook, {**rules, "init_kwargs": _wandb, "save_dir": Drop("the run folder")})
    else:
        draft.refuse(hook, "there are text, jsonl, tensorboard, csv and wandb here; see group log")


def _wandb(draft: Draft, node: Node, prefix: str) -> None:
    if isinstance(node, Table):
        follow(draft, node, {
            "project": To("project"), "entity": To("entity"), "group": To("group"), "tags": To("tags"),
            "name": _run_name,
        }, "log.wandb.")  # fmt: skip


def _run_name(draft: Draft, node: Node, prefix: str) -> None:
    draft.carry(node, "run_name", plain(node))


def convert_visualizer(draft: Draft, node: Node | None) -> None:
    """``visualizer`` and its backends (1.x)."""
    if isinstance(node, Table):
        follow(draft, node, {"type": Drop("group log"), "name": Drop("group log"), "save_dir": Drop("the run folder")})
        backends = node.get("vis_backends")
        for backend in backends.items if isinstance(backends, Items) else ():
            _sink(draft, backend)


def convert_hooks(draft: Draft, node: Node | None) -> None:
    """``default_hooks`` of 1.x."""
    table = node if isinstance(node, Table) else Table({}, draft.config.where)
    convert_checkpoint(draft, table.get("checkpoint"))
    draft.choose("log", "text")
    logger = table.get("logger")
    if isinstance(logger, Table):
        rules: dict[str, Rule] = {
            **_LOGGER, "type": Drop("group log"),
            "log_metric_by_epoch": Drop("every number has its step and epoch"), "out_dir": Drop("the run folder"),
        }  # fmt: skip
        follow(draft, logger, rules, "log.", owner="LoggerHook's ")
    else:
        draft.imply("log.by_epoch", True, "mmengine's default")
    why = {
        "runtime_info": "in every log line", "timer": "in every log line", "param_scheduler": "lr_policy",
        "sampler_seed": "order and augmentation are functions of seed, epoch and sample",
        "sync_buffers": "one process a run", "visualization": "python -m vexp.evaluate writes predictions.csv",
    }  # fmt: skip
    for key, hook in table.items.items():
        if key in why:
            draft.drop(hook, why[key])


def convert_custom_hooks(draft: Draft, node: Node | None) -> None:
    for hook in node.items if isinstance(node, Items) else ():
        kind = hook.word("type") if isinstance(hook, Table) else ""
        if kind == "EMAHook" and isinstance(hook, Table):
            draft.choose("ema", "average", hook.items["type"])
            follow(draft, hook, {
                "type": _nothing, "momentum": To("decay", lambda momentum: 1 - momentum, implied=0.0002),
                "priority": Drop("averaged after each step"),
            }, "ema.", owner="EMAHook's ")  # fmt: skip
            if "momentum" not in hook.items:
                draft.values.pop("ema.decay", None)
                draft.imply("ema.decay", 0.9998, "EMAHook's momentum 0.0002")
        else:
            draft.refuse(hook, "there are no hooks here; the loop is vexp/engine/loop.py")


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
        "val_interval": To("eval.interval"), "val_begin": _val_begin, "dynamic_intervals": No("one eval.interval for the run"),
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
    "total_epochs": To("epochs"), "max_epochs": _nothing, "runner": _runner, "train_cfg": _runner,
    "val_cfg": Drop("eval"), "test_cfg": Drop("python -m vexp.evaluate"),
    "load_from": _weights, "resume_from": _resume, "resume": _resume, "auto_resume": No("resume=auto goes on"),
    "workflow": _workflow, "work_dir": lambda draft, node, prefix: _work_dir(draft, node),
    "dist_params": _SEVERAL, "launcher": _SEVERAL, "gpu_ids": _SEVERAL, "gpus": _SEVERAL,
    "find_unused_parameters": _SEVERAL, "model_wrapper_cfg": _SEVERAL,
    "log_level": Drop("everything is logged"), "opencv_num_threads": Drop("workers use one thread each"),
    "mp_start_method": Drop("data.mp_context, where fork does not do"),
    "default_scope": Drop("names are vexp's"), "log_processor": Drop("log.interval is also what is averaged over"),
    "seed": _seed, "deterministic": To("deterministic"), "cudnn_benchmark": To("cudnn_benchmark"),
    "randomness": _tables(_RANDOMNESS), "diff_seed": To("diff_rank_seed"),
    "env_cfg": _tables({
        "cudnn_benchmark": To("cudnn_benchmark"), "mp_cfg": Drop("data.mp_context, where fork does not do"),
        "dist_cfg": _SEVERAL, "resource_limit": Drop("open files are few"),
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

