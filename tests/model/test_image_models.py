"""Names of image models: those of torchvision and timm, without importing them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from vexp import compose
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import ConfigError
from vexp.model.image_models import check_image_model, registered_names


def test_registered_names_equal_torchvision() -> None:
    from torchvision import models

    assert sorted(registered_names("torchvision")) == models.list_models(module=models)


def test_registered_names_equal_timm() -> None:
    """A contract test of the decorator that timm's modules register their models with."""
    timm = pytest.importorskip("timm")
    assert registered_names("timm") == set(timm.list_models())


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "timm/convnext_tiny", "timm/convnext_tiny.fb_in1k"])
def test_check_image_model_known_name_passes(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    check_image_model(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "is not an image model of torchvision; did you mean resnet50"),
        ("r3d_18", "is not an image model of torchvision"),  # a video model
        ("vit_tiny_patch16_224", "is not an image model of torchvision; did you mean timm/vit_tiny_patch16_224?"),
        ("timm/convnext_tin", "is not an image model of timm; did you mean timm/convnext_tiny"),
        ("timm/zzz", "is not an image model of timm"),
    ],
)
def test_check_image_model_unknown_name_suggests_others(name: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError) as info:
        check_image_model(name)
    assert (info.value.key, info.value.value) == ("model.backbone", name)
    assert message in str(info.value)


def test_check_image_model_without_timm_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else found(name, *rest))
    with pytest.raises(ConfigError, match=r"model.backbone=timm/convnext_tiny: needs a package .*'vexp\[timm\]'"):
        check_image_model("timm/convnext_tiny")


def test_check_inputs_unknown_backbone_names_key_and_origin() -> None:
    config = compose(["model=tsm", "model.backbone=resnet51"])
    with pytest.raises(ConfigError, match=r"model.backbone=resnet51: is not an image model") as info:
        check_inputs(config, Provenance(["model=tsm", "model.backbone=resnet51"]))
    assert info.value.key == "model.backbone"


@pytest.mark.slow
def test_check_image_model_imports_neither_torch_nor_timm() -> None:
    pytest.importorskip("timm")
    code = (
        "import sys; from vexp.model.image_models import check_image_model; check_image_model('timm/resnet18'); "
        "print([name for name in ('torch', 'timm', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
