"""Conversion of other programs' checkpoints to the keys and shapes of the models in ``vexp.model.zoo_transformers``.

The rules are applied by ``vexp.model.weights.key_mapping``. The functions convert what is not a matter of names:
separate projections of queries, keys and values, constant tables, and tables of relative positions of another size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vexp.model.weights.key_mapping import CLASSIFIER, IMAGE_BACKBONE, Rules, rename_keys

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The ViT of mmaction2's TimeSformer configs, an image model without a prefix: its only attention is the spatial one.
_MMACTION_VIT: Rules = (
    (r"^(cls_token|pos_embed)$", r"backbone.\1"),
    (r"^norm\.", "backbone.norm."),
    (r"^(?:backbone\.)?patch_embed\.projection\.", "backbone.patch_embed."),
    (r"^transformer_layers\.layers\.(\d+)\.norms\.0\.", r"backbone.blocks.\1.spatial.norm."),
    (r"^transformer_layers\.layers\.(\d+)\.norms\.1\.", r"backbone.blocks.\1.mlp.norm."),
    (r"^transformer_layers\.layers\.(\d+)\.attentions\.0\.attn\.", r"backbone.blocks.\1.spatial.attn."),
    (r"^transformer_layers\.layers\.(\d+)\.ffns\.", r"backbone.blocks.\1.ffns."),
)
TIMESFORMER: Rules = (
    *_MMACTION_VIT,
    (r"^backbone\.patch_embed\.projection\.", "backbone.patch_embed."),
    (r"^backbone\.transformer_layers\.layers\.(\d+)\.", r"backbone.blocks.\1."),
    (r"\.attentions\.0\.temporal_fc\.", ".temporal.fc."),
    (r"\.attentions\.0\.", ".temporal."),
    (r"\.attentions\.1\.", ".spatial."),
    (r"\.attn\.in_proj_", ".qkv."),
    (r"\.attn\.out_proj\.", ".proj."),
    (r"\.ffns\.0\.norm\.", ".mlp.norm."),
    (r"\.ffns\.0\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffns\.0\.layers\.1\.", ".mlp.fc2."),
)

#: Before ``TIMESFORMER``, for checkpoints of TimeSformer with an attention that is not divided: its layers have the
#: names of those of the image model.
MMACTION_VIT_LAYERS: Rules = ((r"^backbone\.(?=transformer_layers\.)", ""),)
#: After ``TIMESFORMER`` and ``VIT``: the only attention of such a block.
UNDIVIDED: Rules = ((r"^(backbone\.blocks\.\d+)\.spatial\.", r"\1.attn."),)

#: torchvision's vit_b_16 to TimeSformer.
VIT: Rules = (
    (r"^class_token$", "backbone.cls_token"),
    (r"^conv_proj\.", "backbone.patch_embed."),
    (r"^encoder\.pos_embedding$", "backbone.pos_embed"),
    (r"^encoder\.ln\.", "backbone.norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"backbone.blocks.\1."),
    (r"\.ln_1\.", ".spatial.norm."),
    (r"\.self_attention\.in_proj_", ".spatial.qkv."),
    (r"\.self_attention\.out_proj\.", ".spatial.proj."),
    (r"\.ln_2\.", ".mlp.norm."),
    (r"\.mlp\.(?:linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:linear_2|3)\.", ".mlp.fc2."),
)


#: The released code (fine-tuned: no prefix; pre-trained: ``encoder.``, whose decoder matches no rule; as a model of
#: transformers: ``model.``), mmaction2, and VideoMAE in transformers, whose projections ``convert_projections`` joins.
VIDEOMAE: Rules = (
    (r"^(?:videomae\.)?embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed."),
    (r"^(?:videomae\.)?encoder\.layer\.(\d+)\.", r"backbone.blocks.\1."),
    (r"^(?:model\.|encoder\.)?(patch_embed|blocks|fc_norm)\.", r"backbone.\1."),
    (r"^(?:model\.)?head\.(weight|bias)$", r"head.fc.\1"),
    (r"^classifier\.", "head.fc."),
    (r"^backbone\.patch_embed\.proj(?:ection)?\.", "backbone.patch_embed."),
    (r"^(backbone\.blocks\.\d+)\.(?:norm1|layernorm_before)\.", r"\1.attn.norm."),
    (r"^(backbone\.blocks\.\d+)\.(?:norm2|layernorm_after)\.", r"\1.mlp.norm."),
    (r"^(backbone\.blocks\.\d+)\.attention\.attention\.", r"\1.attn."),
    (r"^(backbone\.blocks\.\d+)\.attention\.output\.dense\.", r"\1.attn.proj."),
    (r"^(backbone\.blocks\.\d+\.attn)\.(q|v)(?:uery|alue)\.bias$", r"\1.\2_bias"),
    (r"^(backbone\.blocks\.\d+\.attn)\.(q|k|v)(?:uery|ey|alue)\.", r"\1.\2_proj."),
    (r"^(backbone\.blocks\.\d+)\.(?:mlp\.layers\.0\.0|intermediate\.dense)\.", r"\1.mlp.fc1."),
    (r"^(backbone\.blocks\.\d+)\.(?:mlp\.layers\.1|output\.dense)\.", r"\1.mlp.fc2."),
)

#: mmaction2, PySlowFast and torchvision.
MVIT: Rules = (
    (r"^(cls_token$|patch_embed\.|blocks\.|norm\.|conv_proj\.|pos_encoding\.)", r"backbone.\1"),
    (r"^head\.(?:projection|1)\.", "head.fc."),
    (r"^backbone\.cls_token$", "backbone.pos_encoding.class_token"),
    (r"^backbone\.patch_embed\.proj(?:ection)?\.", "backbone.conv_proj."),
    (r"^backbone\.norm3\.", "backbone.norm."),
    (r"^(backbone\.blocks\.\d+)\.proj\.", r"\1.project."),
    (r"^(backbone\.blocks\.\d+\.attn)\.proj\.", r"\1.project.0."),
    (r"^(backbone\.blocks\.\d+\.attn)\.pool_([qkv])\.weight$", r"\1.pool_\2.pool.weight"),
    (r"^(backbone\.blocks\.\d+\.attn)\.norm_([qkv])\.", r"\1.pool_\2.norm_act.0."),
    (r"^(backbone\.blocks\.\d+\.mlp)\.fc1\.", r"\1.0."),
    (r"^(backbone\.blocks\.\d+\.mlp)\.fc2\.", r"\1.3."),
)

_SWIN_STAGES = range(4)
#: mmaction2, the released code for videos and images, and torchvision's model. In torchvision, stages and patch merging
#: are numbered in one sequence.
SWIN: Rules = (
    (r"^(patch_embed\.|layers\.|features\.|norm\.)", r"backbone.\1"),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"^backbone\.norm3\.", "backbone.norm."),
    *((rf"^backbone\.layers\.{i}\.blocks\.", f"backbone.features.{2 * i}.") for i in _SWIN_STAGES),
    *((rf"^backbone\.layers\.{i}\.downsample\.", f"backbone.features.{2 * i + 1}.") for i in _SWIN_STAGES),
    (r"^(backbone\.features\..*\.mlp)\.fc1\.", r"\1.0."),
    (r"^(backbone\.features\..*\.mlp)\.fc2\.", r"\1.3."),
)

#: torchvision's image model counts the patch embedding as ``features.0``.
_SWIN_IMAGE: Rules = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    *((rf"^features\.{i}\.", f"features.{i - 1}.") for i in range(1, 2 * len(_SWIN_STAGES))),
)

#: UniFormer's checkpoints of its authors and of mmaction2, and its image weights.
UNIFORMER: Rules = (
    *CLASSIFIER,
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    *IMAGE_BACKBONE,
    (r"^(backbone\.blocks[34]\.\d+)\.norm1\.", r"\1.attn.norm."),
    (r"^(backbone\.blocks[34]\.\d+)\.norm2\.", r"\1.mlp.norm."),
)

#: UniFormerV2's checkpoints of its authors and of mmaction2, and CLIP's image transformer with the names of OpenAI and
#: OpenCLIP, Hugging Face, or timm.
UNIFORMER_V2: Rules = (
    *CLASSIFIER,
    *IMAGE_BACKBONE,
    (r"^backbone\.(?:class_embedding|embeddings\.class_embedding)$", "backbone.cls_token"),
    (r"^backbone\.(?:positional_embedding|embeddings\.position_embedding\.weight)$", "backbone.pos_embed"),
    (r"^backbone\.(?:conv1|embeddings\.patch_embedding|patch_embed\.proj)\.", "backbone.patch_embed."),
    (r"^backbone\.(?:ln_pre|pre_layrnorm)\.", "backbone.norm_pre."),  # the missing letter is Hugging Face's
    (r"^backbone\.transformer\.temporal_cls_token$", "backbone.fusion.token"),
    (r"^backbone\.transformer\.balance$", "backbone.fusion.balance"),
    (r"^backbone\.transformer\.(?:norm|proj\.0)\.", "backbone.fusion.norm."),
    (r"^backbone\.transformer\.proj\.2\.", "head.fc."),
    (r"^backbone\.transformer\.dpe\.(\d+)\.", r"backbone.global_blocks.\1.pos_embed."),
    (r"^backbone\.transformer\.dec\.", "backbone.global_blocks."),
    (r"^backbone\.(?:transformer\.resblocks|encoder\.layers)\.", "backbone.blocks."),
    (r"\.(?:ln_|layer_norm|norm)1\.", ".attn.norm."),
    (r"\.(?:ln_|layer_norm|norm)2\.", ".mlp.norm."),
    (r"\.ln_3\.", ".attn.norm_context."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.self_attn\.", ".attn."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


def drop_constant_positions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the position encodings of VideoMAE, which the model has itself, unless they were trained."""
    import torch

    from vexp.model.architectures.transformer import sinusoid_table

    state = dict(tensors)
    table = state.get("backbone.pos_embed")
    if table is not None and table.ndim == 3:
        constant = table.is_meta or torch.allclose(table[0].float(), sinusoid_table(*table.shape[1:]), atol=1e-4)
        if constant:  # a table that was trained is left, and reported as unknown
            del state["backbone.pos_embed"]
    return state


def adapt_mvit(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Resize the tables of relative positions, (2 * positions - 1, C), to those of ``model`` as its forward does."""
    from torch.nn import functional

    state = dict(tensors)
    for name, target in model.state_dict().items():
        source = state.get(name)
        if source is None:
            continue
        if name.endswith("pos_encoding.class_token"):
            state[name] = source.flatten()
        elif re.search(r"\.rel_pos_[thw]$", name) and source.shape != target.shape and source.ndim == 2:
            state[name] = functional.interpolate(source.T[None], len(target), mode="linear")[0].T
    return state


def rename_swin_images(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Number the stages of torchvision's image models of Swin as those of its video models."""
    return rename_keys(tensors, _SWIN_IMAGE) if "features.0.0.weight" in tensors else tensors


def adapt_swin(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Repeat the position tables of image models along time, and replace what follows from the window alone.

    The relative positions of an image window are repeated for every relative position in time (section 3.3 of the
    paper). ``relative_position_index`` and ``attn_mask`` are no weights: the model has its own.
    """
    state = {name: tensor for name, tensor in tensors.items() if not name.endswith(".attn_mask")}
    for name, target in model.state_dict().items():
        source = state.get(name)
        if source is None or source.shape == target.shape:
            continue
        if name.endswith(".relative_position_index"):
            state[name] = target
        elif name.endswith(".relative_position_bias_table") and len(target) % len(source) == 0:
            state[name] = source.repeat(len(target) // len(source), 1)
    return state


def image_tower(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of CLIP's image transformer without their prefix, and the others, which are those of text.

    If no key has the prefix of OpenAI and OpenCLIP or that of Hugging Face, all tensors belong to the first part.
    """
    for prefix in ("visual.", "vision_model."):
        image = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if image:
            return image, {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    return dict(tensors), {}


def convert_projections(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert the projections of attention, joined or apart in other programs, to the layers of ``model``.

    The layers ``q_proj``, ``k_proj`` and ``v_proj`` are joined to ``qkv``, and ``qkv`` is divided into ``q`` and
    ``kv``, where ``model`` has these.
    """
    import torch

    state = dict(tensors)
    for name in model.state_dict():
        path, _, leaf = name.rpartition(".")
        attention, _, layer = path.rpartition(".")
        parts = [f"{attention}.{part}_proj.{leaf}" for part in "qkv"]
        joined = f"{attention}.qkv.{leaf}"
        if layer == "qkv" and all(part in state for part in parts):
            state[name] = torch.cat([state.pop(part) for part in parts])
        elif layer == "q" and joined in state:
            queries, keys, values = state.pop(joined).chunk(3)
            state[name], state[f"{attention}.kv.{leaf}"] = queries, torch.cat((keys, values))
    return state
