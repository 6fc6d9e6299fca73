"""The optimizer: which class of torch is which ``optimizer=`` here, parameter groups, clipping, precision."""

from __future__ import annotations

import re
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Rule, Unsupported, apply, apply_rules, number
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python

#: Class -> option here. Arguments have torch's names in both.
OPTIMIZERS: dict[str, str] = {
    "SGD": "sgd", "Adam": "adam", "AdamW": "adamw", "Adadelta": "adadelta", "Adafactor": "adafactor",
    "Adagrad": "adagrad", "Adamax": "adamax", "ASGD": "asgd", "NAdam": "nadam", "RAdam": "radam",
    "RMSprop": "rmsprop", "Rprop": "rprop",
}  # fmt: skip
#: What torch's classes do without being told, where the options here do something else.
_TORCH_DEFAULTS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.0, "weight_decay": 0.0},
    "AdamW": {"lr": 1e-3},
}
_CONSTRUCTORS = {"DefaultOptimizerConstructor": "default", "DefaultOptimWrapperConstructor": "default"}
#: Parts of parameter names there (a regular expression) -> here.
PARAMETER_NAMES = ((r"(\bcls_head\.)?\bfc_cls\b", "head.fc"), (r"\bcls_head\b", "head"))
_TSM = ("TSMOptimizerConstructor", "TSMOptimWrapperConstructor")


def convert_optimizer(result: ConversionResult, node: Node | None) -> None:
    """``optimizer`` of 0.x, ``optim_wrapper.optimizer`` of 1.x: class and arguments."""
    if not isinstance(node, MappingNode):
        return
    kind, name = node.items.get("type"), node.text("type")
    if kind is None or name not in OPTIMIZERS:
        result.mark_unsupported(node, f"{name or 'an optimizer without type'} is not here; choose one with optimizer=")
        return
    result.choose("optimizer", OPTIMIZERS[name], kind)
    here = result.options("optimizer", OPTIMIZERS[name])
    rules: dict[str, Rule] = {key: Map(key) for key in here if key not in ("paramwise", "base_batch_size")}
    rules |= {key: Map(key, implied=value) for key, value in _TORCH_DEFAULTS.get(name, {}).items()}
    rules |= {
        "capturable": Unsupported("for CUDA graphs"),
        "differentiable": Unsupported("for gradients through a step"),
    }
    apply_rules(result, node, rules, "optimizer.", owner=f"torch.optim.{name}'s ")
    convert_groups(result, node)


def convert_groups(result: ConversionResult, table: MappingNode) -> None:
    """``constructor`` and ``paramwise_cfg`` beside an optimizer."""
    constructor, name = table.get("constructor"), table.text("constructor")
    groups = table.get("paramwise_cfg")
    if constructor is not None and name in _TSM:
        if isinstance(groups, MappingNode) and groups.items:
            result.set(constructor, "optimizer.paramwise.rule", "tsm")
            apply_rules(result, groups, {"fc_lr5": _fc_lr5}, "optimizer.paramwise.")
            return
        result.add_pitfall(constructor, f"{name} without paramwise_cfg is the default constructor; so it is here")
        result.mark_unsupported(
            constructor, "does nothing without paramwise_cfg; optimizer.paramwise.rule=tsm is TSM's recipe"
        )
    elif constructor is not None and name in _CONSTRUCTORS:
        result.mark_default(constructor, "the only one here")
    elif constructor is not None:
        result.mark_unsupported(
            constructor, "not built; see optimizer.paramwise (custom_keys, norm_decay_mult, layer_decay)"
        )
        if groups is not None:
            result.mark_unsupported(groups, "is read by a constructor that is not built; see optimizer.paramwise")
        return
    if isinstance(groups, MappingNode):
        apply_rules(result, groups, _GROUPS, "optimizer.paramwise.")
    elif groups is not None:
        result.mark_unneeded(groups, "no parameter groups")


def _fc_lr5(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node):
        result.mark_default(node, "rule=tsm does so")
    else:
        result.set(node, f"{prefix}fc_lr5", False)


def _custom_keys(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a dict of keys; left out")
    for key, given in node.items.items():
        if key.startswith("."):
            result.add_pitfall(given, (
                f"custom_keys {key!r} matches no parameter: names do not begin with a dot ({key[1:]}), so mmaction2 "
                "ignores it; left out here as well"
            ))  # fmt: skip
            result.mark_unsupported(
                given, f"fits nothing in mmaction2; if it was meant: {prefix}custom_keys.{key[1:]}..."
            )
            continue
        name = key
        for theirs, ours in PARAMETER_NAMES:
            name = re.sub(theirs, ours, name)
        for word, leaf in given.items.items() if isinstance(given, MappingNode) else ():
            if word in ("lr_mult", "decay_mult"):
                result.set(leaf, f"{prefix}custom_keys.{name}.{word}", float(number(leaf)))
            else:
                result.mark_unsupported(leaf, "a key takes lr_mult and decay_mult")


def _bias_decay(result: ConversionResult, node: Node, prefix: str) -> None:
    factor = float(number(node))
    norms = result.config_value("optim_wrapper", "paramwise_cfg", "norm_decay_mult")
    if result.generation == 1 and factor != norms:
        why = "in 1.x it counts for the biases of norm layers, too; here norm_decay_mult does"
        result.set_changed(node, f"{prefix}bias_decay_mult", factor, why)
    else:
        result.set(node, f"{prefix}bias_decay_mult", factor)


_GROUPS: dict[str, Rule] = {
    "custom_keys": _custom_keys,
    "bias_lr_mult": Map("bias_lr_mult", float),
    "bias_decay_mult": lambda result, node, prefix: _bias_decay(result, node, prefix),
    "norm_decay_mult": Map("norm_decay_mult", float),
    "dwconv_decay_mult": Map("dwconv_decay_mult", float),
    "dcn_offset_lr_mult": Unsupported("no model here has deformable convolutions", off=(None, 1, 1.0)),
    "flat_decay_mult": Unsupported("norm_decay_mult and bias_decay_mult say it by kind", off=(None, 1, 1.0)),
    "bypass_duplicate": Map("bypass_duplicate"),
    "fc_lr5": Unsupported("is read by TSMOptimizerConstructor alone"),
}


def _clip(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        result.mark_default(node, "no clipping")
        return
    kind = node.text("type") or "norm"
    rules: dict[str, Rule] = {
        "type": Ignore(f"grad.clip.{'max_value' if kind == 'value' else 'max_norm'} says which"),
        "max_norm": Map("max_norm", float), "norm_type": Map("norm_type", float),
        "clip_value": Map("max_value", float), "error_if_nonfinite": Unsupported("see grad.max_nonfinite_steps"),
    }  # fmt: skip
    apply_rules(result, node, rules, "grad.clip.")


def _scale(result: ConversionResult, node: Node, prefix: str) -> None:
    """A loss scale: a number holds it, everything else is dynamic."""
    scale = to_python(node)
    if isinstance(scale, int | float) and not isinstance(scale, bool):
        result.set(node, "amp.loss_scale", float(scale))
    else:
        result.mark_default(node, "the loss scale is dynamic, with torch's own settings")


def convert_optimizer_config(result: ConversionResult, node: Node | None) -> None:
    """``optimizer_config`` of 0.x: what happens between backward and step."""
    if node is None:
        return
    if not isinstance(node, MappingNode):
        result.add_pitfall(
            node, "optimizer_config=None trains nothing in mmaction2; here it is an optimizer like any other"
        )
        result.mark_unsupported(node, "trains nothing in mmaction2; parameters are updated here")
        return
    if not node.items:
        result.mark_default(node, "no clipping")
    kind = node.text("type")
    apply_rules(result, node, {
        "type": Ignore("grad.accumulate and amp say it"),
        "grad_clip": _clip,
        "detect_anomalous_params": Map("grad.detect_anomalous_params"),
        "cumulative_iters": Map("grad.accumulate"),
        "update_interval": Map("grad.accumulate"),
        "coalesce": Ignore("of several GPUs"), "bucket_size_mb": Ignore("of several GPUs"),
        "loss_scale": _scale,
        "distributed": Ignore("of several GPUs"),
        "use_fp16": _use_fp16,
    })  # fmt: skip
    if kind.startswith(("Fp16", "GradientCumulativeFp16")):
        result.choose("amp", "fp16", node.items["type"])


def _use_fp16(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node):
        result.choose("amp", "fp16", node)
    else:
        result.mark_default(node, "fp32")


def convert_fp16(result: ConversionResult, node: Node | None) -> None:
    """``fp16 = dict(...)`` of 0.x."""
    if node is None:
        return
    if not isinstance(node, MappingNode):
        result.mark_unneeded(node, "fp32")
        return
    result.choose("amp", "fp16")
    if not node.items:
        note = "mmcv holds the loss scale at 512; it is dynamic here (amp.loss_scale=512 holds it)"
        result.record(node, "changed", "amp=fp16", note)
    for key, leaf in node.items.items():
        if key == "loss_scale" and not isinstance(leaf, MappingNode):
            apply(result, _scale, leaf)
        else:
            result.mark_unneeded(leaf, "the loss scale is dynamic, with torch's own settings")


def convert_wrapper(result: ConversionResult, node: Node | None) -> None:
    """``optim_wrapper`` of 1.x."""
    if not isinstance(node, MappingNode):
        return
    apply_rules(result, node, {
        "type": _wrapper_kind,
        "clip_grad": _clip,
        "accumulative_counts": Map("grad.accumulate"),
        "dtype": _dtype,
        "loss_scale": _scale,
        "use_fsdp": Unsupported("handled by dist"),
    })  # fmt: skip
    convert_optimizer(result, node.get("optimizer"))
    convert_groups(result, node)


def _wrapper_kind(result: ConversionResult, node: Node, prefix: str) -> None:
    kind = str(to_python(node))
    if kind in ("AmpOptimWrapper", "ApexOptimWrapper"):
        wanted = result.config_value("optim_wrapper", "dtype")
        result.choose("amp", "bf16" if wanted == "bfloat16" else "fp16", node)
    elif kind == "OptimWrapper":
        result.mark_default(node, "fp32")
    else:
        raise ConfigError(f"{kind} is not built; see grad, amp")


def _dtype(result: ConversionResult, node: Node, prefix: str) -> None:
    name, options = str(to_python(node)), {"float16": "fp16", "bfloat16": "bf16"}
    if name not in options:
        raise ConfigError(f"there are {', '.join(options)}; set amp=")
    result.choose("amp", options[name], node)


def convert_lr_scaling(result: ConversionResult, node: Node | None) -> None:
    """``auto_scale_lr`` of 1.x."""
    if not isinstance(node, MappingNode):
        return
    base, enabled = node.get("base_batch_size"), node.get("enable")
    on = enabled is not None and to_python(enabled) is True
    if on and base is not None:
        apply(result, Map("optimizer.base_batch_size"), base)
    elif base is not None:
        result.mark_unneeded(
            base, f"enable is False; optimizer.base_batch_size={to_python(base)} scales the rate to your batch"
        )
    if enabled is not None:
        result.mark_default(enabled, "optimizer.base_batch_size is set" if on else "the rate is not scaled")
