"""From the tree of a config to a draft of an experiment."""

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
from vexp.tools.mmaction2.pitfalls import find_traps
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
    """The experiment that does what the config says.

    Args:
        source: the config.
        options: (group, option) -> the values that vexp gives it before anything is set.
        model: the option of group model to take instead of the source's.

    Raises:
        UserError: the file is no config of a recognition model, or a part of it cannot be done without.
    """
    config = source.config
    _check_task(config)
    draft = ConversionResult(options, config, generation=int(any(key in config.items for key in _OF_1X)))
    (_convert_1x if draft.generation else _convert_0x)(draft, model)
    runtime.convert_root(draft, _READ[draft.generation])
    if "init_from" in draft.values:
        draft.withdraw("model.weights.path", "load_from comes later and takes its place", "needless")
    _count_in_steps(draft)
    _count_repeats(draft)
    find_traps(draft, source.path)
    _finish(draft, source)
    return draft


def _check_task(config: MappingNode) -> None:
    model = config.items.get("model")
    if not isinstance(model, MappingNode):
        raise UserError(f"{config.where}: no config of mmaction2: it assigns no model = dict(type=...)")
    kind, name = model.items.get("type"), model.word("type")
    where = kind.where if kind is not None else model.where
    if name in OTHER_TASKS:
        raise UserError(f"{where}: {name} is for {OTHER_TASKS[name]}; only recognition of videos can be imported")
    if not name.startswith("Recognizer"):
        raise UserError(f"{where}: {name or 'a model without type'} is no recognition model of mmaction2")


def _convert_0x(draft: ConversionResult, model: str | None) -> None:
    config = draft.config
    data = config.get("data")
    if not isinstance(data, MappingNode):
        raise UserError(f"{config.where}: the config has no data = dict(train=dict(...)); name the data in it")
    choose_data(draft, data.get("train"))
    family = _net(draft, model)
    apply_rules(draft, data, loader_rules("train"))
    for split in ("train", "val", "test"):
        loader = data.get(f"{split}_dataloader")
        if isinstance(loader, MappingNode):
            apply_rules(draft, loader, loader_rules(split))
    _splits(draft, {split: data.get(split) for split in ("train", "val", "test")}, family)
    test_cfg = config.get("test_cfg")
    if test_cfg is not None:
        convert_test_cfg(draft, test_cfg)
    if (train_cfg := config.get("train_cfg")) is not None:
        draft.drop(train_cfg, "nothing in it")
    convert_optimizer(draft, config.get("optimizer"))
    convert_optimizer_config(draft, config.get("optimizer_config"))
    convert_fp16(draft, config.get("fp16"))
    convert_lr_config(draft, config.get("lr_config"))
    hooks.convert_evaluation(draft, config.get("evaluation"))
    hooks.convert_checkpoint(draft, config.get("checkpoint_config"))
    hooks.convert_log(draft, config.get("log_config"))


def _convert_1x(draft: ConversionResult, model: str | None) -> None:
    config = draft.config
    loaders = {split: config.get(f"{split}_dataloader") for split in ("train", "val", "test")}
    sets = {
        split: loader.get("dataset") if isinstance(loader, MappingNode) else None for split, loader in loaders.items()
    }
    if sets["train"] is None:
        raise UserError(
            f"{config.where}: the config has no train_dataloader = dict(dataset=...): for testing alone? "
            "import the one that trained the net"
        )
    choose_data(draft, sets["train"])
    family = _net(draft, model)
    convert_preprocessor(draft, config.get("model", "data_preprocessor") or config.get("data_preprocessor"))
    for split, loader in loaders.items():
        if isinstance(loader, MappingNode):
            apply_rules(draft, loader, loader_rules(split))
    _splits(draft, sets, family)
    convert_wrapper(draft, config.get("optim_wrapper"))
    convert_schedulers(draft, config.get("param_scheduler"))
    for key in ("val_evaluator", "test_evaluator"):
        hooks.convert_evaluator(draft, config.get(key))
    hooks.convert_hooks(draft, config.get("default_hooks"))
    hooks.convert_custom_hooks(draft, config.get("custom_hooks"))
    hooks.convert_visualizer(draft, config.get("visualizer"))
    convert_lr_scaling(draft, config.get("auto_scale_lr"))


def _net(draft: ConversionResult, chosen: str | None) -> Family | None:
    model = draft.config.items["model"]
    assert isinstance(model, MappingNode)
    family = convert_model(draft, model, chosen)
    draft.choices.setdefault("loss", "cross_entropy")
    if draft.choices["loss"] == "bce":
        draft.choices["eval"] = "multi_label"
    return family


def _splits(draft: ConversionResult, sets: dict[str, Node | None], family: Family | None) -> None:
    """The data sets and pipelines of all splits."""
    frames = family.frames if family is not None else draft.choices["model"].startswith(("tsn", "tsm"))
    for split, node in sets.items():
        convert_split(draft, node, split)
    for split, node in sets.items():
        inner = unwrapped(node)
        steps = inner.get("pipeline") if inner is not None else None
        if steps is None and split == "train":
            where = (inner or draft.config).where
            raise UserError(f"{where}: the training data set has no pipeline; without one there are no samples")
        if split == "test" and (steps is None or steps is _pipeline(sets["val"])):
            continue  # as val, here as there
        convert_pipeline(draft, steps, split, frames=frames)
    _without_mirrored_views(draft)
    if unwrapped(sets["val"]) is None and sets["val"] is None:
        draft.imply("data.val.from_split", "train", "the config has no validation data; eval=never")
        draft.steps["val"] = draft.steps["train"]
        draft.choices["eval"] = "never"
        for key, given in list(draft.values.items()):
            if key.startswith("pipeline.train."):
                draft.values[key.replace("train", "val", 1)] = Value(given.value, None, "as in training")


def _without_mirrored_views(draft: ConversionResult) -> None:
    """TenCrop's mirrored views of a class with a direction show another class: the centre instead."""
    if "data.flip_label_map" not in draft.values:
        return
    for split, steps in draft.steps.items():
        for name, option in steps.items():
            size = draft.values.get(f"pipeline.{split}.{name}.crop_size")
            if option == "ten_crop" and size is not None and size.node is not None:
                steps[name] = "center_crop"
                why = "half of TenCrop's views are mirrored, with the label of another class; the centre instead"
                draft.record(size.node, "changed", f"pipeline.{split}.{name}.crop_size", why)


def _pipeline(node: Node | None) -> Node | None:
    inner = unwrapped(node)
    return inner.get("pipeline") if inner is not None else None


# --- counting --------------------------------------------------------------------------------------------------------


def _count_in_steps(draft: ConversionResult) -> None:
    """mmcv's iterations are batches, steps here are updates: under accumulation the counts differ."""
    accumulate = draft.values.get("grad.accumulate")
    if accumulate is None or accumulate.value == 1:
        return
    epochs = {"eval": "eval.by_epoch", "checkpoint": "checkpoint.by_epoch", "lr_policy": "lr_policy.by_epoch"}
    by_epoch = {group: _of(draft, key, True) for group, key in epochs.items()}
    keys = ["log.interval", "max_steps", *(["eval.interval", "eval.start"] if not by_epoch["eval"] else [])]
    keys += ["checkpoint.interval"] if not by_epoch["checkpoint"] else []
    keys += ["lr_policy.step", "lr_policy.periods", "lr_policy.total_steps"] if not by_epoch["lr_policy"] else []
    keys += ["lr_policy.warmup_iters"] if not _of(draft, "lr_policy.warmup_by_epoch", False) else []
    keys += _times_of_phases(draft, by_epoch=False)
    count = int(accumulate.value)
    why = f"counted in updates, of {count} batches each"
    _rescale(draft, keys, lambda n: math.ceil(n / count), why)
    powers = {"exp": lambda gamma: gamma**count, "inv": lambda gamma: gamma * count}
    if not by_epoch["lr_policy"] and draft.choices["lr_policy"] in powers:
        _rescale(draft, ["lr_policy.gamma"], powers[draft.choices["lr_policy"]], why)
    _rescale(draft, _gammas_of_every_step(draft), powers["exp"], why)


def _count_repeats(draft: ConversionResult) -> None:
    """RepeatDataset makes one epoch of several: whatever counts epochs counts more of them here."""
    if draft.repeats == 1:
        return
    keys = ["epochs"]
    keys += ["eval.interval", "eval.start"] if _of(draft, "eval.by_epoch", True) else []
    keys += ["checkpoint.interval"] if _of(draft, "checkpoint.by_epoch", True) else []
    keys += ["lr_policy.step", "lr_policy.periods"] if _of(draft, "lr_policy.by_epoch", True) else []
    keys += ["lr_policy.warmup_iters"] if _of(draft, "lr_policy.warmup_by_epoch", False) else []
    keys += _times_of_phases(draft, by_epoch=True)
    draft.imply("eval.interval", 1, "mmaction2's default")
    _rescale(draft, keys, lambda n: n * draft.repeats, f"epochs of one pass each, {draft.repeats} times as many")


def _times_of_phases(draft: ConversionResult, *, by_epoch: bool) -> list[str]:
    """The keys of a chain's phases that count epochs, or those that count steps."""
    held = (key.rpartition(".") for key in draft.values if key.startswith("lr_policy.phases."))
    times = (phase for phase in held if phase[2] in ("begin", "end", "step", "period"))
    return ["".join(time) for time in times if _of(draft, f"{time[0]}.by_epoch", True) == by_epoch]


def _gammas_of_every_step(draft: ConversionResult) -> list[str]:
    """The factors of a chain's phases that multiply at every step."""
    shapes = [key for key, given in draft.values.items() if key.endswith(".shape") and given.value == "exp"]
    phases = [key.removesuffix(".shape") for key in shapes if key.startswith("lr_policy.phases.")]
    moving = [p for p in phases if _of(draft, f"{p}.every_step", False) or not _of(draft, f"{p}.by_epoch", True)]
    return [f"{phase}.gamma" for phase in moving]


def _of(draft: ConversionResult, key: str, otherwise: Any) -> Any:
    given = draft.values.get(key)
    return otherwise if given is None else given.value


def _rescale(draft: ConversionResult, keys: list[str], count: Callable[[Any], Any], why: str) -> None:
    for key in keys:
        given = draft.values.get(key)
        if given is None or given.value in (None, -1):
            continue
        value = [count(entry) for entry in given.value] if isinstance(given.value, list) else count(given.value)
        draft.values[key] = Value(value, given.node, given.note or why)
        if given.node is not None:
            draft.record(given.node, "changed", key, why)


# --- what is left ----------------------------------------------------------------------------------------------------


def _finish(draft: ConversionResult, source: Source) -> None:
    """Say of every leaf that nothing has read yet what it is."""
    lines = list(source.lines())
    whole = {id(part): leaf for _, leaf in lines for part in getattr(leaf, "parts", ())}
    replaced = {id(leaf): where for _, node, where in source.replaced for _, leaf in leaves(node)}
    for path, leaf in lines:
        if id(leaf) in draft.outcomes:
            continue
        root = path.partition(".")[0].partition("[")[0]
        if id(leaf) in replaced:
            where = replaced[id(leaf)]
            draft.record(leaf, "replaced", "", f"by {where.file.name}:{where.line}")
        elif id(leaf) in whole:
            draft.record(leaf, "part", "", f"of line {whole[id(leaf)].where.line}")
        elif getattr(leaf, "unread", ""):
            draft.refuse(leaf, str(getattr(leaf, "unread", "")))
        elif root in runtime.ROOT or root in (*_READ[0], *_READ[1]):
            draft.refuse(leaf, "vexp.cli.import_mmaction does not know it; left out")
        else:
            draft.drop(leaf, "a name of the file's own that mmaction2 does not read")
