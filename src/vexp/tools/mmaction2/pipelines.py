"""Convert the pipelines: the ``transform=`` option of each transform of mmaction2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError, UserError
from vexp.tools.mmaction2.models import NORMALIZE
from vexp.tools.mmaction2.result import ConversionResult, Value
from vexp.tools.mmaction2.rules import Function, Ignore, Map, Require, Rule, Unsupported, as_lists, sets
from vexp.tools.mmaction2.tables import all_of, apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node, ScalarNode, SequenceNode, UnreadableError, Where, entries

_LAZY: dict[str, Rule] = {"lazy": Ignore("pipeline.lazy: geometry always becomes one resample")}


def _scale(value: Any) -> Any:
    """Return a scale as Resize takes it: an infinite side becomes -1, which follows from the other side."""
    if isinstance(value, list | tuple):
        return [-1 if side == float("inf") else side for side in value]
    return value


def _label_names(labels: Any) -> dict[str, str]:
    if not isinstance(labels, dict):
        raise ConfigError("is not a dict of labels")
    return {str(left): str(right) for left, right in labels.items()}


def _min_aspect(value: Any) -> float:
    """Convert the range of the aspect ratio, or its lower end, whose inverse is the upper one."""
    low, high = (value, 1 / value) if isinstance(value, int | float) else value
    if abs(low * high - 1) > 1e-6:
        raise ConfigError("the ends must be a number and its inverse")
    return float(low)


def _color(value: Any) -> list[float]:
    return [float(value)] * 3 if isinstance(value, int | float) else [float(level) for level in value]


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the pipeline: its name, option of group transform, and rules; ``target`` is a class of torchvision."""

    name: str
    option: str
    rules: Mapping[str, Rule]
    target: str = ""


_START_INDEX = Ignore("frame numbers start at 0 here; data.start_index is that of file names")
_CLIPS: dict[str, Rule] = {
    **same("clip_len frame_interval num_clips temporal_jitter out_of_bound_opt test_mode"), "start_index": _START_INDEX,
}  # fmt: skip
_RESIZED: dict[str, Rule] = {**same("interpolation"), **_LAZY}


def _joints_of_target(name: str) -> Function:
    """Return the rule of ``left_kp`` or ``right_kp`` of Flip: they are those of the heat maps of the same split."""

    @sets()
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if result.choices["data"] != "skeleton":
            result.mark_unsupported(node, "is for skeletons, and the data are videos")
            return
        value = node.to_python()
        if not isinstance(value, list | tuple):
            raise ConfigError("is not a list of joints; a mirrored view exchanges those of GeneratePoseTarget")
        split = prefix.split(".")[1]
        result.set(node, f"pipeline.{split}.target.{name}", list(value), "joints that a mirrored view exchanges")

    return rule


#: Class of mmaction2 (0.x or 1.x) -> transform of vexp. ``_sampling`` changes those of image models.
STEPS: dict[str, Step] = {
    "SampleFrames": Step("sample", "sample_frames", {
        **_CLIPS, **same("twice_sample keep_tail_frames target_fps frame_uniform"),
    }),
    "DenseSampleFrames": Step("sample", "dense_sample_frames", {
        **_CLIPS, **same("sample_range num_sample_positions"),
        **all_of("twice_sample keep_tail_frames", Ignore("DenseSampleFrames ignores it")),
    }),
    "UntrimmedSampleFrames": Step("sample", "untrimmed_sample_frames", {
        **same("clip_len clip_interval frame_interval"), "start_index": _START_INDEX,
    }),
    "SampleAVAFrames": Step("sample", "sample_key_frames", same("clip_len frame_interval test_mode")),
    "UniformSample": Step("sample", "uniform_sample", same("clip_len num_clips test_mode")),
    "UniformSampleFrames": Step("sample", "uniform_sample_frames", same("clip_len num_clips test_mode seed")),
    "Resize": Step("resize", "resize", {"scale": Map("scale", _scale), **same("keep_ratio"), **_RESIZED}),
    "RandomRescale": Step("rescale", "random_rescale", {**same("scale_range"), **_RESIZED}),
    "RandomResizedCrop": Step("crop", "random_resized_crop", {**same("area_range aspect_ratio_range"), **_LAZY}),
    "RandomCrop": Step("crop", "random_crop", {**same("size"), **_LAZY}),
    "CenterCrop": Step("crop", "center_crop", {**same("crop_size"), **_LAZY}),
    "ThreeCrop": Step("crop", "three_crop", {**same("crop_size"), **_LAZY}),
    "TenCrop": Step("crop", "ten_crop", {**same("crop_size"), **_LAZY}),
    "MultiScaleCrop": Step("crop", "multi_scale_crop", {
        **same("input_size scales max_wh_scale_gap random_crop num_fixed_crops"), **_LAZY,
    }),
    "Flip": Step("flip", "flip", {
        **same("flip_ratio direction"), **_LAZY,
        "flip_label_map": Map("/data.flip_label_map", _label_names, "by class name; a list without names has numbers",
                              off="no labels are swapped"),
        **{name: _joints_of_target(name) for name in ("left_kp", "right_kp")},
    }),
    "ColorJitter": Step("jitter", "color_jitter", {
        **same("brightness contrast saturation hue"), "p": Require(1.0, "vexp applies it to every clip"),
        "color_space_aug": Ignore("the four changes are what it is called here"),
    }),
    "pytorchvideo.RandAugment": Step("augment", "rand_augment", {
        "op": Ignore("its transform is set"), "magnitude": Map("magnitude", float, implied=9.0),
        "num_layers": Map("num_layers", implied=2), "prob": Map("probability", float),
        "sampling_type": Require("gaussian", "magnitudes are drawn from a normal distribution"),
        **all_of("transform_hparas sampling_hparas", Unsupported("set fill and magnitude_std")),
    }),
    "RandomErasing": Step("erase", "random_erasing", {
        "erase_prob": Map("probability", float, implied=0.5),
        "min_area_ratio": Map("min_area", float), "max_area_ratio": Map("max_area", float),
        "aspect_range": Map("min_aspect", _min_aspect),
        "mode": Map("mode", {"const": "const", "rand": "uniform"}.__getitem__, implied="const"),
        "fill_color": Map("mean", _color, implied=[128.0, 128.0, 128.0]),
        "fill_std": Map("std", _color, off="the noise of mode='rand' is uniform"),
    }),
    "PoseCompact": Step("compact", "pose_compact", same("padding threshold hw_ratio allow_imgpad")),
    "GeneratePoseTarget": Step("target", "generate_pose_target", {
        **same("sigma use_score with_kp with_limb double left_kp right_kp scaling"),
        "skeletons": Map("skeletons", as_lists),
        **all_of("left_limb right_limb", Ignore("limbs are exchanged by their joints, left_kp and right_kp")),
    }),
    "pytorchvideo.RandomShortSideScale": Step("rescale", "random_short_side_scale", {
        **same("interpolation"), "backend": Ignore("one resample for all steps"),
    }),
}  # fmt: skip
#: Transforms of torchvision that do not move pixels; they keep their own arguments.
_PHOTOMETRIC = {
    "ColorJitter", "GaussianBlur", "Grayscale", "RandomAdjustSharpness", "RandomAutocontrast", "RandomEqualize",
    "RandomErasing", "RandomGrayscale", "RandomInvert", "RandomPosterize", "RandomSolarize",
}  # fmt: skip

_DECODED = "data.decoding_backend chooses what decodes; auto gives the same frames"
#: Classes that are no transforms of vexp -> why.
NO_STEPS: dict[str, str] = {
    **{f"{backend}{part}": _DECODED for backend in ("Decord", "OpenCV", "PyAV", "PIMS") for part in ("Init", "Decode")},
    **dict.fromkeys(("RawFrameDecode", "FrameSelector"), _DECODED),
    **dict.fromkeys(("FormatShape", "Collect", "ToTensor", "PackActionInputs", "Rename", "ToDataContainer",
                     "ImageDecode", "Transpose"), "vexp formats the batch for the model"),
    **dict.fromkeys(("PoseDecode", "DecompressPose"), "data=skeleton reads the joints"),
    "EntityBoxRescale": "boxes are carried through the pipeline",
    "Fuse": "pipeline.lazy: geometry always becomes one resample",
    "Normalize": "img_norm: once for train, val and test, on the device",
}  # fmt: skip
_BACKENDS = {"cv2": "opencv", "turbojpeg": "turbojpeg", "pillow": "pillow"}


def _storage(result: ConversionResult, node: Node, prefix: str) -> None:
    local = any(backend in str(node.to_python()) for backend in ("disk", "memcached"))
    rule = Ignore("from disk") if local else Unsupported("files are read from disk; mount or copy them")
    rule(result, node, prefix)


#: Arguments of the classes in ``NO_STEPS`` that have a meaning of their own.
DECODING: dict[str, Rule] = {
    "decoding_backend": Map("data.decoding_backend", _BACKENDS.__getitem__),
    **all_of("io_backend file_client_args", _storage),
    **{name: Map(f"data.{name}") for name in ("squeeze", "max_person")},
    "num_threads": Ignore("workers decode with one thread each: data.num_workers"),
}
#: Transforms that vexp does not have -> what to use instead.
_INSTEAD = {
    **dict.fromkeys(("Imgaug", "ImgAug"), "transform=color_jitter and the photometric ones of torchvision"),
    "PytorchVideoWrapper": "transform=torchvision with a photometric class",
    "RandomScale": "transform=random_rescale",
    "OpticalFlow": "data=raw_frames data.modality=Flow",
}  # fmt: skip


_MOST_STEPS = 40  # of which a config composes in two seconds; published ones have fewer


def _problem(node: Node | None) -> str:
    unread = node.unread if isinstance(node, ScalarNode) else ""
    return "is missing" if node is None else f"cannot be read: {unread}" if unread else "is not a list of transforms"


def convert_pipeline(result: ConversionResult, node: Node | None, split: str, *, where: Where) -> None:
    """Convert the transforms of a split, whose dataset is at ``where``.

    Raises:
        UserError: If they cannot be read (those of the test split are then those of validation).
    """
    if not isinstance(node, SequenceNode):
        if split != "test":
            raise UserError(f"{where if node is None else node.where}: the {split} pipeline {_problem(node)}")
        if node is not None:
            result.mark_unsupported(node, _problem(node))
        return
    if len(node.items) > _MOST_STEPS:
        raise UserError(f"{node.where}: more than {_MOST_STEPS} transforms in one pipeline")
    result.steps[split] = {}
    for transform in node.items:
        kind = transform.text("type")
        if isinstance(transform, MappingNode) and kind == "PytorchVideoWrapper":
            kind = f"pytorchvideo.{transform.text('op')}"
        if getattr(transform, "unread", ""):  # no placeholder can ask for it; also a loop that fills the list
            raise UserError(f"{transform.where}: the {split} pipeline {_problem(transform)}; write the transform out")
        if not isinstance(transform, MappingNode) or not kind:
            result.mark_unsupported(transform, "is not a transform: it has no type")
        elif kind.startswith("MM") and result.choices["data"] == "skeleton":
            raise UserError(
                f"{transform.where}: refused: {kind} makes clips of the videos and the skeletons together; vexp reads "
                "one or the other"
            )
        elif kind == "Normalize":
            apply_rules(result, transform, {"type": Ignore(NO_STEPS[kind])})
            apply_rules(result, transform, NORMALIZE, "img_norm.")
        elif kind in NO_STEPS:
            apply_rules(result, transform, {**dict.fromkeys(transform.items, Ignore(NO_STEPS[kind])), **DECODING})
        elif step := STEPS.get(kind) or _torchvision_step(kind, transform):
            _convert_step(result, kind, step, transform, split, result.frames)
        else:
            hint = _INSTEAD.get(transform.text("type"), "a transform of your own (plugins=)")
            result.mark_unsupported(transform, f"vexp has no {kind}; use {hint}")
    if not result.steps[split]:
        raise UserError(f"{node.where}: the {split} pipeline has no transform that vexp has; it must sample frames")


def check_same_pipeline(result: ConversionResult, first: Node | None, other: Node | None) -> None:
    """Record the transforms of a further dataset of a split, whose samples have the pipeline of the first one.

    They may differ in what reads the frames: an image is a video of one frame, which the sampler repeats.
    """
    if other is None or other is first:
        return
    try:
        same = geometry(first) == geometry(other)
    except UnreadableError:
        same = False
    if same:
        result.mark_unneeded(other, "the pipeline of the first dataset of the split does the same")
    else:
        result.mark_unsupported(other, "all lists of a split have one pipeline, here that of the first dataset")


def geometry(pipeline: Node | None) -> list[Any]:
    """Return the transforms of a pipeline that change the pixels of a sample."""
    reading = {*NO_STEPS, "BuildPseudoClip", *(name for name, step in STEPS.items() if step.name == "sample")}
    reading.remove("Normalize")
    return [step.to_python() for step in entries(pipeline) if step.text("type") not in reading]


def _convert_step(
    result: ConversionResult, kind: str, step: Step, table: MappingNode, split: str, frames: bool
) -> None:
    steps = result.steps[split]
    count = sum(name == step.name or name.startswith(f"{step.name}_") for name in steps)
    name = f"{step.name}_{count + 1}" if count else step.name
    prefix = f"pipeline.{split}.{name}."
    values: dict[str, Any] = {}
    option, rules = step.option, step.rules
    if step.name == "sample":
        option, rules, values = _sampling(result, kind, table, frames)
    if kind == "GeneratePoseTarget":
        _check_target(result, table, prefix)
    if kind == "pytorchvideo.RandomShortSideScale":
        _short_sides(result, table, prefix)
    steps[name] = option
    result.record(table.items["type"], "carried", f"pipeline.{split}.{name}")
    if step.target:
        values["_target_"] = step.target
        rules = {key: Map(key) for key in table.items if key not in ("type", "op")}
        if "op" in table.items:
            result.record(table.items["op"], "carried", f"{prefix}_target_")
    for key, value in values.items():
        result.set_implied(prefix + key, value, f"as mmaction2's {kind} does")
    apply_rules(result, table, rules, prefix)
    noise = result.values.get(f"{prefix}mode")
    if kind == "RandomErasing" and noise is not None and noise.value == "uniform" and table.scalar("fill_std"):
        result.values[f"{prefix}mode"] = Value("pixel", noise.node, "normal noise with fill_color and fill_std")


def _check_target(result: ConversionResult, table: MappingNode, prefix: str) -> None:
    """Convert what GeneratePoseTarget leaves to its defaults and to the data."""
    joints = result.config.scalar("model", "backbone", "in_channels")
    if isinstance(joints, int) and not table.scalar("with_limb"):
        result.set_implied(f"{prefix}joints", joints, "one heat map of each joint: the model's in_channels")
        result.set_implied("data.joints", joints, "one heat map of each joint: the model's in_channels")
    if not table.scalar("double"):
        return
    if result.generation == 0:
        result.set_implied(f"{prefix}mirror_maps", False, "mmaction2 0.x mirrors the joints")
        return
    named = [table.get(name) for name in ("left_limb", "right_limb")]
    if table.scalar("with_limb") and table.get("skeletons") is not None and None in named:
        what = (
            "without left_limb and right_limb, mirrored heat maps of other limbs are exchanged than those of skeletons"
        )
        result.add_pitfall(table, f"{what}; vexp exchanges limbs by their joints")


def _torchvision_step(kind: str, table: MappingNode) -> Step | None:
    """Return the step of a photometric transform of torchvision, by either way in which mmaction2 names it."""
    name = table.text("op") if kind == "TorchVisionWrapper" else ""
    if kind.startswith("torchvision."):
        name = kind.rpartition(".")[2]
    if name not in _PHOTOMETRIC:
        return None
    if name == "ColorJitter":  # that of vexp has the same arguments and takes a fifth of the time
        return STEPS[name]
    return Step(name.removeprefix("Random").lower(), "torchvision", {}, f"torchvision.transforms.v2.{name}")


def _short_sides(result: ConversionResult, table: MappingNode, prefix: str) -> None:
    low, high = table.get("min_size"), table.get("max_size")
    if low is not None and high is not None:
        sides = [low.to_python(), high.to_python()]
        result.set(low, f"{prefix}scale_range", sides)
        result.set(high, f"{prefix}scale_range", sides)


def _sampling(
    result: ConversionResult, kind: str, table: MappingNode, frames: bool
) -> tuple[str, Mapping[str, Rule], dict[str, Any]]:
    """Return (option, rules, further values) of a sampler."""
    option, rules = STEPS[kind].option, STEPS[kind].rules
    length = _argument(table, "clip_len", 1)
    if frames and length == 1 and kind == "DenseSampleFrames":
        clips, window = _argument(table, "num_clips", 1), _argument(table, "sample_range", 64)
        return option, {**rules, **DENSE_FRAMES}, {"frame_interval": window // clips}
    if kind != "SampleFrames":
        return option, rules, {}
    adjacent = result.choices["model"] == "tsn_r50" and _argument(table, "frame_interval", 1) == 1
    if frames and (length == 1 or adjacent):
        option, rules = "segment_frames", _segment_rules(table, length)
    if not (result.generation == 1 and length > 1 and _argument(table, "test_mode", False)):
        return option, rules, {}
    if _argument(table, "twice_sample", False):
        what = "mmaction2 1.x spaces the clips of twice_sample past the end of the video; left out here"
        result.add_pitfall(table.items["twice_sample"], what)
        rules = {**rules, "twice_sample": Unsupported("its clips run past the end of the video in mmaction2 1.x")}
    return option, rules, {"test_positions": "ends"}


_ONE_CLIP = "mmaction2's clips of one frame are the frames of one clip here"
#: DenseSampleFrames of an image model.
DENSE_FRAMES: dict[str, Rule] = {
    **all_of("clip_len frame_interval", Ignore(_ONE_CLIP)), "num_clips": Map("clip_len"),
}  # fmt: skip
#: SampleFrames of an image model, whose clips of ``clip_len`` adjacent frames are the segments of one clip of vexp.
SEGMENTS: dict[str, Rule] = {
    "clip_len": Map("segment_len", remark=_ONE_CLIP), "num_clips": Map("segments", implied=1),
    **same("test_mode twice_sample"), "out_of_bound_opt": Ignore("a frame lies within the video"),
    **all_of("frame_interval temporal_jitter", Ignore("no effect on single frames")),
    "keep_tail_frames": Ignore("every frame can be drawn anyway"), "start_index": _START_INDEX,
}  # fmt: skip


def _segment_rules(table: MappingNode, length: int) -> dict[str, Rule]:
    rules = dict(SEGMENTS)
    if length > 1:
        rules["out_of_bound_opt"] = Require("loop", "a video of fewer frames is looped")
    if _argument(table, "temporal_jitter", False) and _argument(table, "frame_interval", 1) > 1:
        rules["temporal_jitter"] = Unsupported("single frames are not moved; leave it out")
    return rules


def _argument(table: MappingNode, key: str, default: Any) -> Any:
    """Return the value of an argument; the default if it is missing or not a number."""
    value = table.scalar(key)
    return value if isinstance(value, int | float) else default
