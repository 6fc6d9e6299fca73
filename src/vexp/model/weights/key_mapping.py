"""Conversion of other programs' checkpoints to the keys and shapes of the models in ``vexp.model.zoo``.

A model family's rules (``Family.key_rules``) are ordered (pattern, replacement) pairs of regular expressions. Each rule
is applied to every key in turn; keys that match no rule are left unchanged. They convert

- checkpoints of mmaction2 0.24 and 1.x (``backbone.``, ``cls_head.``) for the same architecture,
- torchvision's image weights for the 2D model the architecture is based on (``conv1.weight``, ``layer1.0.bn1.weight``,
  ...), which ``inflate`` then extends in time. Their classifier does not match and is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

Rules = tuple[tuple[str, str], ...]

CLASSIFIER: Rules = ((r"^cls_head\.fc_cls\.", "head.fc."),)

#: mmaction2's 2D ResNets, with convolution and norm in one module, to torchvision's. TSM wraps convolutions in ``net``.
MMACTION2_TO_TORCHVISION_RESNET: Rules = (
    (r"^(backbone\.(?:layer\d\.\d+\.)?)conv(\d)\.conv\.(?:net\.)?", r"\1conv\2."),
    (r"^(backbone\.(?:layer\d\.\d+\.)?)conv(\d)\.bn\.", r"\1bn\2."),
    (r"^(backbone\.layer\d\.\d+)\.downsample\.conv\.", r"\1.downsample.0."),
    (r"^(backbone\.layer\d\.\d+)\.downsample\.bn\.", r"\1.downsample.1."),
)

#: Index of the first block of each stage of MobileNetV2 within torchvision's ``features``.
_MOBILENET_STAGES = {1: 1, 2: 2, 3: 4, 4: 7, 5: 11, 6: 14, 7: 17}

#: mmaction2's MobileNetV2 (Sandler et al., CVPR 2018) to torchvision's. Its rules for stems are not those of ResNets.
MMACTION2_TO_TORCHVISION_MOBILENET: Rules = (
    (r"\.conv\.0\.net\.", ".conv.0."),  # of TSM
    *(
        (rf"^backbone\.layer{stage}\.{block}\.", f"backbone.features.{first + block}.")
        for stage, first in _MOBILENET_STAGES.items()
        for block in range(4)
    ),
    (r"^(backbone\.features\.1\.conv)\.1\.conv\.", r"\1.1."),  # the first block does not expand its channels
    (r"^(backbone\.features\.1\.conv)\.1\.bn\.", r"\1.2."),
    (r"^(backbone\.features\.\d+\.conv)\.2\.conv\.", r"\1.2."),
    (r"^(backbone\.features\.\d+\.conv)\.2\.bn\.", r"\1.3."),
    (r"^(backbone\.features\.\d+\.conv\.[01])\.conv\.", r"\1.0."),
    (r"^(backbone\.features\.\d+\.conv\.[01])\.bn\.", r"\1.1."),
    (r"^backbone\.conv1\.conv\.", "backbone.features.0.0."),
    (r"^backbone\.conv1\.bn\.", "backbone.features.0.1."),
    (r"^backbone\.conv2\.conv\.", "backbone.features.18.0."),
    (r"^backbone\.conv2\.bn\.", "backbone.features.18.1."),
)

#: A timm image model is used as the backbone without changes.
TIMM_BACKBONE: Rules = ((r"^", "backbone."),)

#: A torchvision image model is used as the backbone without changes.
IMAGE_BACKBONE: Rules = ((r"^(?!backbone\.|head\.|cls_head\.)", "backbone."),)

#: torchvision's 2D ResNets to modules of convolution and norm.
TORCHVISION_RESNET: Rules = (
    (r"^conv1\.", "backbone.conv1.conv."),
    (r"^bn1\.", "backbone.conv1.bn."),
    (r"^(layer\d\.\d+)\.conv(\d)\.", r"backbone.\1.conv\2.conv."),
    (r"^(layer\d\.\d+)\.bn(\d)\.", r"backbone.\1.conv\2.bn."),
    (r"^(layer\d\.\d+)\.downsample\.0\.", r"backbone.\1.downsample.conv."),
    (r"^(layer\d\.\d+)\.downsample\.1\.", r"backbone.\1.downsample.bn."),
)

NON_LOCAL: Rules = (
    (r"\.non_local_block\.conv_out\.", ".non_local.out."),
    (r"\.non_local_block\.(g\.0|theta|phi\.0)\.conv\.", r".non_local.\1."),
)

LATERALS: Rules = (
    (r"^backbone\.slow_path\.conv1_lateral\.conv\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.conv\.", r"backbone.laterals.\1."),
)

X3D: Rules = (
    (r"^backbone\.conv1_s\.conv\.", "backbone.conv1.s."),
    (r"^backbone\.conv1_t\.", "backbone.conv1.t."),
    (r"\.se_module\.", ".conv2.se."),
    (r"^backbone\.conv5\.", "head.conv5."),
    (r"^cls_head\.fc1\.", "head.fc1."),
    (r"^cls_head\.fc2\.", "head.fc."),
)

TIMESFORMER: Rules = (
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

C3D: Rules = ((r"^backbone\.(conv\d[ab])\.conv\.", r"backbone.\1."),)

#: UniFormer's checkpoints (of its authors, and mmaction2's, which have the same names) and image weights.
UNIFORMER: Rules = (
    *CLASSIFIER,
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    *IMAGE_BACKBONE,
)

#: CLIP's image transformer (OpenAI's names, Hugging Face's, timm's) and UniFormerV2's checkpoints, to UniFormerV2.
CLIP: Rules = (
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
    (r"\.(?:ln_|layer_norm)([12])\.", r".norm\1."),
    (r"\.ln_3\.", ".norm_context."),
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


def split_attention(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert the projections of attention, joined or apart in other programs, to the layers of ``model``.

    The layers ``q_proj``, ``k_proj`` and ``v_proj`` are joined to ``qkv``, and ``qkv`` is divided into ``q`` and
    ``kv``, where ``model`` has these.
    """
    import torch

    state = dict(tensors)
    for name in model.state_dict():
        layer, _, leaf = name.rpartition(".")
        block, _, layer = layer.rpartition(".")
        parts = [f"{block}.{part}_proj.{leaf}" for part in "qkv"]
        joined = f"{block}.qkv.{leaf}"
        if layer == "qkv" and all(part in state for part in parts):
            state[name] = torch.cat([state.pop(part) for part in parts])
        elif layer == "q" and joined in state:
            queries, keys, values = state.pop(joined).chunk(3)
            state[name], state[f"{block}.kv.{leaf}"] = queries, torch.cat((keys, values))
    return state


def rename_keys(state_dict: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Return the tensors under the keys given by ``rules``.

    Raises:
        ValueError: If two keys become equal.
    """
    before: dict[str, str] = {}  # old keys by new ones
    for old in state_dict:
        new = old
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in before:
            raise ValueError(f"renames both {before[new]} and {old} to {new}")
        before[new] = old
    return {new: state_dict[old] for new, old in before.items()}


def inflate(state_dict: Mapping[str, Tensor], model: nn.Module, *, center: bool = False) -> dict[str, Tensor]:
    """Convert the weights of an image model, already renamed, to the shapes of ``model``.

    A 2D kernel is repeated along the time axis of the 3D kernel and divided by its length, so that a clip of identical
    frames gives the features of the image model (Carreira & Zisserman, CVPR 2017, section 2.4). If ``center``, it is
    the middle of the 3D kernel instead, which is 0 elsewhere and gives them for any frames. The temporal attention
    of TimeSformer is initialized with the weights of its spatial attention (the paper's released code). All other
    tensors are returned unchanged.
    """
    import torch

    state = dict(state_dict)
    for name, target in model.state_dict().items():
        spatial = name.replace(".temporal.", ".spatial.")
        if name not in state and spatial != name and spatial in state:
            state[name] = state[spatial]
        source = state.get(name)
        if source is not None and source.ndim == 4 and target.ndim == 5 and source.layout is torch.strided:
            out_channels, _, length, *size = target.shape
            if [source.shape[0], *source.shape[2:]] == [out_channels, *size]:
                repeated = source.unsqueeze(2).repeat(1, 1, length, 1, 1)
                middle = (torch.arange(length, device=source.device) == length // 2).view(-1, 1, 1)
                state[name] = repeated * middle if center else repeated / length
    return state
