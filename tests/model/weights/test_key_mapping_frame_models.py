"""TSN and TSM: mmaction2's keys and logits for every image model, and timm's weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from torch import Tensor, nn

from vexp.core.errors import ConfigError, UserError
from vexp.model.weights import source
from vexp.model.weights.load import load_checkpoint
from vexp.model.zoo_frames import FrameModel, Tsm, Tsn

#: Recorded from mmaction2 1.2.0; its "doc" says what the fields are.
RECORDED: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((GOLDEN_DIR / "mmaction2_frame_models.json.gz").read_bytes())
)["nets"]
OPTIONS: dict[str, FrameModel] = {
    "tsn_r18": Tsn(backbone="resnet18"),
    "tsn_r34": Tsn(backbone="resnet34"),
    "tsn_r101": Tsn(backbone="resnet101"),
    "tsn_r152": Tsn(backbone="resnet152"),
    "tsn_r50_flow": Tsn(channels=2, stacked=5),
    "tsn_dense161": Tsn(backbone="densenet161", features_only=True),
    "tsn_mobilenetv2": Tsn(backbone="mobilenet_v2"),
    "tsm_mobilenetv2": Tsm(backbone="mobilenet_v2"),
    "tsm_r101": Tsm(backbone="resnet101"),
    "tsm_r50_16": Tsm(),
    **{
        name: Tsn(
            backbone=name.removeprefix("tsn_tv_"),
            features_only=name.endswith(("densenet121", "convnext_tiny", "swin_t")),
        )
        for name in RECORDED
        if name.startswith("tsn_tv_")
    },
}
#: mmaction2 keeps in the state dict what it leaves out of torchvision's Swin.
THEIRS_ALONE = {
    "tsn_tv_swin_t": {f"backbone.{layer}.{leaf}" for layer in ("norm", "head") for leaf in ("weight", "bias")}
}
WITH_LOGITS = [name for name, recorded in RECORDED.items() if "logits" in recorded]
CHEAP = ("tsn_r18", "tsn_mobilenetv2", "tsm_mobilenetv2")


def built(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model, and mmaction2's tensors under its keys."""
    keys = RECORDED[name]["keys"]
    model = OPTIONS[name].build(keys["cls_head.fc_cls.bias"][0]).eval()
    return model, dict(OPTIONS[name].adapt({key: filled(key, shape) for key, shape in keys.items()}, model))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CHEAP else pytest.mark.slow) for n in OPTIONS])
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    model, given = built(name)
    ours = {key: value.shape for key, value in model.state_dict().items()}
    assert ours.keys() <= given.keys()
    assert given.keys() - ours.keys() == THEIRS_ALONE.get(name, set())
    assert {key: value.shape for key, value in given.items() if key in ours}.items() <= ours.items()
    count = sum(parameter.numel() for parameter in model.parameters())
    count += sum(given[key].numel() for key in THEIRS_ALONE.get(name, ()))
    assert count == RECORDED[name]["parameters"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CHEAP else pytest.mark.slow) for n in WITH_LOGITS])
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded, (model, given) = RECORDED[name], built(name)
    model.load_state_dict(given)
    images = clip_of(recorded["input"])  # (T, C, H, W), or (T, 5 * 2, H, W) for stacked flow
    with torch.no_grad():
        channels = OPTIONS[name].channels
        logits = model(images.flatten(0, 1).unflatten(0, (-1, channels)).transpose(0, 1).unsqueeze(0))[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-5)


def test_recorded_models_all_have_an_option() -> None:
    assert OPTIONS.keys() == RECORDED.keys()
    assert len(WITH_LOGITS) == 9


# --- timm ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which is not asked."""
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("timm")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def publish(cache: Path, name: str) -> dict[str, Tensor]:
    """Put random weights of a model into the cache, in timm's published layout; return them."""
    import timm
    from safetensors.torch import save_file

    architecture = name.partition(".")[0]
    folder = cache / f"models--timm--{name}"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    state: dict[str, Tensor] = timm.create_model(architecture).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps({"architecture": architecture, "num_classes": 1000}))
    return state


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("test_convnext.r160_in1k", "head.fc"), ("test_vit.r160_in1k", "head"), ("test_resnet.r160_in1k", "fc")],
)
@pytest.mark.parametrize("tag", [True, False])
def test_load_checkpoint_timm_name_fills_backbone(name: str, classifier: str, tag: bool, hub_cache: Path) -> None:
    published = publish(hub_cache, name)
    architecture = name.partition(".")[0]
    model = Tsn(backbone=f"timm/{architecture}").build(4)
    report = load_checkpoint(model, f"timm://{name if tag else architecture}")
    assert {*report.reinitialized} == {"head.fc.weight", "head.fc.bias"}
    assert {*report.ignored} == {f"backbone.{classifier}.weight", f"backbone.{classifier}.bias"}
    assert report.warnings() == []
    state = model.state_dict()
    assert all(
        torch.equal(state[f"backbone.{key}"], value) for key, value in published.items() if classifier not in key
    )
    assert report.kind == "timm"
    assert report.metadata.input_size == [160, 160]
    assert report.metadata.mean is not None
    assert f"timm's {name}" in str(report)


def test_load_checkpoint_timm_weights_average_to_flow_channels(hub_cache: Path) -> None:
    published = publish(hub_cache, "test_convnext.r160_in1k")
    model = Tsn(backbone="timm/test_convnext", channels=2, stacked=5).build(4)
    load_checkpoint(model, "timm://test_convnext")
    mean = published["stem.0.weight"].mean(1, keepdim=True).expand(-1, 10, -1, -1)
    torch.testing.assert_close(model.state_dict()["backbone.stem.0.weight"], mean)


def test_load_checkpoint_vexp_keys_of_timm_model_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = Tsn(backbone="timm/test_convnext").build(4)
    torch.save({key: value + 1 for key, value in model.state_dict().items()}, tmp_path / "own.pth")
    assert load_checkpoint(model, tmp_path / "own.pth", strict=True).share == 1


def test_load_checkpoint_timm_name_not_cached_raises(hub_cache: Path) -> None:
    model = Tsn(backbone="timm/test_vit").build(4)
    with pytest.raises(UserError, match=r"timm://test_vit: .*is not in the cache .*HF_HUB_OFFLINE is set"):
        load_checkpoint(model, "timm://test_vit")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm://test_vit.nope", "the published weights of test_vit are r160_in1k"),
        ("timm://test_vlt", "is not an image model of timm; did you mean timm://test_vit"),
    ],
)
def test_locate_unknown_timm_weights_raise(name: str, message: str, hub_cache: Path) -> None:
    with pytest.raises(UserError, match=message):
        source.locate(name)


def test_check_timm_name_without_timm_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vexp.model.image_models.importlib.util.find_spec", lambda *_: None)
    with pytest.raises(ConfigError, match=r"model.weights.path=timm://test_vit: needs .*'vexp\[timm\]'"):
        source.check("model.weights.path", "timm://test_vit")
