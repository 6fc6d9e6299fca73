"""The models for heat maps: shapes of their stages, parameters, and the keys of mmaction2's checkpoints."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from vexp.core.errors import ConfigError
from vexp.model import build_model
from vexp.model.architectures.input_channels import replace_input_channels
from vexp.model.weights import load_state_dict
from vexp.model.zoo_pose import C3dLight, PoseSlowOnly

#: Of the published model for the 60 classes of NTU RGB+D: 2.0 M.
PARAMETERS = 2_024_860


def shapes(model: nn.Module, clips: torch.Tensor) -> dict[str, list[int]]:
    """The output shapes of the children of the backbone."""
    found = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, list(out.shape[1:])))
        for name, module in model.backbone.named_children()
        if not isinstance(module, nn.Identity)  # type: ignore[union-attr, operator]
    ]
    with torch.no_grad():
        model.eval()(clips)
    for hook in hooks:
        hook.remove()
    return found


def test_pose_slow_only_shapes_equal_the_table() -> None:
    model = build_model("posec3d", 60)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS
    assert shapes(model, torch.zeros(1, 17, 8, 56, 56)) == {
        "conv1": [32, 8, 56, 56], "pool1": [32, 8, 56, 56],
        "layer1": [128, 8, 28, 28], "layer2": [256, 8, 14, 14], "layer3": [512, 4, 7, 7],
    }  # fmt: skip


def test_pose_slow_only_loads_keys_of_mmaction2() -> None:
    option = PoseSlowOnly(channels=17, width=8, blocks=[1, 1, 1])
    model, other = option.build(5), option.build(5)
    keys = [key.replace("head.fc.", "cls_head.fc_cls.") for key in other.state_dict()]
    pattern = r"backbone\.(conv1|layer[123]\.0\.(conv[123]|downsample))\.(conv\.weight|bn\.\w+)|cls_head\.fc_cls\.\w+"
    assert all(re.fullmatch(pattern, key) for key in keys)
    load_state_dict(model, option.adapt(dict(zip(keys, other.state_dict().values(), strict=True)), model))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_c3d_light_shapes_equal_the_table() -> None:
    found = shapes(build_model("posec3d_c3d", 5), torch.zeros(1, 17, 4, 56, 56))
    assert [found[name] for name in ("conv1a", "conv2a", "conv3b", "conv4b")] == [
        [32, 4, 56, 56], [64, 4, 28, 28], [128, 4, 14, 14], [256, 4, 7, 7],
    ]  # fmt: skip
    assert C3dLight(channels=34).build(3)(torch.zeros(1, 34, 2, 16, 16)).shape == (1, 3)


def test_pose_slow_only_invalid_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="must have one to four numbers"):
        PoseSlowOnly(blocks=[])
    with pytest.raises(ConfigError, match="must have 2 numbers"):
        PoseSlowOnly(blocks=[1, 1])


def test_replaced_channels_beyond_rgb_have_other_weights() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 1))
    before = model[0].weight.detach().clone()
    replace_input_channels(model, 7)
    weight = model[0].weight
    assert torch.equal(weight[:, :3], before)
    assert len({tuple(weight[:, channel].flatten().tolist()) for channel in range(7)}) == 7
    assert torch.equal(weight[:, 3].sort(dim=0).values, before[:, 0].sort(dim=0).values)
