"""Mean, deviation and order of channels: ``Normalize`` of 0.x, ``data_preprocessor`` of 1.x."""

from __future__ import annotations

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.heads import convert_blending
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Rule, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python


def _of_a_pixel(key: str) -> Rule:
    """Once for each value of a pixel; 1.x writes those of stacked frames one behind another."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        values = to_python(node)
        if not isinstance(values, list | tuple) or not all(isinstance(value, int | float) for value in values):
            raise ConfigError("is not a list of numbers")
        numbers = [float(value) for value in values]
        first = numbers[: result.channels]
        repeated = first * (len(numbers) // result.channels) == numbers
        result.set(node, f"{prefix}{key}", first if repeated else numbers)

    return rule


_NORM: dict[str, Rule] = {
    "mean": _of_a_pixel("mean"),
    "std": _of_a_pixel("std"),
    "to_bgr": Map("to_bgr"),
    "adjust_magnitude": Map("adjust_magnitude"),
}


def convert_norm(result: ConversionResult, table: MappingNode) -> None:
    """``Normalize(**img_norm_cfg)`` of 0.x."""
    apply_rules(result, table, _NORM, "img_norm.")


def convert_preprocessor(result: ConversionResult, node: Node | None) -> None:
    """``data_preprocessor`` of 1.x: ActionDataPreprocessor."""
    if not isinstance(node, MappingNode):
        return
    if "preprocessors" in node.items:
        result.mark_unsupported(node, "only one preprocessor (img_norm) is supported")
        return
    apply_rules(result, node, {
        "type": Ignore("img_norm does it, on the device"),
        "mean": _NORM["mean"], "std": _NORM["std"], "to_rgb": _to_rgb,
        "format_shape": Ignore("samples are put together as the model takes them"),
        "to_float32": Ignore("pixels become float32 on the device"),
    }, "img_norm.")  # fmt: skip
    blending = node.get("blending")
    if isinstance(blending, MappingNode):
        convert_blending(result, blending)


def _to_rgb(result: ConversionResult, node: Node, prefix: str) -> None:
    if not to_python(node):
        result.mark_default(node, "decoders deliver RGB")
        return
    result.add_pitfall(node, (
        "to_rgb=True swaps the channels of frames that are RGB already, so the model sees BGR; carried over as "
        "img_norm.to_bgr=true, which gives the same numbers: set it to false if RGB was meant"
    ))  # fmt: skip
    result.set(node, "img_norm.to_bgr", True, "see the pitfalls")
