"""Convert the datasets: the ``data=`` option of each dataset class, its splits and data loaders."""

from __future__ import annotations

import posixpath
from typing import Any

from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.tools.mmaction2.detectors import DETECTOR
from vexp.tools.mmaction2.refused import IMPORTED, OTHER_TASKS
from vexp.tools.mmaction2.result import ConversionResult, Value
from vexp.tools.mmaction2.rules import (
    Function,
    Ignore,
    Map,
    Require,
    Rule,
    Unsupported,
    handled_elsewhere,
    number,
    sets,
)
from vexp.tools.mmaction2.tables import Section, all_of, apply, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode

#: Datasets of image classification, for joint training (RecognizerOmni).
IMAGE_DATASETS = ("mmcls.ImageNet", "mmpretrain.ImageNet")
#: Class of mmaction2 -> option of vexp.
DATASETS: dict[str, str] = {
    "RawframeDataset": "raw_frames",
    "AVADataset": "ava",
    **dict.fromkeys(("VideoDataset", "RepeatAugDataset", "ImageDataset", "RawVideoDataset"), "video_list"),
    **dict.fromkeys(IMAGE_DATASETS, "video_list"),
    "PoseDataset": "skeleton",
    "ActivityNetDataset": "activitynet",
}
#: Classes that contain other datasets.
WRAPPERS = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset")
_WORKING_DIRECTORY = "the list's paths begin in the folder of the command; null here is the list's own folder"


#: Key of ``data_prefix`` that the class of a dataset reads (1.x).
_PREFIXES = {"raw_frames": "img", "video_list": "video", "skeleton": "skeleton", "ava": "img"}


@sets("data_prefix")
def _data_prefix(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``data_prefix``: text in 0.x, a dict by kind of file in 1.x, of which each dataset reads one."""
    if isinstance(node, MappingNode):
        for key, leaf in node.items.items():
            read = key == _PREFIXES[result.choices["data"]]
            apply(result, _data_prefix if read else Ignore("the dataset does not read it"), leaf, prefix)
    elif node.to_python() in ("", None):
        result.set(node, f"{prefix}data_prefix", ".", _WORKING_DIRECTORY)
    else:
        result.set(node, f"{prefix}data_prefix", node.to_python())


@sets("ann_file")
def _ann_file(result: ConversionResult, node: Node, prefix: str) -> None:
    value = node.to_python()
    paths = list(value) if isinstance(value, list | tuple) else [value]
    if paths and all(isinstance(path, str) and path for path in paths):
        result.set(node, f"{prefix}ann_file", value)
    else:
        result.need(f"{prefix}ann_file", node, "the config names no list")


@sets("/data.filename_tmpl")
def _filename_tmpl(result: ConversionResult, node: Node, prefix: str) -> None:
    template = node.to_python()
    if result.choices["data"] == "ava":
        result.set(node, "data.filename_tmpl", template)
    elif result.choices["data"] == "raw_frames" and template in TEMPLATES.values():
        result.mark_default(node, "the template of data.modality")
    else:
        _of_raw_frames("filename_tmpl")(result, node, prefix)


def _of_raw_frames(key: str) -> Function:
    @sets(f"/data.{key}")
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if result.choices["data"] == "raw_frames":
            result.set(node, f"data.{key}", node.to_python())
        else:
            result.mark_unneeded(node, "only for raw frames")

    return rule


@sets("/data.train.class_balance")
def _power(result: ConversionResult, node: Node, prefix: str) -> None:
    result.set(node, f"{prefix}class_balance", 1 - float(number(node)), "1 - power")


@sets("/data.file_name")
def _part_name(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``clipname_tmpl``: it is below the folder of the raw video if it begins with a letter."""
    template = str(node.to_python())
    name = ("{folder}/" if template[:1].isalpha() else "{folder}") + template.replace("{}", "{part}")
    if name == "{folder}/part_{part}.mp4":
        result.mark_default(node, "the default of data.file_name")
    else:
        result.set(node, "data.file_name", name)


def _class_prob(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``class_prob`` of PoseDataset (0.x), which only the sampler of ``sample_by_class`` reads."""
    if result.config.scalar("data", "train", "sample_by_class"):
        raise ConfigError("vexp has no probability of each class; see data.train.class_balance")
    result.add_pitfall(node, "class_prob has no effect in mmaction2 without sample_by_class=True; left out here")
    result.mark_unneeded(node, "no effect without sample_by_class")


@sets("/data.modality")
def _modality(result: ConversionResult, node: Node, prefix: str) -> None:
    modality = str(node.to_python())
    if modality not in TEMPLATES:
        raise ConfigError(f"supported: {', '.join(TEMPLATES)}")
    if modality != "RGB" and result.choices["data"] != "raw_frames":
        raise ConfigError("optical flow is read from raw frames: data=raw_frames data.modality=Flow")
    _of_raw_frames("modality")(result, node, prefix)
    if modality == "Flow":
        result.set_implied("model.channels", result.channels, "optical flow: x and y")


#: ``multi_class`` of a dataset or of a head.
MULTI_CLASS = Map("/data.multi_label", bool, off="one label per video")
#: Arguments of a dataset, below ``data.SPLIT.`` of vexp.
SPLIT: dict[str, Rule] = {
    **all_of("type pipeline", handled_elsewhere), "ann_file": _ann_file, "data_prefix": _data_prefix,
    "data_root": sets("data_prefix")(handled_elsewhere), "filename_tmpl": _filename_tmpl,
    "start_index": _of_raw_frames("start_index"),
    "modality": _modality, "with_offset": _of_raw_frames("with_offset"), "multi_class": MULTI_CLASS,
    "indices": Map("indices"), "delimiter": Map("/data.separator"), "test_mode": Ignore("given by the split"),
    "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
    "num_repeats": Map("repeat_augment"),
    "sample_once": Require(True, "all repeats of a video have the same frames"),
    "sample_by_class": sets("/data.train.class_balance")(Ignore("power says how much")), "power": _power,
    "clipname_tmpl": _part_name, "sampling_strategy": Require("positive", "only positive parts are sampled"),
    "dynamic_length": Unsupported("clips have one length"),
    "lazy_init": Ignore("lists are read when they are needed"),
    "serialize_data": Ignore("lists are held in shared arrays anyway"),
    "max_refetch": Ignore("data.on_error says what happens to a damaged video"),
    "split": Map("split"), "box_thr": Map("/data.box_thr", float),
    "valid_ratio": Map("/data.valid_ratio", lambda ratio: 0.0 if ratio is None else float(ratio)),
    "class_prob": _class_prob,
    "metainfo": Unsupported("give class names in data.classes"), "filter_cfg": Unsupported("filter the list"),
}  # fmt: skip


def _classes(value: Any) -> list[int] | None:
    """Return the numbers of the classes; mmaction2 1.x adds a 0 for its background."""
    return None if value is None else [int(number) for number in value if number != 0]


_FROM_ONE = Ignore("image 1 is the frame at data.timestamp_start: data.start_index=1")
#: Arguments of AVADataset that a dataset of videos does not have.
AVA: dict[str, Rule] = {
    **{key: Map(key) for key in ("exclude_file", "proposal_file")},
    "label_file": Map("/data.label_map"), "custom_classes": Map("/data.custom_classes", _classes),
    "person_det_score_thr": Map("/data.person_det_score_thr"), "num_max_proposals": Map("/data.num_max_proposals"),
    "timestamp_start": Map("/data.timestamp_start", float), "fps": Map("/data.fps", float),
    "timestamp_end": Ignore("seen from the video"), "start_index": _FROM_ONE,
    "use_frames": Require(True, "AVADataset reads images; for videos leave data.raw_frames out"),
}  # fmt: skip


def choose_data(result: ConversionResult, sets: dict[str, Node | None]) -> None:
    """Choose the option of group data, by the class of the training dataset, or of that of the test.

    Raises:
        UserError: If the dataset belongs to another task, or vexp does not have its class.
    """
    train = next((node for node in sets.values() if node is not None), None)
    if train is None:
        raise UserError(
            f"{result.config.where}: the config has no data for training, validation or test; add the data to it"
        )
    found = [dataset for dataset, _ in datasets_of(train)]
    if not found:
        raise UserError(f"{train.where}: no training dataset with a type; only recognition configs can be imported")
    for dataset in found:
        _check_dataset(dataset, result.config.text("model", "type"))
    kinds = {DATASETS[dataset.text("type")]: dataset for dataset in found}
    if len(kinds) > 1:
        names = " and ".join(dict.fromkeys(dataset.text("type") for dataset in found))
        raise UserError(
            f"{found[-1].where}: refused: {names} in one split; vexp reads raw frames or files in all lists of a "
            "split: leave the datasets of one kind"
        )
    result.choose("data", next(iter(kinds)))
    result.channels = 2 if found[0].text("modality") == "Flow" else 3


def _check_dataset(dataset: MappingNode, model: str) -> None:
    where, name = dataset.items["type"].where, dataset.text("type")
    if name in OTHER_TASKS:
        raise UserError(f"{where}: {name} is for {OTHER_TASKS[name]}; {IMPORTED}")
    if name not in DATASETS:
        raise UserError(
            f"{where}: {name or 'this'} is not a dataset of vexp ({', '.join(DATASETS)} are read); use a custom "
            "dataset, docs/howto/own_code.md"
        )
    if (name == "AVADataset") != (model == DETECTOR):
        task = "detection" if name == "AVADataset" else "recognition"
        raise UserError(f"{where}: {name} is for {task}, not for {model}")


def datasets_of(node: Node | None, times: float = 1) -> list[tuple[MappingNode, float]]:
    """Return the datasets of a split that have files, and how often each is repeated."""
    if isinstance(node, SequenceNode):
        return [found for inner in node.items for found in datasets_of(inner, times)]
    if not isinstance(node, MappingNode) or not (name := node.text("type")):
        return []
    if name not in WRAPPERS:
        return [(node, times)]
    repeats = node.scalar("times") if name == "RepeatDataset" else None
    repeats = repeats if isinstance(repeats, int | float) and not isinstance(repeats, bool) and repeats > 0 else 1
    inner = node.get("dataset") or node.get("datasets")
    return datasets_of(inner, times * repeats)


def convert_split(result: ConversionResult, node: Node | None, split: str) -> None:
    """Convert the datasets of a split, without their pipelines."""
    _convert_wrappers(result, node, split)
    found = datasets_of(node)
    prefixes = [f"data.{split}.{number}." for number in range(len(found))] if len(found) > 1 else [f"data.{split}."]
    for (dataset, _), prefix in zip(found, prefixes, strict=False):
        _convert_dataset(result, dataset, split, prefix)
    if len(found) > 1:
        _merge(result, f"data.{split}.", prefixes)
    times = [times for _, times in found]
    if split == "train" and times and set(times) != {1}:
        result.set_implied("data.train.repeat", times if len(set(times)) > 1 else times[0], "RepeatDataset")


def _convert_wrappers(result: ConversionResult, node: Node | None, split: str) -> None:
    """Record the arguments of the datasets that contain others."""
    if isinstance(node, SequenceNode):
        for inner in node.items:
            _convert_wrappers(result, inner, split)
    elif isinstance(node, MappingNode) and node.text("type") in WRAPPERS:
        apply_rules(result, node, WRAPPER, f"data.{split}.")
        for key in ("dataset", "datasets"):
            _convert_wrappers(result, node.get(key), split)


def _convert_dataset(result: ConversionResult, node: MappingNode, split: str, prefix: str) -> None:
    kind, name, chosen = node.items["type"], node.text("type"), result.choices["data"]
    if DATASETS.get(name) == chosen:
        result.record(kind, "carried", f"data={chosen}")
    else:
        result.mark_unsupported(kind, f"one kind of data for all splits: data={chosen}")
    rules = {**SPLIT, **AVA} if chosen == "ava" else dict(SPLIT)
    if not node.scalar("sample_by_class"):
        rules["power"] = Ignore("has no effect without sample_by_class")
    if name == "RepeatAugDataset":
        rules["num_repeats"] = Map("repeat_augment", implied=4)
        if "sample_once" not in node.items:
            why = f"{name} draws other frames for each repeat of a video (sample_once=False); vexp draws them once"
            result.lacking.append((node.where, why))
    apply_rules(result, node, rules, prefix)
    if chosen == "ava":
        result.set_implied("data.raw_frames", True, "AVADataset reads folders of images")
    result.set_implied(f"{prefix}data_prefix", ".", _WORKING_DIRECTORY)
    if (root := node.get("data_root")) is not None:
        apply(result, _data_root, root, prefix)
    if name == "RawVideoDataset" and split == "train":
        result.set_implied("data.train.one_per_group", True, "RawVideoDataset: one part of each raw video in an epoch")
        if not node.text("ann_file").endswith(".json"):
            result.set_implied("data.format", "raw_videos", "the list of RawVideoDataset")


def _merge(result: ConversionResult, key: str, prefixes: list[str]) -> None:
    """Join the values of several datasets: lists and prefixes one by one, everything else if all are equal."""
    names = dict.fromkeys(name.removeprefix(prefix) for prefix in prefixes
                          for name in (*result.values, *result.needed) if name.startswith(prefix))  # fmt: skip
    for name in names:
        given = [result.values.pop(prefix + name, None) for prefix in prefixes]
        whys = [why for prefix in prefixes if (why := result.needed.pop(prefix + name, None)) is not None]
        values = [None if each is None else each.value for each in given]
        nodes = [each.node for each in given if each is not None and each.node is not None]
        for prefix in prefixes:
            result.rename_target(prefix + name, key + name)
        if whys:
            result.need(key + name, None, whys[0])
        elif name == "ann_file":
            flat = [path for value in values for path in (value if isinstance(value, list) else [value])]
            result.values[key + name] = Value(flat, SequenceNode(nodes, nodes[0].where))
        elif given[0] is not None and all(value == values[0] for value in values):
            result.values[key + name] = given[0]
        elif name in ("data_prefix", "class_balance"):
            values = [0.0 if value is None else value for value in values]  # every dataset has a prefix
            result.values[key + name] = Value(values, SequenceNode(nodes, nodes[0].where) if nodes else None)
        else:
            for node in nodes:
                result.mark_unsupported(node, f"{key}{name} is one value for all lists of the split")


@sets("data_prefix")
def _data_root(result: ConversionResult, node: Node, prefix: str) -> None:
    """Put ``data_root`` in front of the list and of the prefix, as mmengine does (1.x)."""
    root = str(node.to_python() or "")
    for key in (f"{prefix}ann_file", f"{prefix}data_prefix"):
        given = result.values.get(key)
        if given is not None and isinstance(given.value, str):
            joined = posixpath.normpath(posixpath.join(root, given.value))
            result.values[key] = Value(joined, given.node, "below data_root")
            result.record(node, "carried", key)


def _wrapper_type(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python() == "ClassBalancedDataset":
        raise ConfigError("see data.train.class_balance")
    key = "repeat" if node.to_python() == "RepeatDataset" else "ann_file"
    result.mark_unneeded(node, f"{prefix}{key}")


@sets("repeat")
def _times(result: ConversionResult, node: Node, prefix: str) -> None:
    number(node)
    if prefix == "data.train.":
        result.record(node, "carried", "data.train.repeat")
    else:
        result.mark_unneeded(node, "every sample is evaluated once")


WRAPPER: dict[str, Rule] = {
    "type": _wrapper_type, "times": _times, "ignore_keys": Ignore("the datasets share their classes"),
    "oversample_thr": Unsupported(
        "data.train.class_balance=0.5 draws rare classes more often, in an epoch of equal length"
    ),
}  # fmt: skip


def _collate_fn(result: ConversionResult, node: Node, prefix: str) -> None:
    name = node.text("type") if isinstance(node, MappingNode) else str(node.to_python())
    if name not in ("pseudo_collate", "default_collate", "repeat_pseudo_collate"):
        raise ConfigError("vexp formats the batch for the model")
    result.mark_unneeded(node, "views are put into one array")


_IN_ORDER = Require(False, "evaluation keeps the list's order")
_BATCH_SIZES: dict[str, Rule] = {
    "train": Map("data.batch_size"), "val": Map("data.eval_batch_size"),
    "test": Ignore("data.eval_batch_size; many views go through the model in parts that fit by themselves"),
}  # fmt: skip


def loader_rules(split: str) -> dict[str, Rule]:
    """Return the rules of a data loader, with the names of both versions."""
    train = split == "train"
    shuffle = Map("data.train.shuffle") if train else _IN_ORDER
    sampler: dict[str, Rule] = {
        "type": Require("DefaultSampler", "samples are drawn in an order of their own each epoch, data.train.shuffle"),
        "shuffle": shuffle, "seed": Unsupported("seed is for everything"), "round_up": Ignore("handled by dist"),
    }  # fmt: skip
    return {
        **all_of("videos_per_gpu batch_size", _BATCH_SIZES[split]),
        **all_of("workers_per_gpu num_workers",
                 Map("data.num_workers") if train else Ignore("data.num_workers is for all splits")),
        "shuffle": shuffle,
        "drop_last": Map("data.train.drop_last") if train else Require(False, "every video is evaluated"),
        "persistent_workers": Ignore("workers are persistent"),
        "pin_memory": Ignore("batches are in shared memory"), "prefetch_factor": Ignore("workers always prefetch"),
        "sampler": Section(sampler, otherwise=Unsupported("is not a dict; see data.train.shuffle", off=())),
        "collate_fn": _collate_fn,
        "multiprocessing_context": Map("data.mp_context"),
        "dataset": handled_elsewhere,
    }  # fmt: skip
