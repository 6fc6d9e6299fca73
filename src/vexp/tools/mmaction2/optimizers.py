"""Convert the optimizer: class and arguments, parameter groups, gradient clipping and precision."""

from __future__ import annotations

import re

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, number, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply, apply_rules, same
from vexp.tools.mmaction2.tree import MappingNode, Node

#: Class -> option of vexp. Arguments have torch's names in both.
OPTIMIZERS: dict[str, str] = {
    name: name.lower()
    for name in ("SGD", "Adam", "AdamW", "Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam",
                 "RMSprop", "Rprop")
}  # fmt: skip
#: Arguments of vexp's options that torch's classes do not have.
OWN_ARGUMENTS = {"paramwise", "base_batch_size"}
#: Defaults of torch's classes that differ from those of vexp's options.
_TORCH_DEFAULTS = {"SGD": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}, "AdamW": {"lr": 1e-3}}
_DEFAULT_CONSTRUCTORS = ("DefaultOptimizerConstructor", "DefaultOptimWrapperConstructor")
_SWIN_CONSTRUCTOR, _DECAY_CONSTRUCTOR = "SwinOptimWrapperConstructor", "LearningRateDecayOptimizerConstructor"
_TSM_CONSTRUCTORS = ("TSMOptimizerConstructor", "TSMOptimWrapperConstructor")
#: Parts of parameter names in mmaction2 (a regular expression) -> in vexp.
PARAMETER_NAMES = ((r"(\bcls_head\.)?\bfc_cls\b", "head.fc"), (r"\bcls_head\b", "head"))


def convert_optimizer(result: ConversionResult, node: Node | None) -> None:
    """Convert ``optimizer`` of 0.x or ``optim_wrapper.optimizer`` of 1.x: class, arguments and parameter groups."""
    if not isinstance(node, MappingNode):
        result.need("optimizer", node, "the config has no optimizer that can be read without running it")
        return
    name = node.text("type")
    if name not in OPTIMIZERS:
        if name:
            result.need_other("optimizer", node, f"vexp has no optimizer {name}; choose one")
        else:
            result.need("optimizer", node, "the type of the optimizer is missing or cannot be read; choose one")
        return
    result.choose("optimizer", OPTIMIZERS[name], node.items["type"])
    arguments = result.options("optimizer", OPTIMIZERS[name])
    rules: dict[str, Rule] = {
        **{key: Map(key) for key in arguments if key not in OWN_ARGUMENTS},
        **{key: Map(key, implied=value) for key, value in _TORCH_DEFAULTS.get(name, {}).items()},
        "capturable": Unsupported("for CUDA graphs"), "differentiable": Unsupported("for gradients through a step"),
    }  # fmt: skip
    apply_rules(result, node, rules, "optimizer.", owner=f"torch.optim.{name}'s ")
    convert_groups(result, node)


def convert_groups(result: ConversionResult, table: MappingNode) -> None:
    """Convert ``constructor`` and ``paramwise_cfg``, which are beside the optimizer in 1.x."""
    constructor, groups = table.get("constructor"), table.get("paramwise_cfg")
    if constructor is not None:
        name, see = table.text("constructor"), "see optimizer.paramwise"
        if name in _TSM_CONSTRUCTORS and isinstance(groups, MappingNode) and groups.items:
            result.set(constructor, "optimizer.paramwise.rule", "tsm")
            apply_rules(result, groups, {"fc_lr5": _fc_lr5}, "optimizer.paramwise.")
            return
        if name in _TSM_CONSTRUCTORS:
            result.add_pitfall(constructor, f"{name} without paramwise_cfg is the default constructor; so it is here")
            recipe = "optimizer.paramwise.rule=tsm is TSM's recipe"
            result.mark_unneeded(constructor, f"does nothing without paramwise_cfg; {recipe}")
        elif name == _SWIN_CONSTRUCTOR and isinstance(groups, MappingNode):
            result.set(constructor, "optimizer.paramwise.multiply_keys", True)
            apply(result, _swin_keys, groups, "optimizer.paramwise.")
            return
        elif name == _DECAY_CONSTRUCTOR and isinstance(groups, MappingNode) and _is_mvit(result):
            apply_rules(result, groups, LAYER_DECAY, "optimizer.paramwise.")
            for key in ("norm_decay_mult", "bias_decay_mult"):
                result.set(constructor, f"optimizer.paramwise.{key}", 0.0)
            return
        elif name in _DEFAULT_CONSTRUCTORS:
            result.mark_default(constructor, "the only one here")
        else:
            result.mark_unsupported(
                constructor, f"{name} is not supported; {see} (custom_keys, norm_decay_mult, layer_decay)"
            )
            if groups is not None:
                result.mark_unsupported(groups, f"is read by {name}, which is not supported; {see}")
            return
    if groups is not None:
        apply(result, GROUPS, groups)


@sets("fc_lr5")
def _fc_lr5(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python():
        result.mark_default(node, "rule=tsm does so")
    else:
        result.set(node, f"{prefix}fc_lr5", False)


def _is_mvit(result: ConversionResult) -> bool:
    """Whether the weights of one dimension are those of norms and biases, which mmaction2's layer decay exempts."""
    return result.config.text("model", "backbone", "type") == "MViT"


def _decay_type(result: ConversionResult, node: Node, prefix: str) -> None:
    if "layer_wise" not in str(node.to_python()):
        raise ConfigError("only layer_wise is supported, by mmaction2 as well")
    result.mark_default(node, "the only supported value")


def _num_layers(result: ConversionResult, node: Node, prefix: str) -> None:
    depth = result.value("model.depth", result.default("model.depth"))
    Require(depth, "the rate of each block is counted from the last of the {0} blocks")(result, node, prefix)


#: ``paramwise_cfg`` of LearningRateDecayOptimizerConstructor.
LAYER_DECAY: dict[str, Rule] = {
    "num_layers": _num_layers, "decay_rate": Map("layer_decay", float), "decay_type": _decay_type,
}  # fmt: skip


@sets("custom_keys")
def _swin_keys(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``paramwise_cfg`` of SwinOptimWrapperConstructor: its keys are parts of names."""
    unused = node.get("absolute_pos_embed")
    if unused is not None:
        result.mark_unneeded(unused, "video Swin has no absolute position embedding")
    items = node.items if isinstance(node, MappingNode) else {}
    keys = {key: given for key, given in items.items() if given is not unused}
    _custom_keys.function(result, MappingNode(keys, node.where), prefix)


@sets("custom_keys")
def _custom_keys(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a dict of parameter names")
    for key, given in node.items.items():
        if key.startswith("."):
            result.add_pitfall(given, (
                f"custom_keys {key!r} matches no parameter: names do not begin with a dot ({key[1:]}), so mmaction2 "
                "ignores it; left out here as well"
            ))  # fmt: skip
            meant = f"{prefix}custom_keys.{key[1:]}..."
            result.mark_unneeded(given, f"matches no parameter in mmaction2; if it was meant: {meant}")
            continue
        name = key
        for pattern, replacement in PARAMETER_NAMES:
            name = re.sub(pattern, replacement, name)
        for argument, leaf in given.items.items() if isinstance(given, MappingNode) else ():
            if argument in ("lr_mult", "decay_mult"):
                result.set(leaf, f"{prefix}custom_keys.{name}.{argument}", float(number(leaf)))
            else:
                result.mark_unsupported(leaf, "a key takes lr_mult and decay_mult")


@sets("bias_decay_mult")
def _bias_decay_mult(result: ConversionResult, node: Node, prefix: str) -> None:
    factor, key = float(number(node)), f"{prefix}bias_decay_mult"
    norms = result.config.scalar("optim_wrapper", "paramwise_cfg", "norm_decay_mult")
    if result.generation == 1 and factor != norms:
        why = "in 1.x it counts for the biases of norm layers, too; here norm_decay_mult does"
        result.set(node, key, factor, why, changed=True)
    else:
        result.set(node, key, factor)


#: ``paramwise_cfg``.
GROUPS = Section({
    "custom_keys": _custom_keys, "bias_decay_mult": _bias_decay_mult, **same("bypass_duplicate"),
    **{name: Map(name, float) for name in ("bias_lr_mult", "norm_decay_mult", "dwconv_decay_mult")},
    "dcn_offset_lr_mult": Unsupported("no model here has deformable convolutions", off=(None, 1, 1.0)),
    "flat_decay_mult": Unsupported("norm_decay_mult and bias_decay_mult say it by kind", off=(None, 1, 1.0)),
    "fc_lr5": Unsupported("is read by TSMOptimizerConstructor alone"),
}, "optimizer.paramwise.", otherwise=Ignore("no parameter groups"))  # fmt: skip


def _clip_type(result: ConversionResult, node: Node, prefix: str) -> None:
    key = "max_value" if node.to_python() == "value" else "max_norm"
    result.mark_unneeded(node, f"grad.clip.{key} says which")


def _no_clipping(result: ConversionResult, node: Node, prefix: str) -> None:
    result.mark_default(node, "no clipping")


#: ``grad_clip`` of 0.x, ``clip_grad`` of 1.x.
CLIP = Section({
    "type": _clip_type,
    "max_norm": Map("max_norm", float), "norm_type": Map("norm_type", float), "clip_value": Map("max_value", float),
    "error_if_nonfinite": Unsupported("see grad.max_nonfinite_steps"),
}, "grad.clip.", otherwise=_no_clipping, unread="max_norm")  # fmt: skip


@sets("/amp.loss_scale")
def _loss_scale(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert a loss scale: a number is constant, everything else is dynamic."""
    scale = node.to_python()
    if isinstance(scale, int | float) and not isinstance(scale, bool):
        result.set(node, "amp.loss_scale", float(scale))
    else:
        result.mark_default(node, "the loss scale is dynamic, with torch's own settings")


def _use_fp16(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python():
        result.choose("amp", "fp16", node)
    else:
        result.mark_default(node, "fp32")


#: ``optimizer_config`` of 0.x: what happens between the backward pass and the optimizer step.
OPTIMIZER_CONFIG: dict[str, Rule] = {
    "type": Ignore("grad.accumulate and amp say it"), "grad_clip": CLIP, "loss_scale": _loss_scale,
    "use_fp16": _use_fp16, **same("detect_anomalous_params"),
    **all_of("cumulative_iters update_interval", Map("accumulate")),
    **all_of("coalesce bucket_size_mb distributed", Ignore("of several GPUs")),
}  # fmt: skip


def convert_optimizer_config(result: ConversionResult, node: Node | None) -> None:
    """Convert ``optimizer_config`` of 0.x."""
    if isinstance(node, MappingNode):
        if not node.items:
            _no_clipping(result, node, "")
        apply_rules(result, node, OPTIMIZER_CONFIG, "grad.")
        if node.text("type").startswith(("Fp16", "GradientCumulativeFp16")):
            result.choose("amp", "fp16", node.items["type"])
    elif node is not None:
        what = "optimizer_config=None disables training in mmaction2; vexp trains"
        result.add_pitfall(node, what)
        result.mark_unsupported(node, "it disables training in mmaction2; vexp trains")


def convert_fp16(result: ConversionResult, node: Node | None) -> None:
    """Convert ``fp16 = dict(...)`` of 0.x."""
    if isinstance(node, MappingNode):
        result.choose("amp", "fp16")
        if not node.items:
            remark = "mmcv holds the loss scale at 512; it is dynamic here (amp.loss_scale=512 holds it)"
            result.record(node, "changed", "amp=fp16", remark)
        dynamic = Ignore("the loss scale is dynamic, with torch's own settings")
        for key, leaf in node.items.items():
            constant = key == "loss_scale" and not isinstance(leaf, MappingNode)
            apply(result, _loss_scale if constant else dynamic, leaf)
    elif node is not None:
        result.mark_unneeded(node, "fp32")


def _wrapper_type(result: ConversionResult, node: Node, prefix: str) -> None:
    name = str(node.to_python())
    if name in ("AmpOptimWrapper", "ApexOptimWrapper"):
        dtype = result.config.scalar("optim_wrapper", "dtype")
        result.choose("amp", "bf16" if dtype == "bfloat16" else "fp16", node)
    elif name == "OptimWrapper":
        result.mark_default(node, "fp32")
    else:
        raise ConfigError(f"{name} is not supported; see grad and amp")


@sets("/amp.dtype")
def _dtype(result: ConversionResult, node: Node, prefix: str) -> None:
    name, options = str(node.to_python()), {"float16": "fp16", "bfloat16": "bf16"}
    if name not in options:
        raise ConfigError(f"supported: {', '.join(options)}; set amp=")
    result.choose("amp", options[name], node)


#: ``optim_wrapper`` of 1.x.
OPTIM_WRAPPER: dict[str, Rule] = {
    "type": _wrapper_type, "clip_grad": CLIP, "accumulative_counts": Map("accumulate"), "dtype": _dtype,
    "loss_scale": _loss_scale, "use_fsdp": Unsupported("handled by dist"),
}  # fmt: skip


def convert_wrapper(result: ConversionResult, node: Node | None) -> None:
    """Convert ``optim_wrapper`` of 1.x."""
    apply_rules(result, node, OPTIM_WRAPPER, "grad.")
    convert_optimizer(result, node.get("optimizer") if isinstance(node, MappingNode) else node)
    if isinstance(node, MappingNode):
        convert_groups(result, node)


def convert_lr_scaling(result: ConversionResult, node: Node | None) -> None:
    """Convert ``auto_scale_lr`` of 1.x."""
    if not isinstance(node, MappingNode):
        return
    base, enabled = node.get("base_batch_size"), node.get("enable")
    on = enabled is not None and enabled.to_python() is True
    if on and base is not None:
        apply(result, Map("optimizer.base_batch_size"), base)
    elif base is not None:
        hint = f"optimizer.base_batch_size={base.to_python()} scales the rate to your batch"
        result.mark_unneeded(base, f"enable is False; {hint}")
    if enabled is not None:
        result.mark_default(enabled, "optimizer.base_batch_size is set" if on else "the rate is not scaled")
