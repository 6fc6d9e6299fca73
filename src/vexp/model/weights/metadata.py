"""Metadata of a weight file: the normalization and size of its training images, and its classes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOLERANCE = 0.5  # in gray levels, since 0.485 * 255 and mmaction2's 123.675 are the same mean


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file states about its weights; None for what it does not state."""

    mean: list[float] | None = None  # of each channel, in gray levels 0..255 and in the order given by ``to_bgr``
    std: list[float] | None = None  # of each channel, in the same units and order
    to_bgr: bool | None = None  # whether the channels are in BGR order
    input_size: list[int] | None = None  # (height, width) in pixels
    classes: list[str] | None = None  # names in the order of the logits

    def conflicts(self, *, mean: Sequence[float], std: Sequence[float], to_bgr: bool) -> list[str]:
        """Return one sentence for each value of ``img_norm`` that differs from the training of these weights."""
        conflicts = []
        if self.to_bgr is not None and self.to_bgr != to_bgr:
            order = "BGR" if self.to_bgr else "RGB"
            conflicts.append(f"trained on {order}; set img_norm.to_bgr={_yaml(self.to_bgr)}")
        for name, trained, configured in (("mean", self.mean, mean), ("std", self.std, std)):
            if trained is None or len(trained) != len(configured):  # RGB weights, averaged for optical flow
                continue
            if not equal_statistics(trained, configured):
                run = _yaml(list(configured))
                conflicts.append(f"trained with img_norm.{name}={_yaml(trained)}, this run has {run}")
        return conflicts

    def lines(self) -> list[str]:
        """Format one line for each known property."""
        lines = []
        if self.mean is not None and self.std is not None:
            order = {True: " (BGR)", False: " (RGB)", None: ""}[self.to_bgr]
            lines.append(f"trained with mean {_yaml(self.mean)}, std {_yaml(self.std)}{order}")
        if self.input_size is not None:
            lines.append(f"trained at {self.input_size[0]} x {self.input_size[1]} pixels")
        if self.classes is not None:
            names = ", ".join(self.classes[:3]) + (" ..." if len(self.classes) > 3 else "")
            lines.append(f"{len(self.classes)} classes: {names}")
        return lines


def equal_statistics(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether two means or standard deviations of channels, in gray levels, are the same but for rounding."""
    return len(a) == len(b) and all(abs(x - y) <= _TOLERANCE for x, y in zip(a, b, strict=True))


def of_vexp(content: Mapping[str, Any]) -> Metadata:
    """Read the metadata of a vexp checkpoint from its config (or ``img_norm`` of converted weights) and its classes."""
    img_norm = _dict(content.get("img_norm")) or _dict(_dict(content.get("config")).get("img_norm"))
    mean, std, to_bgr = _three(img_norm.get("mean")), _three(img_norm.get("std")), img_norm.get("to_bgr")
    return Metadata(mean, std, to_bgr if isinstance(to_bgr, bool) else None, classes=_names(content.get("classes")))


def of_mmaction2(meta: Mapping[str, Any]) -> Metadata:
    """Read the class names from mmaction2's ``meta``, and the normalization from the text of its config.

    Version 0.x writes ``img_norm_cfg = dict(mean=, std=, to_bgr=)``, 1.x ``data_preprocessor=dict(mean=, std=)``. The
    text is parsed but not executed.
    """
    classes = _names(meta.get("CLASSES")) or _names(_dict(meta.get("dataset_meta")).get("classes"))
    text = next((value for value in map(meta.get, ("config", "cfg")) if isinstance(value, str) and value), None)
    try:
        tree = ast.parse(text) if text is not None else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            values = {item.arg: _literal(item.value) for item in node.keywords if item.arg in ("mean", "std", "to_bgr")}
            mean, std = _three(values.get("mean")), _three(values.get("std"))
            if mean is not None and std is not None:
                return Metadata(mean, std, bool(values.get("to_bgr", False)), classes=classes)
    return Metadata(classes=classes)


def of_torchvision(weights: Any) -> Metadata:
    """Read the metadata of a member of a torchvision weights enum, whose mean and std are in 0..1."""
    preset = weights.transforms()
    mean, std, size = (getattr(preset, name, None) for name in ("mean", "std", "crop_size"))
    return Metadata(
        mean=None if mean is None else [round(255 * value, 3) for value in mean],
        std=None if std is None else [round(255 * value, 3) for value in std],
        to_bgr=False,
        input_size=[int(length) for length in (size * 2)[:2]] if size else None,
        classes=_names(weights.meta.get("categories")),
    )


def of_huggingface(config: Mapping[str, Any], *processors: Mapping[str, Any]) -> Metadata:
    """Read the classes from a Hugging Face ``config.json``, and the mean and std from the processor's JSON file.

    Their mean and std are those of pixels that were multiplied by ``rescale_factor``, usually 1 / 255.
    """
    labels = {str(key): name for key, name in _dict(config.get("id2label")).items()}
    classes = _names([labels.get(str(index)) for index in range(len(labels))])
    if classes is not None and all(name == f"LABEL_{index}" for index, name in enumerate(classes)):
        classes = None  # the names that transformers gives classes without a name
    statistics = next(filter(None, (pixel_statistics(video_processor(content)) for content in processors)), None)
    if statistics is None:
        return Metadata(classes=classes)
    return Metadata(*statistics, to_bgr=False, classes=classes)


def video_processor(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a processor's JSON file about videos: ``processor_config.json`` has one for each input."""
    return _dict(content.get("video_processor", content))


def pixel_statistics(processor: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return mean and std in gray levels, in RGB order, that a processor's JSON file states; None if it states none.

    The processors of transformers compute ``(x * rescale_factor - offset - image_mean) / image_std`` of pixels x in
    0..255, where the offset is 1 for ViViT and 0 for others.
    """
    rescales, normalizes = processor.get("do_rescale", True), processor.get("do_normalize", True)
    factor = processor.get("rescale_factor", 1 / 255) if rescales else 1.0
    mean, std = (_three(processor.get(key)) for key in ("image_mean", "image_std"))
    if not normalizes:
        mean, std = [0.0] * 3, [1.0] * 3
    if mean is None or std is None or not _is_positive(factor):
        return None
    kind = processor.get("video_processor_type") or processor.get("image_processor_type") or ""
    has_offset = processor.get("offset", str(kind).startswith("Vivit"))  # the one for videos does not state it
    offset = 1.0 if rescales and has_offset else 0.0
    return (
        [round((value + offset) / factor, 3) for value in mean],
        [round(value / factor, 3) for value in std],
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _dict(value: Any) -> Mapping[str, Any]:
    """Return a value that should be a dict, or an empty one: files come from elsewhere, and nobody checked them."""
    return value if isinstance(value, Mapping) else {}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _three(value: Any) -> list[float] | None:
    valid = isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value)
    return [float(item) for item in value] if valid and len(value) == 3 else None


def _names(value: Any) -> list[str] | None:
    valid = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    return list(value) if valid else None


def _yaml(value: bool | list[float]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(f"{item:g}" for item in value) + "]"
