"""Convert mean, standard deviation and channel order: ``Normalize`` of 0.x, ``data_preprocessor`` of 1.x."""

from __future__ import annotations

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.heads import convert_blending
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Function, Ignore, Rule, sets
from vexp.tools.mmaction2.tables import apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node


def _per_channel(key: str) -> Function:
    """Return the rule of a list of numbers, one per channel; 1.x repeats them for each of several stacked frames."""

    @sets(key)
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        values = node.to_python()
        if not isinstance(values, list | tuple) or not all(isinstance(value, int | float) for value in values):
            raise ConfigError("is not a list of numbers")
        numbers = [float(value) for value in values]
        first = numbers[: result.channels]
        repeated = first * (len(numbers) // result.channels) == numbers
        result.set(node, f"{prefix}{key}", first if repeated else numbers)

    return rule


@sets("to_bgr")
def _to_rgb(result: ConversionResult, node: Node, prefix: str) -> None:
    if not node.to_python():
        result.mark_default(node, "decoders deliver RGB")
        return
    result.add_pitfall(node, (
        "to_rgb=True swaps the channels of frames that are RGB already, so the model sees BGR; carried over as "
        "img_norm.to_bgr=true, which gives the same numbers: set it to false if RGB was meant"
    ))  # fmt: skip
    result.set(node, "img_norm.to_bgr", True, "see the pitfalls")


_STATISTICS: dict[str, Rule] = {"mean": _per_channel("mean"), "std": _per_channel("std")}
#: Arguments of ``Normalize`` (0.x) and of ``ActionDataPreprocessor`` (1.x).
NORMALIZE: dict[str, Rule] = {**_STATISTICS, **same("to_bgr adjust_magnitude")}
PREPROCESSOR: dict[str, Rule] = {
    "type": Ignore("img_norm does it, on the device"),
    **_STATISTICS,
    "to_rgb": _to_rgb,
    "format_shape": Ignore("samples are put together as the model takes them"),
    "to_float32": Ignore("pixels become float32 on the device"),
}


def convert_preprocessor(result: ConversionResult, node: Node | None) -> None:
    """Convert ``data_preprocessor`` of 1.x: ActionDataPreprocessor."""
    if isinstance(node, MappingNode) and "preprocessors" in node.items:
        result.mark_unsupported(node, "only one preprocessor (img_norm) is supported")
    elif isinstance(node, MappingNode):
        apply_rules(result, node, PREPROCESSOR, "img_norm.")
        convert_blending(result, node.get("blending"))
