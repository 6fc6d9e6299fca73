"""Conversion of other programs' checkpoints to the keys and shapes of the models in ``vexp.model.zoo``.

A model family's rules (``Family.key_rules``) are ordered (pattern, replacement) pairs of regular expressions. Each rule
is applied to every key in turn; keys that match no rule are left unchanged. They convert

- checkpoints of mmaction2 0.24 and 1.x (``backbone.``, ``cls_head.``) for the same architecture,
- torchvision's image weights for the 2D model the architecture is based on (``conv1.weight``, ``layer1.0.bn1.weight``,
  ...), which ``inflate`` then extends in time. Their classifier does not match and is ignored.

The rules of the transformers are in ``vexp.model.weights.key_mapping_transformers``.
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

#: What mmaction2 wraps around the blocks and convolutions of a 2D ResNet: non-local blocks and the pooling of TSM, the
#: modules of TANet and of TIN. The rules of ResNets follow.
FRAME_LAYERS: Rules = (
    (r"^(backbone\.layer\d)\.net\.", r"\1."),
    (r"^(backbone\.layer\d)\.(\d+)\.non_local_block\.conv_out\.", r"\1.non_local\2.out."),
    (r"^(backbone\.layer\d)\.(\d+)\.non_local_block\.(g\.0|theta|phi\.0)\.conv\.", r"\1.non_local\2.\3."),
    (r"^(backbone\.layer\d\.\d+)\.block\.", r"\1."),
    (r"^(backbone\.layer\d\.\d+)\.tam\.G\.", r"\1.conv2.temporal.kernel."),
    (r"^(backbone\.layer\d\.\d+)\.tam\.L\.", r"\1.conv2.temporal.gate."),
    (r"^(backbone\.layer\d\.\d+)\.conv1\.conv\.net1\.", r"\1.conv1.temporal."),
    (r"^(backbone\.layer\d\.\d+)\.conv1\.conv\.net2\.", r"\1.conv1."),
)

TRN: Rules = (
    (r"^cls_head\.consensus\.fc_fusion_scales\.", "relations.scales."),
    (r"^cls_head\.consensus\.classifier\.", "relations.scales.0."),
)

TPN: Rules = (
    (r"^neck\.aux_head\.fc\.", "auxiliary.head.fc."),
    (r"^neck\.aux_head\.", "auxiliary."),
    (r"^neck\.spatial_modulation\.spatial_modulation\.0\.0\.", "neck.spatial_modulation."),
    (r"^neck\.temporal_modulation_ops\.(\d)\.conv\.conv\.", r"neck.temporal_modulation.\1."),
    (r"^neck\.downsample_ops\.0\.conv\.conv\.", "neck.downsample."),
    (r"^neck\.level_fusion_1\.", "neck.top_down."),
    (r"^neck\.level_fusion_2\.", "neck.bottom_up."),
    (r"\.downsamples\.(\d)\.conv\.", r".levels.\1."),
    (r"\.(?:fusion_conv|pyramid_fusion)\.", ".fusion."),
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

#: mmpretrain's MobileOne (Vasu et al., CVPR 2023) to timm's. TSM wraps its blocks in ``net``.
MOBILEONE: Rules = (
    (r"^(backbone\.stage\d(?:\.\d+)?)\.net\.", r"\1."),
    (r"^backbone\.stage0\.", "backbone.stem."),
    *((rf"^backbone\.stage{stage}\.", f"backbone.stages.{stage - 1}.") for stage in range(1, 5)),
    (r"\.branch_(conv_list\.\d+|scale)\.norm\.", r".branch_\1.bn."),
    (r"\.branch_conv_list\.", ".conv_kxk."),
    (r"\.branch_scale\.", ".conv_scale."),
    (r"\.branch_norm\.", ".identity."),
    (r"\.branch_reparam\.", ".reparam_conv."),  # deploy=True
    (r"\.se\.conv(\d)\.conv\.", r".attn.fc\1."),
)

#: A timm image model is used as the backbone without changes.
TIMM_BACKBONE: Rules = ((r"^", "backbone."),)

#: A torchvision image model is used as the backbone without changes.
IMAGE_BACKBONE: Rules = ((r"^(?!(?:backbone|neck|auxiliary|relations|head|cls_head)\.)", "backbone."),)

#: torchvision's 2D ResNets, and mmaction2's OmniResNet (``backbone.``), to modules of convolution and norm.
TORCHVISION_RESNET: Rules = (
    (r"^(?:backbone\.)?conv1\.weight$", "backbone.conv1.conv.weight"),
    (r"^(?:backbone\.)?bn1\.", "backbone.conv1.bn."),
    (r"^(?:backbone\.)?(layer\d\.\d+)\.conv(\d)\.weight$", r"backbone.\1.conv\2.conv.weight"),
    (r"^(?:backbone\.)?(layer\d\.\d+)\.bn(\d)\.", r"backbone.\1.conv\2.bn."),
    (r"^(?:backbone\.)?(layer\d\.\d+)\.downsample\.0\.", r"backbone.\1.downsample.conv."),
    (r"^(?:backbone\.)?(layer\d\.\d+)\.downsample\.1\.", r"backbone.\1.downsample.bn."),
)

#: The classifiers of mmaction2's OmniHead: of videos, with a hidden layer, and of images.
OMNI: Rules = (
    (r"^cls_head\.fc3d\.2\.", "head.hidden."),
    (r"^cls_head\.fc3d\.3\.", "head.norm."),
    (r"^cls_head\.fc3d\.6\.", "head.fc."),
    (r"^cls_head\.fc2d\.2\.", "image_head.norm."),
    (r"^cls_head\.fc2d\.4\.", "image_head.fc."),
)

NON_LOCAL: Rules = (
    (r"\.non_local_block\.conv_out\.", ".non_local.out."),
    (r"\.non_local_block\.(g\.0|theta|phi\.0)\.conv\.", r".non_local.\1."),
)

LATERALS: Rules = (
    (r"^backbone\.slow_path\.conv1_lateral\.conv\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.conv\.", r"backbone.laterals.\1."),
)

#: For ``lateral_norm``, before ``LATERALS``.
LATERALS_WITH_NORM: Rules = (
    (r"^backbone\.slow_path\.conv1_lateral\.", "backbone.laterals.0."),
    (r"^backbone\.slow_path\.layer(\d)_lateral\.", r"backbone.laterals.\1."),
)

X3D: Rules = (
    (r"^backbone\.conv1_s\.conv\.", "backbone.conv1.s."),
    (r"^backbone\.conv1_t\.", "backbone.conv1.t."),
    (r"\.se_module\.", ".conv2.se."),
    (r"^backbone\.conv5\.", "head.conv5."),
    (r"^cls_head\.fc1\.", "head.fc1."),
    (r"^cls_head\.fc2\.", "head.fc."),
)

#: Checkpoints of mmaction2, and its Sports-1M weights of the backbone alone, without a prefix.
C3D: Rules = (
    (r"^(?:backbone\.)?(conv\d[ab])\.conv\.", r"backbone.\1."),
    (r"^(fc[67])\.", r"backbone.\1."),
)


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
