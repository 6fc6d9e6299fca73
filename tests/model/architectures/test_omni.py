"""OmniResNet: images and videos take their own way through one backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vexp.core.errors import ConfigError
from vexp.model.architectures.omni import OmniNet, omni_resnet
from vexp.model.features import classifier_of


@pytest.fixture(scope="module")
def model() -> OmniNet:
    torch.manual_seed(0)
    return omni_resnet(3, image_classes=3, dropout=0.5, image_dropout=0.2)


def test_image_has_the_features_of_a_clip_without_borders(model: OmniNet) -> None:
    """In the middle of a long clip of equal frames, where convolutions in time do not reach its ends."""
    model.eval()
    image = torch.randn(1, 3, 1, 32, 32)
    with torch.no_grad():
        still = model.backbone(image.expand(-1, -1, 21, -1, -1))[:, :, 10]
        torch.testing.assert_close(model.backbone(image)[:, :, 0], still, rtol=1e-4, atol=1e-5)


def test_training_on_images_leaves_the_running_means_of_videos(model: OmniNet) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model(torch.randn(2, 3, 1, 32, 32)).shape == (2, 3)
    images = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert images == {f"image_head.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert model(torch.randn(2, 3, 2, 32, 32)).shape == (2, 3)
    assert not torch.equal(
        model.state_dict()["backbone.conv1.bn.running_mean"], before["backbone.conv1.bn.running_mean"]
    )


def test_classifier_is_that_of_videos(model: OmniNet) -> None:
    assert classifier_of(model, 3)[0] == "head.fc"


def test_synchronized_norms_are_rejected(model: OmniNet) -> None:
    with pytest.raises(ConfigError) as caught:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)(torch.randn(2, 3, 1, 32, 32))
    assert caught.value.key == "dist.sync_bn"
