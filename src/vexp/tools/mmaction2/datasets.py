"""Convert the datasets: the ``data=`` option of each dataset class, its splits and data loaders."""

from __future__ import annotations

from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.tools.mmaction2.backbones import OTHER_TASKS
from vexp.tools.mmaction2.rules import (
    ConversionResult,
    Ignore,
    Map,
    Require,
    Rule,
    Unsupported,
    apply,
    apply_rules,
    handled_elsewhere,
    number,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, UnreadableError, to_python

#: Class of mmaction2 -> option here.
DATASETS: dict[str, str] = {"RawframeDataset": "raw_frames", "VideoDataset": "video_list"}
#: Classes that hold another: how it is named in them.
WRAPPERS = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset")


_FROM_HERE = "the list's paths begin in the folder of the command; null here is the list's own folder"


def _prefix(result: ConversionResult, node: Node, prefix: str) -> None:
    """``data_prefix``: text in 0.x, a dict by kind of file in 1.x."""
    if isinstance(node, MappingNode):
        for key, leaf in node.items.items():
            if key in ("video", "img", "imgs"):
                apply(result, _prefix, leaf, prefix)
            else:
                result.mark_unsupported(leaf, f"only videos and images are supported, not {key}")
        return
    if to_python(node) in ("", None):
        result.set(node, f"{prefix}data_prefix", ".", _FROM_HERE)
        return
    result.set(node, f"{prefix}data_prefix", to_python(node))


def _ann_file(result: ConversionResult, node: Node, prefix: str) -> None:
    try:
        value = to_python(node)
    except UnreadableError:
        result.needed.append(f"{prefix}ann_file")
        raise
    if not isinstance(value, str):
        result.needed.append(f"{prefix}ann_file")
        raise ConfigError("a split has one list; merge the lists into one file")
    result.set(node, f"{prefix}ann_file", value)


def _template(result: ConversionResult, node: Node, prefix: str) -> None:
    template = to_python(node)
    if result.choices["data"] != "raw_frames":
        result.mark_unneeded(node, "only for raw frames")
    elif template in TEMPLATES.values():
        result.mark_default(node, "the template of data.modality")
    else:
        result.set(node, "data.filename_tmpl", template)


def _of_frames(key: str) -> Rule:
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if result.choices["data"] == "raw_frames":
            result.set(node, f"data.{key}", to_python(node))
        else:
            result.mark_unneeded(node, "only for raw frames")

    return rule


def _balance(result: ConversionResult, node: Node, prefix: str) -> None:
    if not to_python(node):
        result.mark_default(node, "samples are drawn as they are listed")
        return
    power = result.config_value("data", "train", "power") or 0
    if not isinstance(power, int | float):
        raise ConfigError("power is not a number")
    result.set(node, "data.train.class_balance", 1 - float(power), "1 - power")


#: Keys of a dataset -> here, below ``data.SPLIT.``.
_SPLIT: dict[str, Rule] = {
    "type": handled_elsewhere,  # the caller's
    "pipeline": handled_elsewhere,  # the caller's
    "ann_file": _ann_file,
    "data_prefix": _prefix,
    "data_root": _prefix,
    "filename_tmpl": _template,
    "start_index": _of_frames("start_index"),
    "modality": lambda result, node, prefix: _modality(result, node),
    "with_offset": _of_frames("with_offset"),
    "multi_class": lambda result, node, prefix: multi_class(result, node, prefix),
    "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
    "test_mode": Ignore("given by the split"),
    "indices": Map("indices"),
    "delimiter": lambda result, node, prefix: result.set(node, "data.separator", to_python(node)),
    "sample_by_class": _balance,
    "power": Ignore("counted into data.train.class_balance"),
    "dynamic_length": Unsupported("clips have one length"),
    "lazy_init": Ignore("lists are read when they are needed"),
    "serialize_data": Ignore("lists are held in shared arrays anyway"),
    "max_refetch": Ignore("data.on_error says what happens to a damaged video"),
    "metainfo": Unsupported("give class names in data.classes"),
    "filter_cfg": Unsupported("filter the list"),
}


def _modality(result: ConversionResult, node: Node) -> None:
    modality = str(to_python(node))
    if modality not in TEMPLATES:
        raise ConfigError(f"there are {', '.join(TEMPLATES)} here")
    if modality == "RGB" or result.choices["data"] == "raw_frames":
        _of_frames("modality")(result, node, "")
    else:
        raise ConfigError("optical flow is read from raw frames: data=raw_frames data.modality=Flow")
    if modality == "Flow":
        result.set_implied("model.channels", result.channels, "optical flow: x and y")


def multi_class(result: ConversionResult, node: Node, prefix: str) -> None:
    """``multi_class`` of a dataset or of a head."""
    if to_python(node):
        result.set(node, "data.multi_label", True)
    else:
        result.mark_default(node, "one label per video")


def choose_data(result: ConversionResult, train: Node | None) -> None:
    """The option of group data, by the training split's class.

    Raises:
        UserError: the data of another task, or a class that is not here.
    """
    inner = unwrapped(train)
    if inner is None:
        where = train.where if train is not None else result.config.where
        if train is None:
            raise UserError(f"{where}: no training data; import the config of the training")
        if isinstance(train, SequenceNode) or (isinstance(train, MappingNode) and "datasets" in train.items):
            raise UserError(f"{where}: several training datasets; leave one, with the lines of all in its ann_file")
        raise UserError(f"{where}: no training dataset with a type; only recognition configs can be imported")
    kind, name = inner.items["type"], inner.text("type")
    if name in OTHER_TASKS:
        raise UserError(f"{kind.where}: {name} is for {OTHER_TASKS[name]}; only video recognition can be imported")
    if name not in DATASETS:
        raise UserError(
            f"{kind.where}: {name or 'this'} is not a dataset of vexp ({', '.join(DATASETS)} are read); use a custom "
            "dataset, docs/howto/own_code.md"
        )
    result.choose("data", DATASETS[name])
    result.channels = 2 if inner.text("modality") == "Flow" else 3


def unwrapped(node: Node | None) -> MappingNode | None:
    """The dataset with files, within whatever repeats or balances it."""
    while isinstance(node, MappingNode) and node.text("type") in WRAPPERS:
        node = node.get("dataset")
    return node if isinstance(node, MappingNode) and node.text("type") else None


def convert_split(result: ConversionResult, node: Node | None, split: str) -> None:
    """One dataset, without its pipeline."""
    if isinstance(node, SequenceNode):
        result.mark_unsupported(node, "a split has one dataset; merge the lists into one file")
        result.needed += [f"data.{split}.ann_file"] if split != "test" else []
        return
    if not isinstance(node, MappingNode):
        return
    if node.text("type") in WRAPPERS:
        _convert_wrapper(result, node, split)
        return
    kind = node.items.get("type")
    if kind is not None and DATASETS.get(node.text("type")) == result.choices["data"]:
        result.record(kind, "carried", f"data={result.choices['data']}")
    elif kind is not None:
        result.mark_unsupported(kind, f"one kind of data for all splits: data={result.choices['data']}")
    apply_rules(result, node, _SPLIT, f"data.{split}.")
    if not any(key in node.items for key in ("data_prefix", "data_root")):
        result.set_implied(f"data.{split}.data_prefix", ".", _FROM_HERE)


def _convert_wrapper(result: ConversionResult, node: MappingNode, split: str) -> None:
    kind = node.text("type")
    rules: dict[str, Rule] = {
        "times": _times,
        "oversample_thr": Unsupported(
            "data.train.class_balance=0.5 draws rare classes more often, in an epoch of equal length"
        ),
    }
    if kind == "RepeatDataset":
        result.mark_unneeded(node.items["type"], "its epochs are counted, see times")
    else:
        result.mark_unsupported(
            node.items["type"], "see data.train.class_balance; several lists: put them into one file"
        )
    apply_rules(result, node, rules)
    convert_split(result, node.get("dataset"), split)


def _times(result: ConversionResult, node: Node, prefix: str) -> None:
    times = number(node)
    result.repeats = int(times)
    result.record(node, "changed", "epochs", (
        f"datasets are not repeated: all numbers of epochs are multiplied by {times}"
    ))  # fmt: skip


def _workers(result: ConversionResult, node: Node, prefix: str) -> None:
    result.set(node, "data.num_workers", to_python(node))


def _sampler(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a dict; see data.train.shuffle")
    apply_rules(result, node, {
        "type": Require("DefaultSampler", "samples are drawn in an order of their own each epoch, data.train.shuffle"),
        "shuffle": Map("shuffle") if prefix == "data.train." else Require(False, "evaluation keeps the list's order"),
        "seed": Unsupported("seed is for everything"), "round_up": Ignore("handled by dist"),
    }, prefix)  # fmt: skip


def loader_rules(split: str) -> dict[str, Rule]:
    """Keys of a data loader, by both generations' names."""
    train = split == "train"
    sizes: dict[str, Rule] = {
        "train": Map("data.batch_size"), "val": Map("data.eval_batch_size"),
        "test": Ignore("data.eval_batch_size; many views go through the model in parts that fit by themselves"),
    }  # fmt: skip
    size = sizes[split]
    workers: Rule = _workers if train else Ignore("data.num_workers is for all splits")
    return {
        "videos_per_gpu": size, "batch_size": size, "workers_per_gpu": workers, "num_workers": workers,
        "shuffle": Map("data.train.shuffle") if train else Require(False, "evaluation keeps the list's order"),
        "drop_last": Map("data.train.drop_last") if train else Require(False, "every video is evaluated"),
        "persistent_workers": Ignore("workers are persistent"),
        "pin_memory": Ignore("batches are in shared memory"), "prefetch_factor": Ignore("workers always prefetch"),
        "sampler": lambda result, node, prefix: _sampler(result, node, f"data.{split}."),
        "collate_fn": _collate,
        "multiprocessing_context": Map("data.mp_context"),
        "dataset": handled_elsewhere,  # the caller's
    }  # fmt: skip


def _collate(result: ConversionResult, node: Node, prefix: str) -> None:
    name = node.text("type") if isinstance(node, MappingNode) else str(to_python(node))
    if name in ("pseudo_collate", "default_collate"):
        result.mark_unneeded(node, "views are put into one array")
    else:
        raise ConfigError("repeated augmentation is not built; raise data.batch_size")
