"""Evaluation, checkpoints, loggers and other hooks of both generations."""

from __future__ import annotations

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.rules import (
    ConversionResult,
    Ignore,
    Map,
    Require,
    Rule,
    Unsupported,
    apply_rules,
    as_lists,
    handled_elsewhere,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, to_python

ONE_PROCESS = Ignore("handled by dist")


# --- evaluation ------------------------------------------------------------------------------------------------------

_METRICS_0 = (
    "top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision",
)  # fmt: skip


def _metrics(result: ConversionResult, node: Node, prefix: str) -> None:
    names = to_python(node)
    names = list(names) if isinstance(names, list | tuple) else [str(names)]
    strange = [name for name in names if name not in _METRICS_0]
    if strange:
        raise ConfigError(f"{', '.join(strange)}: supported: {', '.join(_METRICS_0)}; set eval.metrics")
    result.set(node, "eval.metrics", names)


def _topk(result: ConversionResult, node: Node, prefix: str) -> None:
    result.set(node, "eval.topk", as_lists(to_python(node)))


def _metric_options(result: ConversionResult, node: Node, prefix: str) -> None:
    for metric, options in node.items.items() if isinstance(node, MappingNode) else ():
        if metric == "top_k_accuracy" and isinstance(options, MappingNode):
            apply_rules(result, options, {"topk": _topk})
        else:
            result.mark_unsupported(options, "has no options here")


#: 1.x's names of results -> here.
_RESULTS = {"acc/top1": "top1_acc", "acc/top5": "top5_acc", "acc/mean1": "mean_class_accuracy"}


def _save_best(result: ConversionResult, node: Node, prefix: str) -> None:
    name = to_python(node)
    if isinstance(name, list | tuple | dict):
        raise ConfigError("only one metric is supported; set eval.save_best")
    result.set(node, "eval.save_best", _RESULTS.get(name, name))


_EVALUATION: dict[str, Rule] = {
    "interval": Map("eval.interval"), "start": Map("eval.start"), "by_epoch": Map("eval.by_epoch"),
    "save_best": _save_best, "rule": Map("eval.rule"), "metrics": _metrics, "metric_options": _metric_options,
    "topk": _topk, "gpu_collect": ONE_PROCESS, "tmpdir": ONE_PROCESS, "broadcast_bn_buffer": ONE_PROCESS,
    "dynamic_intervals": Unsupported("one eval.interval for the whole run"),
    "key_indicator": _save_best,
}  # fmt: skip


def convert_evaluation(result: ConversionResult, node: Node | None) -> None:
    """``evaluation`` of 0.x."""
    if isinstance(node, MappingNode):
        apply_rules(result, node, _EVALUATION)


def convert_evaluator(result: ConversionResult, node: Node | None) -> None:
    """``val_evaluator``, ``test_evaluator`` of 1.x."""
    for entry in node.items if isinstance(node, SequenceNode) else [node]:
        if not isinstance(entry, MappingNode):
            continue
        if entry.text("type") not in ("AccMetric", "AccMetric1"):
            result.mark_unsupported(entry, "only the metrics of eval.metrics are supported")
            continue
        apply_rules(result, entry, {
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
    "create_symlink": Ignore("checkpoints/last.pth is the newest"), "published_keys": Unsupported("see vexp convert"),
    "filename_tmpl": Unsupported("names are epoch_N.pth and step_N.pth"), "sync_buffer": ONE_PROCESS,
    "save_param_scheduler": Ignore("a rate is a function of the step, nothing is saved"),
    "greater_keys": Unsupported("eval.rule says which is better"), "less_keys": Unsupported("eval.rule says which is better"),
}  # fmt: skip


def convert_checkpoint(result: ConversionResult, node: Node | None) -> None:
    """``checkpoint_config`` of 0.x, ``default_hooks.checkpoint`` of 1.x."""
    result.choose("checkpoint", "all")
    if isinstance(node, MappingNode):
        apply_rules(result, node, _CHECKPOINT, owner="CheckpointHook's ")
    elif node is not None:
        result.set_implied("checkpoint.interval", -1, "no periodic checkpoints")
        result.mark_unneeded(node, "no periodic checkpoints")


_LOGGER: dict[str, Rule] = {
    "interval": Map("interval"), "ignore_last": Map("ignore_last"), "reset_flag": Map("reset_flag"),
    "by_epoch": Map("by_epoch", implied=True),
}  # fmt: skip
_BACKENDS = {
    "TensorboardLoggerHook": "tensorboard", "TensorboardVisBackend": "tensorboard", "WandbLoggerHook": "wandb",
    "WandbVisBackend": "wandb",
}  # fmt: skip
_ALWAYS = ("TextLoggerHook", "LocalVisBackend", "ActionVisualizer", "Visualizer")


def convert_log(result: ConversionResult, node: Node | None) -> None:
    """``log_config`` of 0.x."""
    result.choose("log", "text")
    if not isinstance(node, MappingNode):
        result.set_implied("log.by_epoch", True, "mmcv's default")
        return
    apply_rules(result, node, _LOGGER, "log.", owner="LoggerHook's ")
    hooks = node.get("hooks")
    for hook in hooks.items if isinstance(hooks, SequenceNode) else ():
        _backend(result, hook)


def _backend(result: ConversionResult, hook: Node) -> None:
    """One logger, by its class."""
    kind = hook.text("type") if isinstance(hook, MappingNode) else ""
    if not isinstance(hook, MappingNode):
        result.mark_unsupported(hook, "is not a dict; see group log")
    elif kind in _ALWAYS:
        result.mark_unneeded(hook, "log.txt and metrics.jsonl are always written")
    elif _BACKENDS.get(kind) == "tensorboard":
        result.set(hook.items["type"], "log.tensorboard", True)
        for key, node in hook.items.items():
            if key != "type":
                result.mark_unneeded(node, "event files are in the run folder")
    elif _BACKENDS.get(kind) == "wandb":
        result.set(hook.items["type"], "log.wandb.mode", "auto")
        rules: dict[str, Rule] = {
            "type": handled_elsewhere,
            "interval": Require(10, "one log.interval for all loggers"),
        }
        apply_rules(result, hook, {**rules, "init_kwargs": _wandb, "save_dir": Ignore("the run folder")})
    else:
        result.mark_unsupported(hook, "supported: text, jsonl, tensorboard, csv and wandb; see group log")


def _wandb(result: ConversionResult, node: Node, prefix: str) -> None:
    if isinstance(node, MappingNode):
        apply_rules(result, node, {
            "project": Map("project"), "entity": Map("entity"), "group": Map("group"), "tags": Map("tags"),
            "name": Ignore("run_name names the run everywhere"),
        }, "log.wandb.")  # fmt: skip


def convert_visualizer(result: ConversionResult, node: Node | None) -> None:
    """``visualizer`` and its backends (1.x)."""
    if isinstance(node, MappingNode):
        apply_rules(
            result,
            node,
            {"type": Ignore("group log"), "name": Ignore("group log"), "save_dir": Ignore("the run folder")},
        )
        backends = node.get("vis_backends")
        for backend in backends.items if isinstance(backends, SequenceNode) else ():
            _backend(result, backend)


def convert_hooks(result: ConversionResult, node: Node | None) -> None:
    """``default_hooks`` of 1.x."""
    table = node if isinstance(node, MappingNode) else MappingNode({}, result.config.where)
    convert_checkpoint(result, table.get("checkpoint"))
    result.choose("log", "text")
    logger = table.get("logger")
    if isinstance(logger, MappingNode):
        rules: dict[str, Rule] = {
            **_LOGGER, "type": Ignore("group log"),
            "log_metric_by_epoch": Ignore("every number has its step and epoch"), "out_dir": Ignore("the run folder"),
        }  # fmt: skip
        apply_rules(result, logger, rules, "log.", owner="LoggerHook's ")
    else:
        result.set_implied("log.by_epoch", True, "mmengine's default")
    why = {
        "runtime_info": "in every log line", "timer": "in every log line", "param_scheduler": "lr_policy",
        "sampler_seed": "order and augmentation are functions of seed, epoch and sample",
        "sync_buffers": "handled by dist", "visualization": "vexp evaluate writes predictions.csv",
    }  # fmt: skip
    for key, hook in table.items.items():
        if key in why:
            result.mark_unneeded(hook, why[key])


def convert_custom_hooks(result: ConversionResult, node: Node | None) -> None:
    for hook in node.items if isinstance(node, SequenceNode) else ():
        kind = hook.text("type") if isinstance(hook, MappingNode) else ""
        if kind == "EMAHook" and isinstance(hook, MappingNode):
            result.choose("ema", "average", hook.items["type"])
            apply_rules(result, hook, {
                "type": handled_elsewhere, "momentum": Map("decay", lambda momentum: 1 - momentum, implied=0.0002),
                "priority": Ignore("averaged after each step"),
            }, "ema.", owner="EMAHook's ")  # fmt: skip
            if "momentum" not in hook.items:
                result.values.pop("ema.decay", None)
                result.set_implied("ema.decay", 0.9998, "EMAHook's momentum 0.0002")
        else:
            result.mark_unsupported(hook, "hooks are not supported; the training loop is vexp/training/loop.py")
