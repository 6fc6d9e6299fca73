"""Convert the datasets: the ``data=`` option of each dataset class, its splits and data loaders."""

from __future__ import annotations

import posixpath
from typing import Any

from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.tools.mmaction2.backbones import OTHER_TASKS
from vexp.tools.mmaction2.detectors import DETECTOR
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

#: Class of mmaction2 -> option of vexp.
DATASETS: dict[str, str] = {"RawframeDataset": "raw_frames", "VideoDataset": "video_list",
                            "RepeatAugDataset": "video_list", "AVADataset": "ava"}  # fmt: skip
#: Classes that contain another dataset.
WRAPPERS = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset")
_WORKING_DIRECTORY = "the list's paths begin in the folder of the command; null here is the list's own folder"


#: Key of ``data_prefix`` that the class of a dataset reads (1.x).
_PREFIXES = {"raw_frames": "img", "video_list": "video", "ava": "img"}


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
    value = node.scalar()
    if not isinstance(value, str):
        node.to_python()  # raises if it is unreadable
        result.need(f"{prefix}ann_file", node, "a split has one list; merge the lists into one file")
        return
    result.set(node, f"{prefix}ann_file", value)


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
def _sample_by_class(result: ConversionResult, node: Node, prefix: str) -> None:
    if not node.to_python():
        result.mark_default(node, "samples are drawn as they are listed")
        return
    power = result.config.scalar("data", "train", "power") or 0
    if not isinstance(power, int | float):
        raise ConfigError("power is not a number")
    result.set(node, "data.train.class_balance", 1 - float(power), "1 - power")


@sets("/data.modality")
def _modality(result: ConversionResult, node: Node, prefix: str) -> None:
    modality = str(node.to_python())
    if modality not in TEMPLATES:
        raise ConfigError(f"there are {', '.join(TEMPLATES)} here")
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
    "sample_by_class": _sample_by_class, "power": Ignore("counted into data.train.class_balance"),
    "dynamic_length": Unsupported("clips have one length"),
    "lazy_init": Ignore("lists are read when they are needed"),
    "serialize_data": Ignore("lists are held in shared arrays anyway"),
    "max_refetch": Ignore("data.on_error says what happens to a damaged video"),
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
    train = next((dataset for dataset in sets.values() if dataset is not None), None)
    dataset = unwrapped(train)
    if dataset is None:
        problem = "no training dataset with a type; only recognition configs can be imported"
        if train is None:
            problem = "the config has no data for training, validation or test; add the data to it"
        elif isinstance(train, SequenceNode) or train.get("datasets") is not None:
            problem = "several datasets in one split; leave one, with the lines of all in its ann_file"
        raise UserError(f"{(train or result.config).where}: {problem}")
    where, name = dataset.items["type"].where, dataset.text("type")
    if name in OTHER_TASKS:
        raise UserError(f"{where}: {name} is for {OTHER_TASKS[name]}; only video recognition can be imported")
    if name not in DATASETS:
        raise UserError(
            f"{where}: {name or 'this'} is not a dataset of vexp ({', '.join(DATASETS)} are read); use a custom "
            "dataset, docs/howto/own_code.md"
        )
    model, task = result.config.text("model", "type"), "detection" if DATASETS[name] == "ava" else "recognition"
    if (task == "detection") != (model == DETECTOR):
        raise UserError(f"{where}: {name} is for {task}, not for {model}")
    result.choose("data", DATASETS[name])
    result.channels = 2 if dataset.text("modality") == "Flow" else 3


def unwrapped(node: Node | None) -> MappingNode | None:
    """Return the dataset with files, without the datasets that repeat or balance it."""
    while isinstance(node, MappingNode) and node.text("type") in WRAPPERS:
        node = node.get("dataset")
    return node if isinstance(node, MappingNode) and node.text("type") else None


def convert_split(result: ConversionResult, node: Node | None, split: str) -> None:
    """Convert one dataset, without its pipeline."""
    if isinstance(node, SequenceNode):
        why = "a split has one dataset; merge the lists into one file"
        result.mark_unsupported(node, why)
        if split != "test":
            result.need(f"data.{split}.ann_file", None, why)
    if not isinstance(node, MappingNode):
        return
    name, chosen = node.text("type"), result.choices["data"]
    if name in WRAPPERS:
        apply_rules(result, node, WRAPPER)
        convert_split(result, node.get("dataset"), split)
        return
    if (kind := node.get("type")) is not None and DATASETS.get(name) == chosen:
        result.record(kind, "carried", f"data={chosen}")
    elif kind is not None:
        result.mark_unsupported(kind, f"one kind of data for all splits: data={chosen}")
    apply_rules(result, node, {**SPLIT, **AVA} if chosen == "ava" else SPLIT, f"data.{split}.")
    if chosen == "ava":
        result.set_implied("data.raw_frames", True, "AVADataset reads folders of images")
    result.set_implied(f"data.{split}.data_prefix", ".", _WORKING_DIRECTORY)
    if (root := node.get("data_root")) is not None:
        apply(result, _data_root, root, f"data.{split}.")


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
    if node.to_python() == "RepeatDataset":
        result.mark_unneeded(node, "its epochs are counted, see times")
    else:
        raise ConfigError("see data.train.class_balance; several lists: put them into one file")


def _times(result: ConversionResult, node: Node, prefix: str) -> None:
    times = number(node)
    result.repeats = int(times)
    remark = f"RepeatDataset(times={times}): epochs and intervals were multiplied by {times}"
    result.record(node, "carried", "epochs", remark)


WRAPPER: dict[str, Rule] = {
    "type": _wrapper_type, "times": _times,
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
