"""What a weight file says of itself: how its pictures were normalised, at what size, and its classes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SAME_GREY = 0.5  # grey levels: 0.485 * 255 and mmaction2's 123.675 are the same mean


@dataclass(frozen=True, slots=True)
class Metadata:
    """None where the file does not say.

    ``mean``, ``std``: of each channel in grey levels 0..255, in the order that ``to_bgr`` tells; ``input_size``:
    (height, width) in pixels; ``classes``: names in the order of the logits.
    """

    mean: list[float] | None = None
    std: list[float] | None = None
    to_bgr: bool | None = None
    input_size: list[int] | None = None
    classes: list[str] | None = None

    def conflicts(self, *, mean: Sequence[float], std: Sequence[float], to_bgr: bool) -> list[str]:
        """What a run's ``img_norm`` does otherwise than these weights are used to, a sentence each."""
        found = []
        if self.to_bgr is not None and self.to_bgr != to_bgr:
            found.append(
                f"they were trained on {'BGR' if self.to_bgr else 'RGB'}: img_norm.to_bgr={_yaml(self.to_bgr)}"
            )
        for name, theirs, ours in (("mean", self.mean, mean), ("std", self.std, std)):
            if theirs is not None and any(abs(a - b) > _SAME_GREY for a, b in zip(theirs, ours, strict=True)):
                found.append(
                    f"they were trained with img_norm.{name}={_yaml(theirs)}, this run has {_yaml(list(ours))}"
                )
        return found

    def lines(self) -> list[str]:
        """For a report: one line a thing that is known."""
        known = []
        if self.mean is not None and self.std is not None:
            order = {True: " (BGR)", False: " (RGB)", None: ""}[self.to_bgr]
            known.append(f"trained with mean {_yaml(self.mean)}, std {_yaml(self.std)}{order}")
        if self.input_size is not None:
            known.append(f"trained at {self.input_size[0]} x {self.input_size[1]} pixels")
        if self.classes is not None:
            names = ", ".join(self.classes[:3]) + (" ..." if len(self.classes) > 3 else "")
            known.append(f"{len(self.classes)} classes: {names}")
        return known


def of_vexp(content: Mapping[str, Any]) -> Metadata:
    """Of a vexp checkpoint: its config (of converted weights without a net: ``img_norm``) and its classes."""
    img_norm = content.get("img_norm") or (content.get("config") or {}).get("img_norm") or {}
    return Metadata(
        mean=_three(img_norm.get("mean")), std=_three(img_norm.get("std")), to_bgr=img_norm.get("to_bgr"),
        classes=_names(content.get("classes")),
    )  # fmt: skip


def of_mmaction2(meta: Mapping[str, Any]) -> Metadata:
    """Of mmaction2's ``meta``: the class names, and from the text of its config the normalisation.

    0.x writes ``img_norm_cfg = dict(mean=, std=, to_bgr=)``, 1.x ``data_preprocessor=dict(mean=, std=)``. The text is
    parsed, never run.
    """
    classes = _names(meta.get("CLASSES") or (meta.get("dataset_meta") or {}).get("classes"))
    text = meta.get("config") or meta.get("cfg")
    try:
        tree = ast.parse(text) if isinstance(text, str) else None
    except (SyntaxError, ValueError, RecursionError):
        tree = None
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            said = {word.arg: _literal(word.value) for word in node.keywords if word.arg in ("mean", "std", "to_bgr")}
            mean, std = _three(said.get("mean")), _three(said.get("std"))
            if mean is not None and std is not None:
                return Metadata(mean=mean, std=std, to_bgr=bool(said.get("to_bgr", False)), classes=classes)
    return Metadata(classes=classes)


def of_torchvision(weights: Any) -> Metadata:
    """Of a member of a torchvision weights enum; its mean and std count in 0..1."""
    preset = weights.transforms()
    size = getattr(preset, "crop_size", None)
    return Metadata(
        mean=[round(255 * value, 3) for value in preset.mean] if hasattr(preset, "mean") else None,
        std=[round(255 * value, 3) for value in preset.std] if hasattr(preset, "std") else None,
        to_bgr=False,
        input_size=[int(side) for side in (size * 2)[:2]] if size else None,
        classes=_names(weights.meta.get("categories")),
    )


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _three(value: Any) -> list[float] | None:
    numbers = isinstance(value, list | tuple) and all(isinstance(number, int | float) for number in value)
    return [float(number) for number in value] if numbers and len(value) == 3 else None


def _names(value: Any) -> list[str] | None:
    named = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    return list(value) if named else None


def _yaml(value: bool | list[float]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(f"{number:g}" for number in value) + "]"
