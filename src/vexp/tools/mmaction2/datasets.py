"""The data: which data set class of mmaction2 is which ``data=`` here, its splits and their loaders."""

from __future__ import annotations

from vexp.core.errors import UserError
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
    elsewhere,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, UnreadableError, plain

#: Class of mmaction2 -> option here.
DATASETS: dict[str, str] = {"RawframeDataset": "raw_frames", "VideoDataset": "video_list"}
#: Classes that hold another: how it is named in them.
WRAPPERS = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset")


_FROM_HERE = "the list's paths begin in the folder of the command; null here is the list's own folder"


def _prefix(draft: ConversionResult, node: Node, prefix: str) -> None:
    """``data_prefix``: text in 0.x, a dict by kind of file in 1.x."""
    if isinstance(node, MappingNode):
        for key, leaf in node.items.items():
            if key in ("video", "img", "imgs"):
                apply(draft, _prefix, leaf, prefix)
            else:
                draft.refuse(leaf, f"there are videos and images here, no {key}")
        return
    if plain(node) in ("", None):
        draft.carry(node, f"{prefix}data_prefix", ".", _FROM_HERE)
        return
    draft.carry(node, f"{prefix}data_prefix", plain(node))


def _ann_file(draft: ConversionResult, node: Node, prefix: str) -> None:
    try:
        value = plain(node)
    except UnreadableError:
        draft.needed.append(f"{prefix}ann_file")
        raise
    if not isinstance(value, str):
        draft.needed.append(f"{prefix}ann_file")
        raise ValueError("one list a split here; put the lists into one file")
    draft.carry(node, f"{prefix}ann_file", value)


def _template(draft: ConversionResult, node: Node, prefix: str) -> None:
    template = plain(node)
    if draft.choices["data"] != "raw_frames":
        draft.drop(node, "of raw frames; these are videos")
    elif template in TEMPLATES.values():
        draft.same(node, "the template of data.modality")
    else:
        draft.carry(node, "data.filename_tmpl", template)


def _of_frames(key: str) -> Rule:
    def rule(draft: ConversionResult, node: Node, prefix: str) -> None:
        if draft.choices["data"] == "raw_frames":
            draft.carry(node, f"data.{key}", plain(node))
        else:
            draft.drop(node, "of raw frames; these are videos")

    return rule


def _balance(draft: ConversionResult, node: Node, prefix: str) -> None:
    if not plain(node):
        draft.same(node, "samples are drawn as they are listed")
        return
    power = draft.config_word("data", "train", "power") or 0
    draft.carry(node, "data.train.class_balance", 1 - float(power), "1 - power")


#: Keys of a data set -> here, below ``data.SPLIT.``.
_SPLIT: dict[str, Rule] = {
    "type": elsewhere,  # the caller's
    "pipeline": elsewhere,  # the caller's
    "ann_file": _ann_file,
    "data_prefix": _prefix,
    "data_root": _prefix,
    "filename_tmpl": _template,
    "start_index": _of_frames("start_index"),
    "modality": lambda draft, node, prefix: _modality(draft, node),
    "with_offset": _of_frames("with_offset"),
    "multi_class": lambda draft, node, prefix: multi_class(draft, node, prefix),
    "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
    "test_mode": Ignore("said by the split"),
    "indices": Map("indices"),
    "delimiter": lambda draft, node, prefix: draft.carry(node, "data.separator", plain(node)),
    "sample_by_class": _balance,
    "power": Ignore("counted into data.train.class_balance"),
    "dynamic_length": Unsupported("clips have one length"),
    "lazy_init": Ignore("lists are read when they are needed"),
    "serialize_data": Ignore("lists are held in shared arrays anyway"),
    "max_refetch": Ignore("data.on_error says what happens to a damaged video"),
    "metainfo": Unsupported("give class names in data.classes"),
    "filter_cfg": Unsupported("filter the list"),
}


def _modality(draft: ConversionResult, node: Node) -> None:
    modality = plain(node)
    if modality not in TEMPLATES:
        raise ValueError(f"there are {', '.join(TEMPLATES)} here")
    if modality == "RGB" or draft.choices["data"] == "raw_frames":
        _of_frames("modality")(draft, node, "")
    else:
        raise ValueError("optical flow is read from raw frames: data=raw_frames data.modality=Flow")
    if modality == "Flow":
        draft.imply("model.channels", draft.channels, "optical flow: x and y")


def multi_class(draft: ConversionResult, node: Node, prefix: str) -> None:
    """``multi_class`` of a data set or of a head."""
    if plain(node):
        draft.carry(node, "data.multi_label", True)
    else:
        draft.same(node, "one label a video")


def choose_data(draft: ConversionResult, train: Node | None) -> None:
    """The option of group data, by the training split's class.

    Raises:
        UserError: the data of another task, or a class that is not here.
    """
    inner = unwrapped(train)
    if inner is None:
        where = train.where if train is not None else draft.config.where
        if train is None:
            raise UserError(
                f"{where}: no training data, a config for testing alone; import the one that trained the net"
            )
        if isinstance(train, SequenceNode) or (isinstance(train, MappingNode) and "datasets" in train.items):
            raise UserError(f"{where}: several training data sets; leave one, with the lines of all in its ann_file")
        raise UserError(f"{where}: no training data set with a type; only recognition configs can be imported")
    kind, name = inner.items["type"], inner.word("type")
    if name in OTHER_TASKS:
        raise UserError(f"{kind.where}: {name} is for {OTHER_TASKS[name]}; only recognition of videos can be imported")
    if name not in DATASETS:
        raise UserError(
            f"{kind.where}: {name or 'this'} is no data set of vexp ({', '.join(DATASETS)} are read); bring one of "
            "your own, docs/howto/own_code.md"
        )
    draft.choose("data", DATASETS[name])
    draft.channels = 2 if inner.word("modality") == "Flow" else 3


def unwrapped(node: Node | None) -> MappingNode | None:
    """The data set with files, within whatever repeats or balances it."""
    while isinstance(node, MappingNode) and node.word("type") in WRAPPERS:
        node = node.get("dataset")
    return node if isinstance(node, MappingNode) and node.word("type") else None


def convert_split(draft: ConversionResult, node: Node | None, split: str) -> None:
    """One data set, without its pipeline."""
    if isinstance(node, SequenceNode):
        draft.refuse(node, "several data sets a split: put their lists into one file")
        draft.needed += [f"data.{split}.ann_file"] if split != "test" else []
        return
    if not isinstance(node, MappingNode):
        return
    if node.word("type") in WRAPPERS:
        _convert_wrapper(draft, node, split)
        return
    kind = node.items.get("type")
    if kind is not None and DATASETS.get(node.word("type")) == draft.choices["data"]:
        draft.record(kind, "carried", f"data={draft.choices['data']}")
    elif kind is not None:
        draft.refuse(kind, f"one kind of data for all splits: data={draft.choices['data']}")
    apply_rules(draft, node, _SPLIT, f"data.{split}.")
    if not any(key in node.items for key in ("data_prefix", "data_root")):
        draft.imply(f"data.{split}.data_prefix", ".", _FROM_HERE)


def _convert_wrapper(draft: ConversionResult, node: MappingNode, split: str) -> None:
    kind = node.word("type")
    rules: dict[str, Rule] = {
        "times": _times,
        "oversample_thr": Unsupported(
            "data.train.class_balance=0.5 draws rare classes more often, in an epoch of equal length"
        ),
    }
    if kind == "RepeatDataset":
        draft.drop(node.items["type"], "its epochs are counted, see times")
    else:
        draft.refuse(node.items["type"], "see data.train.class_balance; several lists: put them into one file")
    apply_rules(draft, node, rules)
    convert_split(draft, node.get("dataset"), split)


def _times(draft: ConversionResult, node: Node, prefix: str) -> None:
    times = plain(node)
    draft.repeats = int(times)
    draft.record(node, "changed", "epochs", (
        f"no set is repeated here: everything that counts epochs is taken {times} times"
    ))  # fmt: skip


def _workers(draft: ConversionResult, node: Node, prefix: str) -> None:
    draft.carry(node, "data.num_workers", plain(node))


def _sampler(draft: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ValueError("is no dict; see data.train.shuffle")
    apply_rules(draft, node, {
        "type": Require("DefaultSampler", "samples are drawn in an order of their own each epoch, data.train.shuffle"),
        "shuffle": Map("shuffle") if prefix == "data.train." else Require(False, "evaluation keeps the list's order"),
        "seed": Unsupported("seed is for everything"), "round_up": Ignore("one process a run"),
    }, prefix)  # fmt: skip


def loader_rules(split: str) -> dict[str, Rule]:
    """Keys of a data loader, by both generations' names."""
    train = split == "train"
    sizes: dict[str, Rule] = {
        "train": Map("data.batch_size"), "val": Map("data.eval_batch_size"),
        "test": Ignore("data.eval_batch_size; many views go through the net in parts that fit by themselves"),
    }  # fmt: skip
    size = sizes[split]
    workers: Rule = _workers if train else Ignore("data.num_workers is for all splits")
    return {
        "videos_per_gpu": size, "batch_size": size, "workers_per_gpu": workers, "num_workers": workers,
        "shuffle": Map("data.train.shuffle") if train else Require(False, "evaluation keeps the list's order"),
        "drop_last": Map("data.train.drop_last") if train else Require(False, "every video is evaluated"),
        "persistent_workers": Ignore("workers live as long as the run"),
        "pin_memory": Ignore("batches lie in shared memory"), "prefetch_factor": Ignore("workers are always ahead"),
        "sampler": lambda draft, node, prefix: _sampler(draft, node, f"data.{split}."),
        "collate_fn": _collate,
        "multiprocessing_context": Map("data.mp_context"),
        "dataset": elsewhere,  # the caller's
    }  # fmt: skip


def _collate(draft: ConversionResult, node: Node, prefix: str) -> None:
    name = node.word("type") if isinstance(node, MappingNode) else str(plain(node))
    if name in ("pseudo_collate", "default_collate"):
        draft.drop(node, "views are put into one array")
    else:
        raise ValueError("repeated augmentation is not built; raise data.batch_size")
