"""Convert the pipeline steps: the ``transform=`` option of each transform of mmaction2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.norms import convert_norm
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Require, Rule, Unsupported, apply, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, SequenceNode, to_python

_ALWAYS_LAZY = Ignore("pipeline.lazy: geometry always becomes one resample")


def _scale(value: Any) -> Any:
    """A scale as Resize takes it: an endless side is the one that follows."""
    if isinstance(value, list | tuple):
        return [-1 if side == float("inf") else side for side in value]
    return value


def _flip_map(result: ConversionResult, node: Node, prefix: str) -> None:
    labels = to_python(node)
    if labels and not isinstance(labels, dict):
        raise ConfigError("is not a dict of labels")
    if not labels:
        result.mark_default(node, "no labels are swapped")
    else:
        names = {str(left): str(right) for left, right in labels.items()}
        result.set(node, "data.flip_label_map", names, "by class name; a list without names has numbers")


def _probability_one(result: ConversionResult, node: Node, prefix: str) -> None:
    Require(1.0, "a probability is not built in")(result, node, prefix)


@dataclass(frozen=True, slots=True)
class Step:
    """A transform of mmaction2. ``name``: what the step is called in the pipeline; ``option``: of group transform."""

    name: str
    option: str
    rules: Mapping[str, Rule]
    target: str = ""  # class of torchvision, where ``option`` is torchvision


_CLIPS: dict[str, Rule] = {
    "clip_len": Map("clip_len"),
    "frame_interval": Map("frame_interval"),
    "num_clips": Map("num_clips"),
    "temporal_jitter": Map("temporal_jitter"),
    "out_of_bound_opt": Map("out_of_bound_opt"),
    "test_mode": Map("test_mode"),
    "start_index": Ignore("frame numbers start at 0 here; data.start_index is that of file names"),
}
_RESIZED: dict[str, Rule] = {"interpolation": Map("interpolation"), "lazy": _ALWAYS_LAZY}

#: Class of mmaction2 (0.x or 1.x) -> the step here. Of 2D models: ``_sampling``.
STEPS: dict[str, Step] = {
    "SampleFrames": Step("sample", "sample_frames", {
        **_CLIPS, "twice_sample": Map("twice_sample"), "keep_tail_frames": Map("keep_tail_frames"),
        "target_fps": Map("target_fps"), "frame_uniform": Map("frame_uniform"),
    }),
    "DenseSampleFrames": Step("sample", "dense_sample_frames", {
        **_CLIPS, "sample_range": Map("sample_range"), "num_sample_positions": Map("num_sample_positions"),
        "twice_sample": Unsupported("DenseSampleFrames ignores it"), "keep_tail_frames": Unsupported("DenseSampleFrames ignores it"),
    }),
    "UntrimmedSampleFrames": Step("sample", "untrimmed_sample_frames", {
        "clip_len": Map("clip_len"), "clip_interval": Map("clip_interval"), "frame_interval": Map("frame_interval"),
        "start_index": _CLIPS["start_index"],
    }),
    "UniformSample": Step("sample", "sample_frames", {
        "clip_len": Map("clip_len"), "test_mode": Map("test_mode"), "num_clips": Require(1, "one clip over the whole video"),
    }),
    "Resize": Step("resize", "resize", {"scale": Map("scale", _scale), "keep_ratio": Map("keep_ratio"), **_RESIZED}),
    "RandomRescale": Step("rescale", "random_rescale", {"scale_range": Map("scale_range"), **_RESIZED}),
    "RandomResizedCrop": Step("crop", "random_resized_crop", {
        "area_range": Map("area_range"), "aspect_ratio_range": Map("aspect_ratio_range"), "lazy": _ALWAYS_LAZY,
    }),
    "RandomCrop": Step("crop", "random_crop", {"size": Map("size"), "lazy": _ALWAYS_LAZY}),
    "CenterCrop": Step("crop", "center_crop", {"crop_size": Map("crop_size"), "lazy": _ALWAYS_LAZY}),
    "ThreeCrop": Step("crop", "three_crop", {"crop_size": Map("crop_size"), "lazy": _ALWAYS_LAZY}),
    "TenCrop": Step("crop", "ten_crop", {"crop_size": Map("crop_size"), "lazy": _ALWAYS_LAZY}),
    "MultiScaleCrop": Step("crop", "multi_scale_crop", {
        "input_size": Map("input_size"), "scales": Map("scales"), "max_wh_scale_gap": Map("max_wh_scale_gap"),
        "random_crop": Map("random_crop"), "num_fixed_crops": Map("num_fixed_crops"), "lazy": _ALWAYS_LAZY,
    }),
    "Flip": Step("flip", "flip", {
        "flip_ratio": Map("flip_ratio"), "direction": Map("direction"), "flip_label_map": _flip_map,
        "lazy": _ALWAYS_LAZY, "left_kp": Unsupported("skeletons are not built"), "right_kp": Unsupported("skeletons are not built"),
    }),
    "ColorJitter": Step("jitter", "color_jitter", {
        "brightness": Map("brightness"), "contrast": Map("contrast"), "saturation": Map("saturation"), "hue": Map("hue"),
        "color_space_aug": Ignore("the four changes are what it is called here"), "p": _probability_one,
    }),
    "pytorchvideo.RandomShortSideScale": Step("rescale", "random_short_side_scale", {
        "interpolation": Map("interpolation"), "backend": Ignore("one resample for all steps"),
    }),
}  # fmt: skip
#: Transforms of torchvision that wrappers name and that leave pixels where they are: their own arguments.
_PHOTOMETRIC = (
    "ColorJitter", "GaussianBlur", "Grayscale", "RandomAdjustSharpness", "RandomAutocontrast", "RandomEqualize",
    "RandomErasing", "RandomGrayscale", "RandomInvert", "RandomPosterize", "RandomSolarize",
)  # fmt: skip
_TORCHVISION_PATH = "torchvision.transforms.v2."

_ONE_CLIP = "the frames of mmaction2's clips are those of one clip here"
_DECODED = "data.decoding_backend chooses what decodes; auto gives the same frames"
_BATCHED = "samples are put together as the model takes them"
#: Classes that are no step here, and why.
NO_STEPS: dict[str, str] = {
    **dict.fromkeys(
        ("DecordInit", "DecordDecode", "OpenCVInit", "OpenCVDecode", "PyAVInit", "PyAVDecode", "PIMSInit",
         "PIMSDecode", "RawFrameDecode", "FrameSelector"), _DECODED,
    ),
    **dict.fromkeys(("FormatShape", "Collect", "ToTensor", "PackActionInputs", "Rename", "ToDataContainer",
                     "ImageDecode", "Transpose"), _BATCHED),
    "Fuse": "pipeline.lazy: geometry always becomes one resample",
    "Normalize": "img_norm: once for train, val and test, on the device",
}  # fmt: skip
_BACKENDS = {"cv2": "opencv", "turbojpeg": "turbojpeg", "pillow": "pillow"}
#: What takes the place of steps that are not here.
_INSTEAD = {
    "Imgaug": "transform=color_jitter and the photometric ones of torchvision",
    "ImgAug": "transform=color_jitter and the photometric ones of torchvision",
    "PytorchVideoWrapper": "transform=torchvision with a photometric class",
    "RandomErasing": "transform=torchvision with torchvision.transforms.v2.RandomErasing, whose draws differ",
    "RandomScale": "transform=random_rescale",
    "EntityBoxRescale": "boxes are not built",
    "GeneratePoseTarget": "skeletons are not built",
    "OpticalFlow": "data=raw_frames data.modality=Flow",
}


def convert_pipeline(result: ConversionResult, node: Node | None, split: str, *, frames: bool) -> None:
    """The steps of a split. ``frames``: for a model that sees mmaction2's clips of one frame as the frames of a clip."""
    if isinstance(node, ScalarNode):
        result.mark_unsupported(node, "is not a list of steps")
    if not isinstance(node, SequenceNode):
        return
    result.steps[split] = {}
    for step in node.items:
        kind = step.text("type") if isinstance(step, MappingNode) else ""
        if not isinstance(step, MappingNode) or not kind:
            result.mark_unsupported(step, "is not a step: it has no type")
        elif kind in NO_STEPS:
            _no_step(result, kind, step)
        else:
            _step(result, kind, step, split, frames)


def _step(result: ConversionResult, kind: str, table: MappingNode, split: str, frames: bool) -> None:
    known = STEPS.get(kind) or _wrapped(kind, table)
    if known is None:
        result.mark_unsupported(table, f"not supported; use {_INSTEAD.get(kind, 'a custom step (plugins=)')}")
        return
    name = _free_name(known.name, result.steps[split])
    rules = dict(known.rules)
    values: dict[str, Any] = {}
    option = known.option
    if known.name == "sample":
        option, rules, values = _sampling(result, kind, table, rules, frames)
    if kind == "pytorchvideo.RandomShortSideScale":
        _short_sides(result, table, f"pipeline.{split}.{name}.")
    result.steps[split][name] = option
    result.record(table.items["type"], "carried", f"pipeline.{split}.{name}")
    prefix = f"pipeline.{split}.{name}."
    if known.target:
        values["_target_"] = known.target
        rules = {key: Map(key) for key in table.items if key not in ("type", "op")}
        if "op" in table.items:
            result.record(table.items["op"], "carried", f"{prefix}_target_")
    for key, value in values.items():
        result.set_implied(prefix + key, value, f"as mmaction2's {kind} does")
    apply_rules(result, table, rules, prefix)


def _free_name(name: str, taken: Mapping[str, str]) -> str:
    number = sum(other == name or other.startswith(f"{name}_") for other in taken)
    return name if number == 0 else f"{name}_{number + 1}"


def _wrapped(kind: str, table: MappingNode) -> Step | None:
    """A photometric transform of torchvision by one of the ways in which mmaction2 names it."""
    name = table.text("op") if kind == "TorchVisionWrapper" else ""
    if kind.startswith("torchvision."):
        name = kind.rpartition(".")[2]
    if name == "ColorJitter":  # ours: the same arguments, a fifth of the time
        return Step("jitter", "color_jitter", {**STEPS["ColorJitter"].rules}, "")
    if name not in _PHOTOMETRIC:
        return None
    return Step(name.removeprefix("Random").lower(), "torchvision", {}, _TORCHVISION_PATH + name)


def _short_sides(result: ConversionResult, table: MappingNode, prefix: str) -> None:
    low, high = table.get("min_size"), table.get("max_size")
    if low is not None and high is not None:
        sides = [to_python(low), to_python(high)]
        result.set(low, f"{prefix}scale_range", sides)
        result.set(high, f"{prefix}scale_range", sides)


def _sampling(
    result: ConversionResult, kind: str, table: MappingNode, rules: dict[str, Rule], frames: bool
) -> tuple[str, dict[str, Rule], dict[str, Any]]:
    """(option, rules, further values) of the sampler."""
    length, option = _number(table, "clip_len", 1), STEPS[kind].option
    if kind == "UniformSample":
        return option, rules, {"frame_uniform": True}
    if frames and length == 1 and kind == "DenseSampleFrames":
        clips, window = _number(table, "num_clips", 1), _number(table, "sample_range", 64)
        why = Ignore(_ONE_CLIP)
        rules = {**rules, "clip_len": why, "frame_interval": why, "num_clips": Map("clip_len")}
        return option, rules, {"frame_interval": window // clips}
    if kind != "SampleFrames":
        return option, rules, {}
    neighbours = result.choices["model"] == "tsn_r50" and _number(table, "frame_interval", 1) == 1
    if frames and (length == 1 or neighbours):
        option, rules = "segment_frames", _parts_of_a_clip(table, length)
    if not (result.generation == 1 and length > 1 and _number(table, "test_mode", False)):
        return option, rules, {}
    if _number(table, "twice_sample", False):
        result.add_pitfall(table.items["twice_sample"], (
            "mmaction2 1.x spaces the clips of twice_sample past the end of the video; left out here"
        ))  # fmt: skip
        rules = {**rules, "twice_sample": Unsupported("its clips run past the end of the video in mmaction2 1.x")}
    return option, rules, {"test_positions": "ends"}


def _parts_of_a_clip(table: MappingNode, length: int) -> dict[str, Rule]:
    """Of ``SampleFrames``, where its clips of ``length`` frames are the parts of one clip here."""
    apart = "there is nothing between neighbours"
    short = (
        Require("loop", "a video of fewer frames is looped") if length > 1 else Ignore("a frame lies within the video")
    )
    return {
        "clip_len": Map("segment_len", note=_ONE_CLIP), "num_clips": Map("segments", implied=1),
        "test_mode": Map("test_mode"), "twice_sample": Map("twice_sample"), "out_of_bound_opt": short,
        "frame_interval": Ignore(apart),
        "temporal_jitter": Unsupported("single frames are not moved; leave it out") if _moves(table) else Ignore(apart),
        "keep_tail_frames": Ignore("every frame can be drawn anyway"), "start_index": _CLIPS["start_index"],
    }  # fmt: skip


def _moves(table: MappingNode) -> bool:
    return bool(_number(table, "temporal_jitter", False)) and _number(table, "frame_interval", 1) > 1


def _number(table: MappingNode, key: str, otherwise: Any) -> Any:
    node = table.items.get(key)
    return node.value if isinstance(node, ScalarNode) and not node.unread else otherwise


def _no_step(result: ConversionResult, kind: str, table: MappingNode) -> None:
    """A class that decodes, normalizes or formats."""
    result.mark_unneeded(table.items["type"], NO_STEPS[kind])
    if kind == "Normalize":
        convert_norm(result, table)
        return
    for key, node in table.items.items():
        if key == "decoding_backend":
            apply(result, Map("data.decoding_backend", lambda name: _BACKENDS[name]), node)
        elif key == "io_backend" or key == "file_client_args":
            remote = "disk" not in str(to_python(node)) and "memcached" not in str(to_python(node))
            apply(
                result,
                Unsupported("files are read from disk; mount or copy them") if remote else Ignore("from disk"),
                node,
            )
        elif key == "num_threads":
            result.mark_unneeded(node, "workers decode with one thread each: data.num_workers")
        elif key != "type":
            result.mark_unneeded(node, NO_STEPS[kind])
