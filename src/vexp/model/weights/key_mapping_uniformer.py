"""Conversion of other programs' checkpoints and image weights to UniFormer and UniFormerV2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vexp.model.weights.key_mapping import CLASSIFIER, IMAGE_BACKBONE, Rules

if TYPE_CHECKING:
    from torch import Tensor, nn

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
