"""What other people's checkpoints call the tensors of the zoo: key maps, and image weights made 3D.

A net's rules are ordered (pattern, replacement) pairs of regular expressions; each is applied to every key in turn, and
keys that none of them knows stay as they are, our own names among them. They read

- checkpoints of mmaction2 0.24 and 1.x (``backbone.``, ``cls_head.``) of the same net,
- torchvision's image weights of the net it was made from (``conv1.weight``, ``layer1.0.bn1.weight`` ...), which
  ``inflate`` then gives their extent in time. Their classifier finds no place and is left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vexp.model import zoo as zoo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vexp.model import ModelOption

Rules = tuple[tuple[str, str], ...]

_CLASSIFIER: Rules = ((r"^cls_head\.fc_cls\.", "head.fc."),)

#: mmaction2's 2D ResNets, whose convolutions and norms are pairs; ``net`` is what TSM's shift wraps.
_PAIRS_TO_TORCHVISION: Rules = (
    (r"^(backbone\.(?:layer\d\.\d+\.)?)conv(\d)\.conv\.(?:net\.)?", r"\1conv\2."),
    (r"^(backbone\.(?:layer\d\.\d+\.)?)conv(\d)\.bn\.", r"\1bn\2."),
    (r"^(backbone\.layer\d\.\d+)\.downsample\.conv\.", r"\1.downsample.0."),
    (r"^(backbone\.layer\d\.\d+)\.downsample\.bn\.", r"\1.downsample.1."),
)

#: Any torchvision image net is the backbone as it is.
_IMAGE_NET: Rules = ((r"^(?!backbone\.|head\.|cls_head\.)", "backbone."),)

#: torchvision's 2D ResNets to our pairs of convolution and norm: the other way round.
_TORCHVISION_TO_PAIRS: Rules = (
    (r"^conv1\.", "backbone.conv1.conv."),
    (r"^bn1\.", "backbone.conv1.bn."),
    (r"^(layer\d\.\d+)\.conv(\d)\.", r"backbone.\1.conv\2.conv."),
    (r"^(layer\d\.\d+)\.bn(\d)\.", r"backbone.\1.conv\2.bn."),
    (r"^(layer\d\.\d+)\.downsample\.0\.", r"backbone.\1.downsample.conv."),
    (r"^(layer\d\.\d+)\.downsample\.1\.", r"backbone.\1.downsample.bn."),
)

_NON_LOCAL: Rules = (
    (r"\.non_local_block\.conv_out\.", ".non_local.out."),
    (r"\.non_local_block\.(g\.0|theta|phi\.0)\.conv\.", r".non_local.\1."),
)

_LATERALS: Rules = (
    (r"^backbone\.slow_path\.conv1_lateral\.conv\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.conv\.", r"backbone.laterals.\1."),
)

_X3D: Rules = (
    (r"^backbone\.conv1_s\.conv\.", "backbone.conv1.s."),
    (r"^backbone\.conv1_t\.", "backbone.conv1.t."),
    (r"\.se_module\.", ".conv2.se."),
    (r"^backbone\.conv5\.", "head.conv5."),
    (r"^cls_head\.fc1\.", "head.fc1."),
    (r"^cls_head\.fc2\.", "head.fc."),
)

_TIMESFORMER: Rules = (
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

#: torchvision's vit_b_16 (class token, position embedding, attention across the frame, MLP) to TimeSformer.
_VIT: Rules = (
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

RULES: dict[type[zoo.Family], Rules] = {
    zoo.Tsn: (*_CLASSIFIER, *_PAIRS_TO_TORCHVISION, *_IMAGE_NET),
    zoo.Tsm: (*_CLASSIFIER, *_PAIRS_TO_TORCHVISION, *_IMAGE_NET),
    zoo.SlowOnly: (*_CLASSIFIER, *_TORCHVISION_TO_PAIRS),
    zoo.SlowFast: (*_CLASSIFIER, *_LATERALS),
    zoo.I3d: (*_CLASSIFIER, *_TORCHVISION_TO_PAIRS, *_NON_LOCAL),
    zoo.C3d: (*_CLASSIFIER, (r"^backbone\.(conv\d[ab])\.conv\.", r"backbone.\1.")),
    zoo.R2plus1d: _CLASSIFIER,
    zoo.Csn: _CLASSIFIER,
    zoo.X3d: _X3D,
    zoo.TimeSformer: (*_CLASSIFIER, *_TIMESFORMER, *_VIT),
}


def rename_rules(model: str | ModelOption) -> Rules:
    """The rules of a net, by its name (``"tsm_r50"``) or option; () for a net that has none, such as torchvision's own.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(model, str):
        from vexp.model.registry import named_option

        model = named_option(model)
    for family, rules in RULES.items():
        if isinstance(model, family):
            return rules
    return ()


def renamed(state_dict: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The same tensors under the names that ``rules`` give them.

    Raises:
        ValueError: two keys become one.
    """
    result: dict[str, Tensor] = {}
    for old, tensor in state_dict.items():
        new = old
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in result:
            raise ValueError(f"key {old}: becomes {new}, which another key became before")
        result[new] = tensor
    return result


def inflate(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights of an image net made those of ``model``, whose names they already have.

    A 2D kernel is repeated over the frames of the 3D kernel and divided by their number, so that a clip of equal frames
    gives the image net's features (Carreira & Zisserman, CVPR 2017, section 2.4). TimeSformer's attention along time
    starts with the weights of its attention across the frame (the paper's released code). All else is passed on.
    """
    state = dict(state_dict)
    for name, wanted in model.state_dict().items():
        spatial = name.replace(".temporal.", ".spatial.")
        if name not in state and spatial != name and spatial in state:
            state[name] = state[spatial]
        given = state.get(name)
        if given is not None and given.ndim == 4 and wanted.ndim == 5:
            frames = wanted.shape[2]
            if (given.shape[0], *given.shape[2:]) == (wanted.shape[0], *wanted.shape[3:]):
                state[name] = given.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
    return state
