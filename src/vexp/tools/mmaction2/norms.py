"""Mean, deviation and order of channels: ``Normalize`` of 0.x, ``data_preprocessor`` of 1.x."""

from __future__ import annotations

from vexp.tools.mmaction2.heads import convert_blending
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Rule, apply_rules, as_lists
from vexp.tools.mmaction2.tree import MappingNode, Node, plain


def _of_a_pixel(key: str) -> Rule:
    """Once for each value of a pixel; 1.x writes those of stacked frames one behind another."""

    def rule(draft: ConversionResult, node: Node, prefix: str) -> None:
        numbers = [float(number) for number in as_lists(plain(node))]
        first = numbers[: draft.channels]
        repeated = first * (len(numbers) // draft.channels) == numbers
        draft.carry(node, f"{prefix}{key}", first if repeated else numbers)

    return rule


_NORM: dict[str, Rule] = {
    "mean": _of_a_pixel("mean"),
    "std": _of_a_pixel("std"),
    "to_bgr": Map("to_bgr"),
    "adjust_magnitude": Map("adjust_magnitude"),
}


def convert_norm(draft: ConversionResult, table: MappingNode) -> None:
    """``Normalize(**img_norm_cfg)`` of 0.x."""
    apply_rules(draft, table, _NORM, "img_norm.")


def convert_preprocessor(draft: ConversionResult, node: Node | None) -> None:
    """``data_preprocessor`` of 1.x: ActionDataPreprocessor."""
    if not isinstance(node, MappingNode):
        return
    if "preprocessors" in node.items:
        draft.refuse(node, "several preprocessors are for several modalities; there is one img_norm")
        return
    apply_rules(draft, node, {
        "type": Ignore("img_norm does it, on the device"),
        "mean": _NORM["mean"], "std": _NORM["std"], "to_rgb": _to_rgb,
        "format_shape": Ignore("samples are put together as the net takes them"),
        "to_float32": Ignore("pixels become float32 on the device"),
    }, "img_norm.")  # fmt: skip
    blending = node.get("blending")
    if isinstance(blending, MappingNode):
        convert_blending(draft, blending)


def _to_rgb(draft: ConversionResult, node: Node, prefix: str) -> None:
    if not plain(node):
        draft.same(node, "decoders deliver RGB")
        return
    draft.trap(node, (
        "to_rgb=True swaps the channels of frames that are RGB already, so the net sees BGR; carried over as "
        "img_norm.to_bgr=true, which gives the same numbers: set it to false if RGB was meant"
    ))  # fmt: skip
    draft.carry(node, "img_norm.to_bgr", True, "see the traps")
