"""Convert training on several sources in steps or batches of their own: OmniSource of 0.x, RecognizerOmni of 1.x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vexp.core.errors import UserError
from vexp.tools.mmaction2.datasets import loader_rules
from vexp.tools.mmaction2.pipelines import geometry
from vexp.tools.mmaction2.result import ConversionResult, Value
from vexp.tools.mmaction2.rules import Ignore, Rule, as_lists, handled_elsewhere, sets
from vexp.tools.mmaction2.tables import all_of, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, UnreadableError

#: Arguments of ``data`` for several training datasets (0.x), which ``omnisource`` reads -> key below data.train.
_OF_LISTS = {"train_ratio": "ratio", "omni_videos_per_gpu": "batch_sizes"}
OMNISOURCE: dict[str, Rule] = {name: sets(f"/data.train.{key}")(handled_elsewhere) for name, key in _OF_LISTS.items()}
#: Prefixes of the classes of image classification.
_IMAGES = ("mmcls.", "mmpretrain.")


@sets("/data.train.mix")
def omnisource(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert the root key ``omnisource``: steps of each training dataset in turn, by ``train_ratio``."""
    lists = result.value("data.train.ann_file")
    if not node.to_python() or not isinstance(lists, list):
        result.mark_unneeded(node, "one training dataset")
        return
    why, policy = "each optimizer step is of one dataset; an epoch is that of the first", result.config.get("lr_config")
    warms_up = policy is not None and policy.scalar("warmup_iters") and not policy.scalar("warmup_by_epoch")
    counts = policy is not None and (bool(warms_up) or policy.scalar("by_epoch") is False)
    if counts:  # steps
        why += "; lr_config counts iterations of the first dataset in mmaction2, and all optimizer steps here"
    result.set(node, "data.train.mix", "steps", why, changed=counts)
    for name, key in _OF_LISTS.items():
        given = result.config.get("data", name)
        values = given.to_python() if given is not None else None
        if given is None or values is None:
            continue
        if isinstance(values, list | tuple) and len(values) == len(lists):
            result.set(given, f"data.train.{key}", list(values))
        else:
            result.mark_unsupported(given, f"there are {len(lists)} lists, each with a number of its own")


def other_loaders(config: MappingNode) -> list[MappingNode]:
    """Return the loaders beside ``train_dataloader`` in each step: ``other_loaders`` of MultiLoaderEpochBasedTrainLoop.

    Raises:
        UserError: If the model is not RecognizerOmni, which alone takes batches of several loaders.
    """
    found = config.get("train_cfg", "other_loaders")
    loaders = [each for each in found.items if isinstance(each, MappingNode)] if isinstance(found, SequenceNode) else []
    if loaders and config.text("model", "type") != "RecognizerOmni":
        raise UserError(f"{loaders[0].where}: refused: only RecognizerOmni takes batches of several loaders in a step")
    return loaders


def with_others(dataset: Node | None, loaders: Sequence[MappingNode]) -> Node | None:
    """Return the training dataset together with those of the other loaders."""
    others = [other for loader in loaders if (other := loader.get("dataset")) is not None]
    return dataset if dataset is None or not others else SequenceNode([dataset, *others], dataset.where)


def convert_other_loaders(result: ConversionResult, loaders: Sequence[MappingNode]) -> None:
    """Convert the loaders beside that of the training videos: a batch of images each, in every step."""
    if not loaders:
        return
    rules = {**loader_rules("train"), "batch_size": handled_elsewhere,
             "num_workers": Ignore("data.num_workers is for all loaders")}  # fmt: skip
    sizes: list[Any] = [result.value("data.batch_size", 1)]
    for loader in loaders:
        apply_rules(result, loader, rules)
        size = loader.get("batch_size")
        try:
            sizes.append(1 if size is None else size.to_python())
        except UnreadableError as error:
            result.need("data.train.batch_sizes", size, str(error))
            continue
        if size is not None:
            result.record(size, "carried", "data.train.batch_sizes")
    if "data.train.batch_sizes" not in result.needed:
        result.values["data.train.batch_sizes"] = Value(sizes, None, "batch_size of each loader")
    for key, value, why in (
        ("data.train.mix", "losses", "MultiLoaderEpochBasedTrainLoop: the losses of the loaders are added"),
        ("data.train.own_classes", True, "RecognizerOmni: images have classes and a classifier of their own"),
        ("pipeline.train.sample.image_clip_len", 1, "RecognizerOmni: an image is one frame"),
    ):
        result.set_implied(key, value, why)


def check_image_pipeline(result: ConversionResult, videos: Node | None, images: Node | None) -> None:
    """Record the transforms of a dataset of images, whose samples have the pipeline of the videos.

    Random crops take a share of the image, so that it makes no difference whether its short side is resized before.
    """
    if images is None:
        return
    try:
        expected, ours = as_lists(_of_videos(images)), as_lists(geometry(videos))
    except UnreadableError:
        expected, ours = [], None
    if ours and ours[0]["type"] == "Resize" and -1 in _numbers(ours[0].get("scale")):
        ours = ours[1:]
    if ours == expected:
        result.mark_unneeded(images, "the pipeline of the videos does the same")
    else:
        result.mark_unsupported(images, "all lists of a split have one pipeline, here that of the videos")


def _numbers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_videos(images: Node) -> list[dict[str, Any]]:
    """Return the transforms of an image pipeline under the names that those of videos have in mmaction2."""
    found: list[dict[str, Any]] = []
    for step in images.items if isinstance(images, SequenceNode) else []:
        values = dict(step.to_python())
        kind = str(values.pop("type"))
        name = next((kind.removeprefix(prefix) for prefix in _IMAGES if kind.startswith(prefix)), kind)
        if name == "RandomResizedCrop" and isinstance(values.get("scale"), int):
            size = values.pop("scale")
            crop: dict[str, Any] = {"type": name, **values}
            found += [crop, {"type": "Resize", "scale": (size, size), "keep_ratio": False}]
        elif name == "RandomFlip" and values.pop("direction", "horizontal") == "horizontal":
            found.append({"type": "Flip", "flip_ratio": values.pop("prob", None), **values})
        elif name not in ("LoadRGBFromFile", "PackClsInputs", "PackInputs"):
            found.append({"type": kind, **values})
    return found


#: Arguments of the loop of 1.x that ``other_loaders`` reads.
LOOP: dict[str, Rule] = all_of("other_loaders", handled_elsewhere)
