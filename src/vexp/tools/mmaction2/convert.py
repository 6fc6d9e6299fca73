"""Convert the tree of a config to an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vexp.core.errors import UserError
from vexp.tools.mmaction2 import hooks, runtime
from vexp.tools.mmaction2.backbones import OTHER_TASKS, Family
from vexp.tools.mmaction2.config_file import Source
from vexp.tools.mmaction2.datasets import choose_data, convert_split, loader_rules, unwrapped
from vexp.tools.mmaction2.heads import convert_test_cfg
from vexp.tools.mmaction2.lr_config import convert_lr_config
from vexp.tools.mmaction2.models import convert_model
from vexp.tools.mmaction2.norms import convert_preprocessor
from vexp.tools.mmaction2.optimizers import (
    convert_fp16,
    convert_lr_scaling,
    convert_optimizer,
    convert_optimizer_config,
    convert_wrapper,
)
from vexp.tools.mmaction2.param_schedulers import convert_schedulers
from vexp.tools.mmaction2.pipelines import convert_pipeline
from vexp.tools.mmaction2.pitfalls import find_pitfalls
from vexp.tools.mmaction2.rules import ConversionResult, Value, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, leaves

#: Root keys that only configs of 1.x have.
_OF_1X = (
    "train_dataloader", "optim_wrapper", "param_scheduler", "default_hooks", "val_evaluator", "default_scope",
)  # fmt: skip
_READ = {
    0: ("model", "data", "optimizer", "optimizer_config", "lr_config", "fp16", "evaluation", "checkpoint_config",
        "log_config", "train_cfg", "test_cfg"),
    1: ("model", "train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "param_scheduler",
        "default_hooks", "custom_hooks", "val_evaluator", "test_evaluator", "visualizer", "vis_backends",
        "auto_scale_lr"),
}  # fmt: skip


def convert(source: Source, options: Callable[[str, str], Any], model: str | None = None) -> ConversionResult:
    """Convert a config to an equivalent experiment.

    Args:
        source: the config.
        options: (group, option) -> the values that vexp gives it before anything is set.
        model: the option of group model to take instead of the source's.

    Raises:
        UserError: the file is no config of a recognition model, or a part of it cannot be done without.
    """
    config = source.config
    _check_task(config)
    result = ConversionResult(options, config, generation=int(any(key in config.items for key in _OF_1X)))
    (_convert_1x if result.generation else _convert_0x)(result, model)
    runtime.convert_root(result, _READ[result.generation])
    if "init_from" in result.values:
        result.revoke("model.weights.path", "load_from comes later and takes its place", "needless")
    _count_in_steps(result)
    _count_repeats(result)
    find_pitfalls(result, source.path)
    _finish(result, source)
    return result


def _check_task(config: MappingNode) -> None:
    model = config.items.get("model")
    if not isinstance(model, MappingNode):
        raise UserError(f"{config.where}: not a config of mmaction2: model = dict(type=...) is missing")
    kind, name = model.items.get("type"), model.text("type")
    where = kind.where if kind is not None else model.where
    if name in OTHER_TASKS:
        raise UserError(f"{where}: {name} is for {OTHER_TASKS[name]}; only video recognition can be imported")
    if not name.startswith("Recognizer"):
        raise UserError(f"{where}: {name or 'a model without type'} is not a recognition model of mmaction2")


def _convert_0x(result: ConversionResult, model: str | None) -> None:
    config = result.config
    data = config.get("data")
    if not isinstance(data, MappingNode):
        raise UserError(f"{config.where}: the config has no data = dict(train=dict(...)); add the data to it")
    choose_data(result, data.get("train"))
    family = _net(result, model)
    apply_rules(result, data, loader_rules("train"))
    for split in ("train", "val", "test"):
        loader = data.get(f"{split}_dataloader")
        if isinstance(loader, MappingNode):
            apply_rules(result, loader, loader_rules(split))
    _splits(result, {split: data.get(split) for split in ("train", "val", "test")}, family)
    test_cfg = config.get("test_cfg")
    if test_cfg is not None:
        convert_test_cfg(result, test_cfg)
    if (train_cfg := config.get("train_cfg")) is not None:
        result.mark_unneeded(train_cfg, "it is empty")
    convert_optimizer(result, config.get("optimizer"))
    convert_optimizer_config(result, config.get("optimizer_config"))
    convert_fp16(result, config.get("fp16"))
    convert_lr_config(result, config.get("lr_config"))
    hooks.convert_evaluation(result, config.get("evaluation"))
    hooks.convert_checkpoint(result, config.get("checkpoint_config"))
    hooks.convert_log(result, config.get("log_config"))


def _convert_1x(result: ConversionResult, model: str | None) -> None:
    config = result.config
    loaders = {split: config.get(f"{split}_dataloader") for split in ("train", "val", "test")}
    sets = {
        split: loader.get("dataset") if isinstance(loader, MappingNode) else None for split, loader in loaders.items()
    }
    if sets["train"] is None:
        raise UserError(
            f"{config.where}: the config has no train_dataloader = dict(dataset=...): perhaps it is for testing only; "
            "import the config of the training"
        )
    choose_data(result, sets["train"])
    family = _net(result, model)
    convert_preprocessor(result, config.get("model", "data_preprocessor") or config.get("data_preprocessor"))
    for split, loader in loaders.items():
        if isinstance(loader, MappingNode):
            apply_rules(result, loader, loader_rules(split))
    _splits(result, sets, family)
    convert_wrapper(result, config.get("optim_wrapper"))
    convert_schedulers(result, config.get("param_scheduler"))
    for key in ("val_evaluator", "test_evaluator"):
        hooks.convert_evaluator(result, config.get(key))
    hooks.convert_hooks(result, config.get("default_hooks"))
    hooks.convert_custom_hooks(result, config.get("custom_hooks"))
    hooks.convert_visualizer(result, config.get("visualizer"))
    convert_lr_scaling(result, config.get("auto_scale_lr"))


def _net(result: ConversionResult, chosen: str | None) -> Family | None:
    model = result.config.items["model"]
    assert isinstance(model, MappingNode)
    family = convert_model(result, model, chosen)
    result.choices.setdefault("loss", "cross_entropy")
    if result.choices["loss"] == "bce":
        result.choices["eval"] = "multi_label"
    return family


def _splits(result: ConversionResult, sets: dict[str, Node | None], family: Family | None) -> None:
    """The datasets and pipelines of all splits."""
    frames = family.frames if family is not None else result.choices["model"].startswith(("tsn", "tsm"))
    for split, node in sets.items():
        convert_split(result, node, split)
    for split, node in sets.items():
        inner = unwrapped(node)
        steps = inner.get("pipeline") if inner is not None else None
        if steps is None and split == "train":
            where = (inner or result.config).where
            raise UserError(f"{where}: the training dataset has no pipeline; without one there are no samples")
        if split == "test" and (steps is None or steps is _pipeline(sets["val"])):
            continue  # as val, here as there
        convert_pipeline(result, steps, split, frames=frames)
    _without_mirrored_views(result)
    if unwrapped(sets["val"]) is None and sets["val"] is None:
        result.set_implied("data.val.from_split", "train", "the config has no validation data; eval=never")
        result.steps["val"] = result.steps["train"]
        result.choices["eval"] = "never"
        for key, given in list(result.values.items()):
            if key.startswith("pipeline.train."):
                result.values[key.replace("train", "val", 1)] = Value(given.value, None, "as in training")


def _without_mirrored_views(result: ConversionResult) -> None:
    """TenCrop's mirrored views of a class with a direction show another class: the center is used instead."""
    if "data.flip_label_map" not in result.values:
        return
    for split, steps in result.steps.items():
        for name, option in steps.items():
            size = result.values.get(f"pipeline.{split}.{name}.crop_size")
            if option == "ten_crop" and size is not None and size.node is not None:
                steps[name] = "center_crop"
                why = (
                    "half of TenCrop's views are mirrored, with the label of another class; the center is used instead"
                )
                result.record(size.node, "changed", f"pipeline.{split}.{name}.crop_size", why)


def _pipeline(node: Node | None) -> Node | None:
    inner = unwrapped(node)
    return inner.get("pipeline") if inner is not None else None


# --- counting --------------------------------------------------------------------------------------------------------


def _count_in_steps(result: ConversionResult) -> None:
    """Mmcv's iterations are batches, steps here are updates: under accumulation the counts differ."""
    accumulate = result.values.get("grad.accumulate")
    if accumulate is None or accumulate.value == 1:
        return
    epochs = {"eval": "eval.by_epoch", "checkpoint": "checkpoint.by_epoch", "lr_policy": "lr_policy.by_epoch"}
    by_epoch = {group: _of(result, key, True) for group, key in epochs.items()}
    keys = ["log.interval", "max_steps", *(["eval.interval", "eval.start"] if not by_epoch["eval"] else [])]
    keys += ["checkpoint.interval"] if not by_epoch["checkpoint"] else []
    keys += ["lr_policy.step", "lr_policy.periods", "lr_policy.total_steps"] if not by_epoch["lr_policy"] else []
    keys += ["lr_policy.warmup_iters"] if not _of(result, "lr_policy.warmup_by_epoch", False) else []
    keys += _times_of_phases(result, by_epoch=False)
    count = int(accumulate.value)
    why = f"counted in updates, of {count} batches each"
    _rescale(result, keys, lambda n: math.ceil(n / count), why)
    powers = {"exp": lambda gamma: gamma**count, "inv": lambda gamma: gamma * count}
    if not by_epoch["lr_policy"] and result.choices["lr_policy"] in powers:
        _rescale(result, ["lr_policy.gamma"], powers[result.choices["lr_policy"]], why)
    _rescale(result, _gammas_of_every_step(result), powers["exp"], why)


def _count_repeats(result: ConversionResult) -> None:
    """RepeatDataset makes one epoch of several: whatever counts epochs counts more of them here."""
    if result.repeats == 1:
        return
    keys = ["epochs"]
    keys += ["eval.interval", "eval.start"] if _of(result, "eval.by_epoch", True) else []
    keys += ["checkpoint.interval"] if _of(result, "checkpoint.by_epoch", True) else []
    keys += ["lr_policy.step", "lr_policy.periods"] if _of(result, "lr_policy.by_epoch", True) else []
    keys += ["lr_policy.warmup_iters"] if _of(result, "lr_policy.warmup_by_epoch", False) else []
    keys += _times_of_phases(result, by_epoch=True)
    result.set_implied("eval.interval", 1, "mmaction2's default")
    _rescale(result, keys, lambda n: n * result.repeats, f"epochs of one pass each, {result.repeats} times as many")


def _times_of_phases(result: ConversionResult, *, by_epoch: bool) -> list[str]:
    """The keys of a chain's phases that count epochs, or those that count steps."""
    held = (key.rpartition(".") for key in result.values if key.startswith("lr_policy.phases."))
    times = (phase for phase in held if phase[2] in ("begin", "end", "step", "period"))
    return ["".join(time) for time in times if _of(result, f"{time[0]}.by_epoch", True) == by_epoch]


def _gammas_of_every_step(result: ConversionResult) -> list[str]:
    """The factors of a chain's phases that multiply at every step."""
    shapes = [key for key, given in result.values.items() if key.endswith(".shape") and given.value == "exp"]
    phases = [key.removesuffix(".shape") for key in shapes if key.startswith("lr_policy.phases.")]
    moving = [p for p in phases if _of(result, f"{p}.every_step", False) or not _of(result, f"{p}.by_epoch", True)]
    return [f"{phase}.gamma" for phase in moving]


def _of(result: ConversionResult, key: str, otherwise: Any) -> Any:
    given = result.values.get(key)
    return otherwise if given is None else given.value


def _rescale(result: ConversionResult, keys: list[str], count: Callable[[Any], Any], why: str) -> None:
    for key in keys:
        given = result.values.get(key)
        if given is None or given.value in (None, -1):
            continue
        value = [count(entry) for entry in given.value] if isinstance(given.value, list) else count(given.value)
        result.values[key] = Value(value, given.node, given.note or why)
        if given.node is not None:
            result.record(given.node, "changed", key, why)


# --- what is left ----------------------------------------------------------------------------------------------------


def _finish(result: ConversionResult, source: Source) -> None:
    """Say of every leaf that nothing has read yet what it is."""
    lines = list(source.lines())
    whole = {id(part): leaf for _, leaf in lines for part in getattr(leaf, "parts", ())}
    replaced = {id(leaf): where for _, node, where in source.replaced for _, leaf in leaves(node)}
    for path, leaf in lines:
        if id(leaf) in result.outcomes:
            continue
        root = path.partition(".")[0].partition("[")[0]
        if id(leaf) in replaced:
            where = replaced[id(leaf)]
            result.record(leaf, "replaced", "", f"by {where.file.name}:{where.line}")
        elif id(leaf) in whole:
            result.record(leaf, "part", "", f"of line {whole[id(leaf)].where.line}")
        elif getattr(leaf, "unread", ""):
            result.mark_unsupported(leaf, str(getattr(leaf, "unread", "")))
        elif root in runtime.ROOT or root in (*_READ[0], *_READ[1]):
            result.mark_unsupported(leaf, "vexp import does not support it; left out")
        else:
            result.mark_unneeded(leaf, "a variable that mmaction2 does not read")
