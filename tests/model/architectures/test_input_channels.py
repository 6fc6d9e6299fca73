"""Models for optical flow: the first convolution, and RGB weights in it."""

from __future__ import annotations

import copy

import pytest
import torch
from support.small_models import small_model
from torch import nn

from vexp.model import zoo, zoo_frames
from vexp.model.architectures.input_channels import average_rgb_weights, replace_input_channels
from vexp.model.config import Tiny3d
from vexp.model.registry import REGISTRY
from vexp.model.weights.load import load_checkpoint


@pytest.mark.parametrize("name", ["tiny3d", "tsm_r50", "slowfast_r50", "x3d_s"])
def test_replace_input_channels_flow_changes_stem_only(name: str) -> None:
    with torch.device("meta"):
        model = REGISTRY[name].option().build_architecture(5)
        before = {part: tensor.shape for part, tensor in model.state_dict().items()}
        replace_input_channels(model, 2)
        after = {part: tensor.shape for part, tensor in model.state_dict().items()}
        changed = [part for part in before if before[part] != after[part]]
        _, frames, _, _ = REGISTRY[name].clip
        assert model(torch.empty(1, 2, frames, 64, 64)).shape == (1, 5)
    assert before.keys() == after.keys()
    assert len(changed) == (2 if name == "slowfast_r50" else 1)  # a stem for each path
    assert all(after[part][1] == 2 for part in changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_replace_input_channels_every_model_accepts_flow(name: str) -> None:
    model, size = small_model(name, 4)
    replace_input_channels(model, 2)
    assert model.eval()(torch.randn(1, 2, *size)).shape == (1, 4)


def test_load_checkpoint_rgb_weights_are_averaged_for_flow(tmp_path) -> None:
    """Of a grey clip the stem makes two thirds of what the RGB model's makes: two channels of three."""
    torch.manual_seed(0)
    rgb = Tiny3d().build(3).eval()
    torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
    flow = Tiny3d(channels=2).build(3).eval()
    load_checkpoint(flow, tmp_path / "rgb.pth", strict=True)
    clip = torch.randn(1, 1, 4, 16, 16)
    stems = [next(part for part in model.modules() if isinstance(part, nn.Conv3d)) for model in (rgb, flow)]
    seen = [stem(clip.expand(-1, stem.in_channels, -1, -1, -1)) for stem in stems]
    torch.testing.assert_close(seen[1], seen[0] * 2 / 3)


def test_load_checkpoint_image_weights_are_inflated_and_averaged(tmp_path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    image = resnet50()
    torch.save(image.state_dict(), tmp_path / "image.pth")
    option = zoo.I3d(channels=2)
    option.weights.path = str(tmp_path / "image.pth")
    stem = next(part for part in option.build(3).modules() if isinstance(part, nn.Conv3d))
    expected = image.conv1.weight.detach().mean(1, keepdim=True) / stem.weight.shape[2]
    torch.testing.assert_close(stem.weight[:, 1, 0], expected[:, 0])
    torch.testing.assert_close(stem.weight[:, 0, -1], expected[:, 0])


def test_load_checkpoint_image_weights_are_averaged_for_stacked_flow(tmp_path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    image = resnet18()
    torch.save(image.state_dict(), tmp_path / "image.pth")
    option = zoo_frames.Tsn(channels=2, stacked=5, backbone="resnet18")
    assert option.build(3).backbone.conv1.weight.shape == (64, 10, 7, 7)
    option.weights.path = str(tmp_path / "image.pth")
    model = option.build(3)
    mean = image.conv1.weight.detach().mean(1)
    assert all(torch.equal(model.backbone.conv1.weight[:, channel], mean) for channel in range(10))
    assert model.eval()(torch.randn(2, 2, 15, 32, 32)).shape == (2, 3)


def test_average_rgb_weights_rgb_model_is_unchanged() -> None:
    model = Tiny3d().build(3)
    tensors = copy.deepcopy(model.state_dict())
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in average_rgb_weights(tensors, model).items())
