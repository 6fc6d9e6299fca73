"""What happens beside the steps: evaluation, checkpoints, loggers and other hooks of both generations."""

from __future__ import annotations

from vexp.tools.mmaction2.rules import (
    ConversionResult,
    Ignore,
    Map,
    Require,
    Rule,
    Unsupported,
    apply_rules,
    as_lists,
    elsewhere,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, plain

ONE_PROCESS = Ignore("one process a run")


# --- evaluation ------------------------------------------------------------------------------------------------------

_METRICS_0 = (
    "top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision",
)  # fmt: skip


def _metrics(draft: ConversionResult, node: Node, prefix: str) -> None:
    names = plain(node)
    names = [names] if isinstance(names, str) else list(names)
    strange = [name for name in names if name not in _METRICS_0]
    if strange:
        raise ValueError(f"{', '.join(strange)}: there are {', '.join(_METRICS_0)} here; set eval.metrics")
    draft.carry(node, "eval.metrics", names)


def _topk(draft: ConversionResult, node: Node, prefix: str) -> None:
    draft.carry(node, "eval.topk", as_lists(plain(node)))


def _metric_options(draft: ConversionResult, node: Node, prefix: str) -> None:
    for metric, options in node.items.items() if isinstance(node, MappingNode) else ():
        if metric == "top_k_accuracy" and isinstance(options, MappingNode):
            apply_rules(draft, options, {"topk": _topk})
        else:
            draft.refuse(options, "has no options here")


#: 1.x's names of results -> here.
_RESULTS = {"acc/top1": "top1_acc", "acc/top5": "top5_acc", "acc/mean1": "mean_class_accuracy"}


def _save_best(draft: ConversionResult, node: Node, prefix: str) -> None:
    name = plain(node)
    if isinstance(name, list | tuple):
        raise ValueError("one metric decides here; set eval.save_best")
    draft.carry(node, "eval.save_best", _RESULTS.get(name, name))


_EVALUATION: dict[str, Rule] = {
    "interval": Map("eval.interval"), "start": Map("eval.start"), "by_epoch": Map("eval.by_epoch"),
    "save_best": _save_best, "rule": Map("eval.rule"), "metrics": _metrics, "metric_options": _metric_options,
    "topk": _topk, "gpu_collect": ONE_PROCESS, "tmpdir": ONE_PROCESS, "broadcast_bn_buffer": ONE_PROCESS,
    "dynamic_intervals": Unsupported("one eval.interval for the whole run"),
    "key_indicator": _save_best,
}  # fmt: skip


def convert_evaluation(draft: ConversionResult, node: Node | None) -> None:
    """``evaluation`` of 0.x."""
    if isinstance(node, MappingNode):
        apply_rules(draft, node, _EVALUATION)


def convert_evaluator(draft: ConversionResult, node: Node | None) -> None:
    """``val_evaluator``, ``test_evaluator`` of 1.x."""
    for entry in node.items if isinstance(node, SequenceNode) else [node]:
        if not isinstance(entry, MappingNode):
            continue
        if entry.word("type") not in ("AccMetric", "AccMetric1"):
            draft.refuse(entry, "there are the metrics of eval.metrics here")
            continue
        apply_rules(draft, entry, {
            "type": Ignore("eval.metrics"), "metric_list": _metrics, "metric_options": _metric_options,
            "collect_device": ONE_PROCESS, "prefix": Ignore("results are called val/... and test/..."),
        })  # fmt: skip


# --- checkpoints, logging --------------------------------------------------------------------------------------------

_CHECKPOINT: dict[str, Rule] = {
    "type": Ignore("group checkpoint"),
    "interval": Map("checkpoint.interval", implied=-1), "by_epoch": Map("checkpoint.by_epoch"),
    "save_optimizer": Map("checkpoint.save_optimizer"), "out_dir": Map("checkpoint.out_dir"),
    "max_keep_ckpts": Map("checkpoint.max_keep_ckpts"), "save_last": Map("checkpoint.save_last"),
    "save_best": _save_best, "rule": Map("eval.rule"),
    "create_symlink": Ignore("checkpoints/last.pth is the newest"), "published_keys": Unsupported("see python -m vexp.cli.convert"),
    "filename_tmpl": Unsupported("names are epoch_N.pth and step_N.pth"), "sync_buffer": ONE_PROCESS,
    "save_param_scheduler": Ignore("a rate is a function of the step, nothing is saved"),
    "greater_keys": Unsupported("eval.rule says which is better"), "less_keys": Unsupported("eval.rule says which is better"),
}  # fmt: skip


def convert_checkpoint(draft: ConversionResult, node: Node | None) -> None:
    """``checkpoint_config`` of 0.x, ``default_hooks.checkpoint`` of 1.x."""
    draft.choose("checkpoint", "all")
    if isinstance(node, MappingNode):
        apply_rules(draft, node, _CHECKPOINT, owner="CheckpointHook's ")
    elif node is not None:
        draft.imply("checkpoint.interval", -1, "no periodic checkpoints")
        draft.drop(node, "no periodic checkpoints")


_LOGGER: dict[str, Rule] = {
    "interval": Map("interval"), "ignore_last": Map("ignore_last"), "reset_flag": Map("reset_flag"),
    "by_epoch": Map("by_epoch", implied=True),
}  # fmt: skip
_SINKS = {
    "TensorboardLoggerHook": "tensorboard", "TensorboardVisBackend": "tensorboard", "WandbLoggerHook": "wandb",
    "WandbVisBackend": "wandb",
}  # fmt: skip
_ALWAYS = ("TextLoggerHook", "LocalVisBackend", "ActionVisualizer", "Visualizer")


def convert_log(draft: ConversionResult, node: Node | None) -> None:
    """``log_config`` of 0.x."""
    draft.choose("log", "text")
    if not isinstance(node, MappingNode):
        draft.imply("log.by_epoch", True, "mmcv's default")
        return
    apply_rules(draft, node, _LOGGER, "log.", owner="LoggerHook's ")
    hooks = node.get("hooks")
    for hook in hooks.items if isinstance(hooks, SequenceNode) else ():
        _sink(draft, hook)


def _sink(draft: ConversionResult, hook: Node) -> None:
    """One logger, by its class."""
    kind = hook.word("type") if isinstance(hook, MappingNode) else ""
    if not isinstance(hook, MappingNode):
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
        rules: dict[str, Rule] = {"type": elsewhere, "interval": Require(10, "one log.interval for all loggers")}
        apply_rules(draft, hook, {**rules, "init_kwargs": _wandb, "save_dir": Ignore("the run folder")})
    else:
        draft.refuse(hook, "there are text, jsonl, tensorboard, csv and wandb here; see group log")


def _wandb(draft: ConversionResult, node: Node, prefix: str) -> None:
    if isinstance(node, MappingNode):
        apply_rules(draft, node, {
            "project": Map("project"), "entity": Map("entity"), "group": Map("group"), "tags": Map("tags"),
            "name": Ignore("run_name names the run everywhere"),
        }, "log.wandb.")  # fmt: skip


def convert_visualizer(draft: ConversionResult, node: Node | None) -> None:
    """``visualizer`` and its backends (1.x)."""
    if isinstance(node, MappingNode):
        apply_rules(
            draft,
            node,
            {"type": Ignore("group log"), "name": Ignore("group log"), "save_dir": Ignore("the run folder")},
        )
        backends = node.get("vis_backends")
        for backend in backends.items if isinstance(backends, SequenceNode) else ():
            _sink(draft, backend)


def convert_hooks(draft: ConversionResult, node: Node | None) -> None:
    """``default_hooks`` of 1.x."""
    table = node if isinstance(node, MappingNode) else MappingNode({}, draft.config.where)
    convert_checkpoint(draft, table.get("checkpoint"))
    draft.choose("log", "text")
    logger = table.get("logger")
    if isinstance(logger, MappingNode):
        rules: dict[str, Rule] = {
            **_LOGGER, "type": Ignore("group log"),
            "log_metric_by_epoch": Ignore("every number has its step and epoch"), "out_dir": Ignore("the run folder"),
        }  # fmt: skip
        apply_rules(draft, logger, rules, "log.", owner="LoggerHook's ")
    else:
        draft.imply("log.by_epoch", True, "mmengine's default")
    why = {
        "runtime_info": "in every log line", "timer": "in every log line", "param_scheduler": "lr_policy",
        "sampler_seed": "order and augmentation are functions of seed, epoch and sample",
        "sync_buffers": "one process a run", "visualization": "python -m vexp.cli.evaluate writes predictions.csv",
    }  # fmt: skip
    for key, hook in table.items.items():
        if key in why:
            draft.drop(hook, why[key])


def convert_custom_hooks(draft: ConversionResult, node: Node | None) -> None:
    for hook in node.items if isinstance(node, SequenceNode) else ():
        kind = hook.word("type") if isinstance(hook, MappingNode) else ""
        if kind == "EMAHook" and isinstance(hook, MappingNode):
            draft.choose("ema", "average", hook.items["type"])
            apply_rules(draft, hook, {
                "type": elsewhere, "momentum": Map("decay", lambda momentum: 1 - momentum, implied=0.0002),
                "priority": Ignore("averaged after each step"),
            }, "ema.", owner="EMAHook's ")  # fmt: skip
            if "momentum" not in hook.items:
                draft.values.pop("ema.decay", None)
                draft.imply("ema.decay", 0.9998, "EMAHook's momentum 0.0002")
        else:
            draft.refuse(hook, "there are no hooks here; the loop is vexp/engine/loop.py")
