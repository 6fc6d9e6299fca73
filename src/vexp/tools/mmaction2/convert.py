"""Convert the tree of a config to an experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from vexp.core.errors import UserError
from vexp.tools.mmaction2 import hooks, localization, optimizers, runtime
from vexp.tools.mmaction2.config_file import Source
from vexp.tools.mmaction2.datasets import IMAGE_DATASETS, choose_data, convert_split, datasets_of, loader_rules
from vexp.tools.mmaction2.detectors import check_detector, is_detector
from vexp.tools.mmaction2.joint import (
    OMNISOURCE,
    check_image_pipeline,
    convert_other_loaders,
    other_loaders,
    with_others,
)
from vexp.tools.mmaction2.lr_config import convert_lr_config
from vexp.tools.mmaction2.models import TEST_CFG, apply_loss_weight, convert_model, convert_preprocessor
from vexp.tools.mmaction2.param_schedulers import convert_schedulers
from vexp.tools.mmaction2.pipelines import check_same_pipeline, convert_pipeline
from vexp.tools.mmaction2.pitfalls import find_pitfalls
from vexp.tools.mmaction2.refused import IMPORTED, OTHER_TASKS
from vexp.tools.mmaction2.result import FILL_IN, ConversionResult, Value
from vexp.tools.mmaction2.rules import Ignore
from vexp.tools.mmaction2.tables import apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, SequenceNode

#: Root keys that only configs of 1.x have.
_OF_1X = {"train_dataloader", "optim_wrapper", "param_scheduler", "default_hooks", "val_evaluator", "default_scope"}
#: Root keys that are converted here, by version.
_READ = {
    0: ("model", "data", "optimizer", "optimizer_config", "lr_config", "fp16", "evaluation", "checkpoint_config",
        "log_config", "module_hooks", "train_cfg", "test_cfg"),
    1: ("model", "train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "param_scheduler",
        "default_hooks", "custom_hooks", "val_evaluator", "test_evaluator", "visualizer", "vis_backends",
        "auto_scale_lr"),
}  # fmt: skip
_SPLITS = ("train", "val", "test")


def convert(source: Source, options: Callable[[str, str], Any], model: str | None = None) -> ConversionResult:
    """Convert a config to an equivalent experiment.

    Args:
        source: The config.
        options: Returns the default values of an option, given its group and name.
        model: The option of group model that replaces the model of the source.

    Raises:
        UserError: If the file is not a config of a recognition model, or a required part is missing.
    """
    _check_readable(source.config)
    _check_task(source.config)
    config, unread = _without_unread(source.config)
    result = ConversionResult(options, config, generation=int(not _OF_1X.isdisjoint(config.items)))
    (_convert_1x if result.generation else _convert_0x)(result, model)
    for key, node in unread.items():
        result.need(key, node, node.unread)
    apply_loss_weight(result)
    runtime.convert_root(result, _READ[result.generation])
    if "init_from" in result.values:
        result.revoke("model.weights.path", "load_from comes later and takes its place", "needless")
    _set_defaults(result)
    _count_in_steps(result)
    find_pitfalls(result, source.path)
    _record_rest(result, source)
    return result


def _set_defaults(result: ConversionResult) -> None:
    """Set what mmaction2 does where the config is silent and vexp does something else."""
    if result.value("epochs") is None and result.value("max_steps") is None:
        result.need("epochs", None, "the config does not say how long to train")
    result.set_implied("data.batch_size", 1, "mmaction2's default of videos_per_gpu and batch_size")
    if "run_name" not in result.values:
        result.set_implied("run_name", result.config.where.file.stem, "mmaction2's default of work_dir")
        result.set_implied("out_root", "./work_dirs", "mmaction2's default of work_dir")
    if result.choices["data"] == "activitynet":
        return
    if result.choices["data"] == "skeleton" or {"img_norm.mean", "img_norm.std"} & set(result.values):
        return
    unread = [leaf.where for path, leaf in result.config.leaves() if getattr(leaf, "unread", "")
              and re.search(r"(pipeline|module_hooks)(\[\d+\])?$", path)]  # fmt: skip
    if unread:
        for key in ("img_norm.mean", "img_norm.std"):
            result.need(key, None, f"{unread[0].file.name}:{unread[0].line} cannot be read and may be what normalizes")
    else:
        why = "the config has no Normalize" if result.generation == 0 else "data_preprocessor has no mean"
        result.set_implied("img_norm.mean", [0.0] * result.channels, f"{why}: pixels are not normalized")
        result.set_implied("img_norm.std", [1.0] * result.channels, f"{why}: pixels are not normalized")


#: Dicts without which there is no experiment.
_INDISPENSABLE = ("model", "model.backbone", "data", *(f"data.{split}" for split in _SPLITS),
                  *(f"data.{split}.dataset" for split in _SPLITS),
                  *(f"{split}_dataloader{key}" for split in _SPLITS
                    for key in ("", ".dataset", ".dataset.dataset")))  # fmt: skip
#: Dicts that are left to the user if they cannot be read -> the group or keys that they set.
_LEFT_TO_THE_USER = {
    "optimizer_config": "grad.clip.max_norm", "fp16": "amp", "evaluation": "eval", "checkpoint_config": "checkpoint",
    "log_config": "log", "runner": "epochs", "train_cfg": "epochs", "param_scheduler": "lr_policy",
    **dict.fromkeys(("model.data_preprocessor", "data_preprocessor"), "img_norm.mean img_norm.std"),
}  # fmt: skip


def _check_readable(config: MappingNode) -> None:
    for path in _INDISPENSABLE:
        node = config.get(*path.split("."))
        if isinstance(node, ScalarNode) and node.unread:
            raise UserError(f"{node.where}: {path}: {node.unread}; write this dict out")


def _without_unread(config: MappingNode) -> tuple[MappingNode, dict[str, ScalarNode]]:
    """Return a config without the dicts of ``_LEFT_TO_THE_USER`` that cannot be read, and these by what they set."""
    unread: dict[str, ScalarNode] = {}
    config = MappingNode(dict(config.items), config.where)
    for path, keys in _LEFT_TO_THE_USER.items():
        *above, name = path.split(".")
        table = config.get(*above)
        node = table.get(name) if table is not None else None
        if isinstance(table, MappingNode) and isinstance(node, ScalarNode) and node.unread:
            unread |= dict.fromkeys(keys.split(), node)
            rest = {other: child for other, child in table.items.items() if other != name}
            if above:
                config.items[above[0]] = MappingNode(rest, table.where)
            else:
                config.items = rest
    return config, unread


def _check_task(config: MappingNode) -> None:
    model = config.items.get("model")
    if (multigrid := config.get("multigrid")) is not None:
        raise UserError(
            f"{multigrid.where}: refused: vexp has no multigrid training (clips and batches of changing size; "
            "the epochs and milestones count with it); import the config of the same model without multigrid"
        )
    if not isinstance(model, MappingNode) and (name := config.text("dataset_type")) in OTHER_TASKS:
        raise UserError(f"{config.where}: {name} is for {OTHER_TASKS[name]}; {IMPORTED}")
    if not isinstance(model, MappingNode) and any(key.startswith("pgm_") for key in config.items):
        raise UserError(f"{config.where}: the proposals of BSN are for {OTHER_TASKS['BSN']}; {IMPORTED}")
    if not isinstance(model, MappingNode):
        raise UserError(f"{config.where}: not a config of mmaction2: model = dict(type=...) is missing")
    name, where = model.text("type"), (model.get("type") or model).where
    if name in OTHER_TASKS:
        raise UserError(f"{where}: {name} is for {OTHER_TASKS[name]}; {IMPORTED}")
    if is_detector(model):
        check_detector(model)
    elif name != localization.MODEL and not name.startswith("Recognizer"):
        raise UserError(f"{where}: {name or 'a model without type'} is not a recognition model of mmaction2")


def _convert_0x(result: ConversionResult, model: str | None) -> None:
    config = result.config
    data = config.get("data")
    if not isinstance(data, MappingNode):
        raise UserError(f"{config.where}: the config has no data = dict(train=dict(...)); add the data to it")
    sets = {split: data.get(split) for split in _SPLITS}
    choose_data(result, sets)
    _convert_model(result, model)
    apply_rules(result, data, {**loader_rules("train"), **OMNISOURCE})
    for split in _SPLITS:
        apply_rules(result, data.get(f"{split}_dataloader"), loader_rules(split))
    _convert_splits(result, sets)
    apply_rules(result, config, {"test_cfg": TEST_CFG, "train_cfg": Ignore("it is empty")})
    optimizers.convert_optimizer(result, config.get("optimizer"))
    optimizers.convert_optimizer_config(result, config.get("optimizer_config"))
    optimizers.convert_fp16(result, config.get("fp16"))
    convert_lr_config(result, config.get("lr_config"))
    apply_rules(result, config.get("evaluation"), hooks.EVALUATION, "eval.")
    hooks.convert_module_hooks(result, config.get("module_hooks"))
    hooks.convert_checkpoint(result, config.get("checkpoint_config"))
    hooks.convert_log(result, config.get("log_config"))


def _convert_1x(result: ConversionResult, model: str | None) -> None:
    config = result.config
    loaders = {split: _only_item(result, config.get(f"{split}_dataloader")) for split in _SPLITS}
    sets = {split: loader.get("dataset") if loader is not None else None for split, loader in loaders.items()}
    others = other_loaders(config)
    sets["train"] = with_others(sets["train"], others)
    choose_data(result, sets)
    _convert_model(result, model)
    convert_preprocessor(result, config.get("model", "data_preprocessor") or config.get("data_preprocessor"))
    for split, loader in loaders.items():
        apply_rules(result, loader, loader_rules(split))
    convert_other_loaders(result, others)
    _convert_splits(result, sets)
    optimizers.convert_wrapper(result, config.get("optim_wrapper"))
    convert_schedulers(result, config.get("param_scheduler"))
    for key in ("val_evaluator", "test_evaluator"):
        is_localizer = result.choices["data"] == "activitynet"
        (localization.convert_anet_metric if is_localizer else hooks.convert_evaluator)(result, config.get(key))
    hooks.convert_hooks(result, config.get("default_hooks"))
    hooks.convert_custom_hooks(result, config.get("custom_hooks"))
    hooks.convert_visualizer(result, config.get("visualizer"))
    optimizers.convert_lr_scaling(result, config.get("auto_scale_lr"))


def _only_item(result: ConversionResult, node: Node | None) -> MappingNode | None:
    """Return a dict of the config, also if a comma after it makes it a tuple of one."""
    if isinstance(node, SequenceNode) and len(node.items) == 1:
        result.add_pitfall(node, "a comma at the end makes this a tuple, which mmaction2 refuses; read without it")
        node = node.items[0]
    return node if isinstance(node, MappingNode) else None


def _convert_model(result: ConversionResult, chosen: str | None) -> None:
    model = result.config.items["model"]
    assert isinstance(model, MappingNode)  # _check_task
    if model.text("type") == localization.MODEL:
        localization.convert_localizer(result, model)
        return
    convert_model(result, model, chosen)
    if result.choices.setdefault("loss", "cross_entropy") == "bce":
        result.choices.setdefault("eval", "multi_label")


def _convert_splits(result: ConversionResult, sets: dict[str, Node | None]) -> None:
    """Convert the datasets and pipelines of all splits."""
    if result.choices["data"] == "activitynet":
        for split, node in sets.items():
            localization.convert_feature_dataset(result, node, split)
        return
    for split, node in sets.items():
        convert_split(result, node, split)
    datasets = {split: [dataset for dataset, _ in datasets_of(node)] for split, node in sets.items()}
    pipelines = {split: found[0].get("pipeline") if found else None for split, found in datasets.items()}
    for split, found in datasets.items():
        own = split != "test" or pipelines[split] not in (None, pipelines["val"])  # without its own, that of val
        if found and own:
            convert_pipeline(result, pipelines[split], split, where=found[0].where)
        for dataset in found[1:]:
            check = check_image_pipeline if dataset.text("type") in IMAGE_DATASETS else check_same_pipeline
            check(result, pipelines[split], dataset.get("pipeline"))
    _replace_mirrored_views(result)
    if sets["train"] is None:
        why = "the config is for testing only: it has no training data"
        result.need("data.train.ann_file", None, why)
        result.pitfalls.append((result.config.where, f"{why}, and its training pipeline here is that of the test"))
        _copy_pipeline(result, "val" if "val" in result.steps else "test", "train")
    if sets["val"] is None:
        result.set_implied("data.val.from_split", "train", "the config has no validation data; eval=never")
        result.choices["eval"] = "never"
        _copy_pipeline(result, "train", "val")


def _copy_pipeline(result: ConversionResult, split: str, to: str) -> None:
    if split not in result.steps:
        raise UserError(f"{result.config.where}: no dataset has a pipeline; without one there are no samples")
    result.steps[to] = dict(result.steps[split])
    for key, given in list(result.values.items()):
        if key.startswith(f"pipeline.{split}."):
            result.values[key.replace(split, to, 1)] = Value(given.value, None, f"as in {split}")


def _replace_mirrored_views(result: ConversionResult) -> None:
    """Replace TenCrop if classes have a direction: its mirrored views show another class."""
    if "data.flip_label_map" not in result.values:
        return
    for split, steps in result.steps.items():
        for name, option in steps.items():
            key = f"pipeline.{split}.{name}.crop_size"
            size = result.values.get(key)
            if option == "ten_crop" and size is not None and size.node is not None:
                steps[name] = "center_crop"
                why = "half of TenCrop's views are mirrored, with the label of another class"
                result.record(size.node, "changed", key, f"{why}; the center is used instead")


# --- counting --------------------------------------------------------------------------------------------------------


def _counters(result: ConversionResult, *, by_epoch: bool) -> list[str]:
    """List the keys that count epochs, or those that count steps."""
    units = {
        "eval.by_epoch": ("eval.interval", "eval.start"),
        "checkpoint.by_epoch": ("checkpoint.interval",),
        "lr_policy.by_epoch": ("lr_policy.step", "lr_policy.periods"),
        "lr_policy.warmup_by_epoch": ("lr_policy.warmup_iters",),
    }
    keys = ["epochs"] if by_epoch else ["log.interval", "max_steps", "eval.precise_bn"]
    if not (by_epoch or result.value("lr_policy.by_epoch", True)):
        keys.append("lr_policy.total_steps")
    for unit, counters in units.items():
        keys += counters if bool(result.value(unit, unit != "lr_policy.warmup_by_epoch")) == by_epoch else ()
    for key in result.values:
        phase, _, name = key.rpartition(".")
        if phase.startswith("lr_policy.phases.") and name in ("begin", "end", "step", "period"):
            keys += [key] if result.value(f"{phase}.by_epoch", True) == by_epoch else []
    return keys


def _count_in_steps(result: ConversionResult) -> None:
    """Divide counts by the number of accumulated batches: an iteration of mmcv is a batch, a step of vexp an update."""
    count = result.value("grad.accumulate", 1)
    if count == 1:
        return
    count = int(count)
    why = f"counted in updates, of {count} batches each"
    _rescale(result, _counters(result, by_epoch=False), lambda n: math.ceil(n / count), why)
    policy, stepwise = result.choices["lr_policy"], not result.value("lr_policy.by_epoch", True)
    if stepwise and policy == "inv":
        _rescale(result, ["lr_policy.gamma"], lambda gamma: gamma * count, why)
    exponential = ["lr_policy.gamma"] if stepwise and policy == "exp" else []
    _rescale(result, exponential + _gammas_of_every_step(result), lambda gamma: gamma**count, why)


def _gammas_of_every_step(result: ConversionResult) -> list[str]:
    """List the factors of a chain's phases that multiply at every step."""
    phases = [key.removesuffix(".shape") for key, given in result.values.items()
              if key.startswith("lr_policy.phases.") and key.endswith(".shape") and given.value == "exp"]  # fmt: skip
    return [
        f"{phase}.gamma"
        for phase in phases
        if result.value(f"{phase}.every_step", False) or not result.value(f"{phase}.by_epoch", True)
    ]


def _rescale(result: ConversionResult, keys: Sequence[str], count: Callable[[Any], Any], why: str) -> None:
    for key in keys:
        given = result.values.get(key)
        if given is None or given.value in (None, -1, FILL_IN):
            continue
        value = [count(entry) for entry in given.value] if isinstance(given.value, list) else count(given.value)
        result.values[key] = Value(value, given.node, given.remark or why)
        if given.node is not None:
            result.record(given.node, "carried", key, why)


# --- what is left ----------------------------------------------------------------------------------------------------


def _record_rest(result: ConversionResult, source: Source) -> None:
    """Record the outcome of every leaf that no rule has read."""
    lines = list(source.lines())
    wholes = {id(part): leaf for _, leaf in lines if isinstance(leaf, ScalarNode) for part in leaf.all_parts()}
    replaced = {id(leaf): where for _, node, where in source.replaced for _, leaf in node.leaves()}
    known = {*runtime.ROOT, *_READ[0], *_READ[1]}
    used = {id(leaf) for key, node in source.config.items.items() if key in known for _, leaf in node.leaves()}
    for path, leaf in lines:
        if id(leaf) in result.outcomes:
            continue
        if where := replaced.get(id(leaf)):
            result.record(leaf, "replaced", "", f"by {where.file.name}:{where.line}")
        elif whole := wholes.get(id(leaf)):
            result.record(leaf, "part", "", f"of line {whole.where.line}")
        elif path.endswith("._delete_"):
            result.mark_unneeded(leaf, "no effect in a dict that is not merged into that of a base")
        elif id(leaf) in used or not path:  # a variable may have its own name first
            result.mark_unsupported(leaf, getattr(leaf, "unread", "") or "unknown argument, ignored")
        else:
            result.mark_unneeded(leaf, getattr(leaf, "unread", "") or "a variable that nothing uses")
