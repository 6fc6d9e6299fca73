"""Evaluation, checkpoints, loggers and other hooks of both versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.detectors import AVA_METRIC
from vexp.tools.mmaction2.models import NORMALIZE
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, as_lists, handled_elsewhere
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node, entries

ONE_PROCESS = Ignore("handled by dist")
_RUN_FOLDER = Ignore("the run folder")

# --- evaluation ------------------------------------------------------------------------------------------------------

_METRICS = ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision")


def _metric_names(value: Any) -> list[str]:
    names = list(value) if isinstance(value, list | tuple) else [str(value)]
    if names == ["AR@AN"]:  # of a localizer
        return names
    unknown = [str(name) for name in names if name not in _METRICS]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: supported: {', '.join(_METRICS)}; set eval.metrics")
    return names


_TOPK = Map("/eval.topk", as_lists)


def _metric_options(result: ConversionResult, node: Node, prefix: str) -> None:
    for metric, options in node.items.items() if isinstance(node, MappingNode) else ():
        if metric == "top_k_accuracy" and isinstance(options, MappingNode):
            apply_rules(result, options, {"topk": _TOPK})
        else:
            result.mark_unsupported(options, "has no options here")


#: Results of 1.x -> metrics of vexp.
_RESULTS = {
    "mAP/overall": "mAP@0.5IOU",
    "ava/mAP@0.5IOU": "mAP@0.5IOU",
    "acc/top1": "top1_acc",
    "acc/top5": "top5_acc",
    "acc/mean1": "mean_class_accuracy",
}


def _best_metric(name: Any) -> Any:
    if isinstance(name, list | tuple | dict):
        raise ConfigError("only one metric is supported; set eval.save_best")
    return _RESULTS.get(name, name)


_SAVE_BEST = Map("/eval.save_best", _best_metric)
#: ``evaluation`` of 0.x.
EVALUATION: dict[str, Rule] = {
    **same("interval start by_epoch rule"),
    **all_of("save_best key_indicator", _SAVE_BEST),
    "metrics": Map("metrics", _metric_names), "metric_options": _metric_options, "topk": _TOPK,
    **all_of("gpu_collect tmpdir broadcast_bn_buffer", ONE_PROCESS),
    "dynamic_intervals": Unsupported("one eval.interval for the whole run"),
}  # fmt: skip
#: ``val_evaluator`` and ``test_evaluator`` of 1.x.
EVALUATOR: dict[str, Rule] = {
    "type": Ignore("eval.metrics names the metrics"), "metric_list": Map("/eval.metrics", _metric_names),
    "metric_options": _metric_options, "collect_device": ONE_PROCESS,
    "prefix": Ignore("results are called val/... and test/..."),
}  # fmt: skip


def convert_evaluator(result: ConversionResult, node: Node | None) -> None:
    """Convert an evaluator of 1.x, or a list of them."""
    for entry in [node] if isinstance(node, MappingNode) else entries(node):
        if entry.text("type") in ("AccMetric", "AccMetric1"):
            apply_rules(result, entry, EVALUATOR)
        elif entry.text("type") == "AVAMetric":
            apply_rules(result, entry, AVA_METRIC)
        elif isinstance(entry, MappingNode):
            result.mark_unsupported(entry, "only the metrics of eval.metrics are supported")


# --- checkpoints, logging --------------------------------------------------------------------------------------------

#: ``checkpoint_config`` of 0.x, ``default_hooks.checkpoint`` of 1.x.
CHECKPOINT: dict[str, Rule] = {
    "type": Ignore("checkpoint= has its settings"),
    "interval": Map("interval", implied=-1), **same("by_epoch save_optimizer out_dir max_keep_ckpts save_last"),
    "save_best": _SAVE_BEST, "rule": Map("/eval.rule"),
    "create_symlink": Ignore("checkpoints/last.pth is the newest"), "published_keys": Unsupported("see vexp convert"),
    "filename_tmpl": Unsupported("names are epoch_N.pth and step_N.pth"), "sync_buffer": ONE_PROCESS,
    "save_param_scheduler": Ignore("a rate is a function of the step, nothing is saved"),
    **all_of("greater_keys less_keys", Unsupported("eval.rule says which is better")),
}  # fmt: skip


def convert_checkpoint(result: ConversionResult, node: Node | None) -> None:
    """Convert ``checkpoint_config`` of 0.x or ``default_hooks.checkpoint`` of 1.x."""
    result.choose("checkpoint", "all")
    if isinstance(node, MappingNode):
        apply_rules(result, node, CHECKPOINT, "checkpoint.", owner="CheckpointHook's ")
    elif node is not None:
        result.set_implied("checkpoint.interval", -1, "no periodic checkpoints")
        result.mark_unneeded(node, "no periodic checkpoints")


#: ``log_config`` of 0.x.
LOG_CONFIG: dict[str, Rule] = {**same("interval ignore_last reset_flag"), "by_epoch": Map("by_epoch", implied=True)}
#: ``default_hooks.logger`` of 1.x.
LOGGER_HOOK: dict[str, Rule] = {
    **LOG_CONFIG, "type": Ignore("log= has its settings"),
    "log_metric_by_epoch": Ignore("every number has its step and epoch"), "out_dir": _RUN_FOLDER,
}  # fmt: skip
#: Arguments of a wandb logger.
WANDB: dict[str, Rule] = {
    "type": Map("log.wandb.mode", lambda _: "auto"),
    "interval": Require(10, "one log.interval for all loggers"), "save_dir": _RUN_FOLDER,
    "init_kwargs": Section(
        {**same("project entity group tags"), "name": Ignore("run_name names the run everywhere")},
        "log.wandb.", otherwise=handled_elsewhere,
    ),
}  # fmt: skip

#: Arguments of an MLflow logger; the address is that of the environment.
MLFLOW: dict[str, Rule] = {
    "type": Ignore("log.mlflow.experiment enables it"),
    "exp_name": Map("log.mlflow.experiment"), "tags": Map("log.mlflow.tags"),
    **all_of("save_dir tracking_uri", Ignore("set the environment variable MLFLOW_TRACKING_URI")),
    "run_name": Ignore("run_name names the run everywhere"),
    "interval": Require(10, "one log.interval for all loggers"),
}  # fmt: skip


def convert_log(result: ConversionResult, node: Node | None, rules: Mapping[str, Rule] = LOG_CONFIG) -> None:
    """Convert ``log_config`` of 0.x, or ``default_hooks.logger`` of 1.x by its rules."""
    result.choose("log", "text")
    if isinstance(node, MappingNode):
        apply_rules(result, node, rules, "log.", owner="LoggerHook's ")
        _convert_loggers(result, node.get("hooks"))
    else:
        result.set_implied("log.by_epoch", True, f"{'mmengine' if result.generation else 'mmcv'}'s default")


def _convert_loggers(result: ConversionResult, loggers: Node | None) -> None:
    """Convert a list of loggers, by their classes."""
    for logger in entries(loggers):
        kind = logger.text("type")
        if not isinstance(logger, MappingNode):
            result.mark_unsupported(logger, "is not a dict; see group log")
        elif kind in ("TextLoggerHook", "LocalVisBackend", "ActionVisualizer", "Visualizer"):
            result.mark_unneeded(logger, "log.txt and metrics.jsonl are always written")
        elif kind in ("TensorboardLoggerHook", "TensorboardVisBackend"):
            rest = dict.fromkeys(logger.items, Ignore("event files are in the run folder"))
            apply_rules(result, logger, {**rest, "type": Map("log.tensorboard", lambda _: True)})
        elif kind in ("WandbLoggerHook", "WandbVisBackend"):
            apply_rules(result, logger, WANDB)
        elif kind in ("MlflowLoggerHook", "MLflowVisBackend"):
            result.set_implied("log.mlflow.experiment", "vexp", "MLflow is requested")
            apply_rules(result, logger, MLFLOW)
        else:
            result.mark_unsupported(logger, "supported: text, jsonl, tensorboard, csv, wandb and mlflow; see group log")


def convert_visualizer(result: ConversionResult, node: Node | None) -> None:
    """Convert ``visualizer`` and its backends (1.x)."""
    apply_rules(result, node, {**all_of("type name", Ignore("log= has its settings")), "save_dir": _RUN_FOLDER})
    _convert_loggers(result, node.get("vis_backends") if node is not None else None)


_UNNEEDED_HOOKS: dict[str, Rule] = {
    **all_of("runtime_info timer", Ignore("every log line has it")),
    "param_scheduler": Ignore("lr_policy= sets the rate of every step"),
    "sampler_seed": Ignore("order and augmentation are functions of seed, epoch and sample"),
    "sync_buffers": ONE_PROCESS, "visualization": Ignore("vexp evaluate writes predictions.csv"),
}  # fmt: skip


def convert_hooks(result: ConversionResult, node: Node | None) -> None:
    """Convert ``default_hooks`` of 1.x."""
    table = node if isinstance(node, MappingNode) else MappingNode({}, result.config.where)
    convert_checkpoint(result, table.get("checkpoint"))
    convert_log(result, table.get("logger"), LOGGER_HOOK)
    apply_rules(result, node, _UNNEEDED_HOOKS)


#: ``EMAHook`` of 1.x.
EMA_HOOK: dict[str, Rule] = {
    "type": handled_elsewhere, "momentum": Map("decay", lambda momentum: 1 - momentum),
    "priority": Ignore("averaged after each step"),
}  # fmt: skip


def convert_module_hooks(result: ConversionResult, node: Node | None) -> None:
    """Convert ``module_hooks`` of 0.x: only normalization on the GPU is supported, which is vexp's."""
    for hook in entries(node):
        if hook.text("type") == "GPUNormalize" and hook.text("hooked_module") == "backbone":
            apply_rules(result, hook, {
                **all_of("type hooked_module hook_pos input_format", Ignore("img_norm is on the device anyway")),
                **NORMALIZE,
            }, "img_norm.")  # fmt: skip
        else:
            result.mark_unsupported(hook, "module hooks are not supported")


def convert_custom_hooks(result: ConversionResult, node: Node | None) -> None:
    """Convert ``custom_hooks`` of 1.x: only the averaged weights are supported."""
    for hook in entries(node):
        if hook.text("type") == "EMAHook" and isinstance(hook, MappingNode):
            result.choose("ema", "average", hook.items["type"])
            apply_rules(result, hook, EMA_HOOK, "ema.")
            if "momentum" not in hook.items:
                result.set_implied("ema.decay", 0.9998, "EMAHook's momentum 0.0002")
        elif hook.text("type") == "EarlyStoppingHook":
            result.mark_unsupported(hook, "eval.patience ends the training after evaluations without improvement")
        else:
            result.mark_unsupported(hook, "hooks are not supported; the training loop is vexp/training/loop.py")
