"""TANet, TIN, TRN, TPN and TSM with non-local blocks: mmaction2's keys and logits, and image weights."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from support.tables import default_lane_has
from torch import nn

from vexp.core.errors import ConfigError
from vexp.model import zoo, zoo_frames
from vexp.model.family import Family
from vexp.model.meta import meta_model
from vexp.model.weights.load import load_checkpoint

#: Recorded from mmaction2 1.2.0; its "doc" says what the fields are.
RECORDED: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((GOLDEN_DIR / "mmaction2_frame_layers.json.gz").read_bytes())
)["nets"]
OPTIONS: dict[str, Family] = {
    "tanet_r50": zoo_frames.TaNet(),
    "tanet_r50_16": zoo_frames.TaNet(num_frames=16),
    "tin_r50": zoo_frames.Tin(),
    "tin_tsm_r50": zoo_frames.Tin(),
    "tpn_tsm_r50": zoo_frames.TsmTpn(),
    "tpn_slowonly_r50": zoo.SlowOnlyTpn(),
    "trn_r50": zoo_frames.Trn(),
    "trn_r50_single": zoo_frames.Trn(multi_scale=False),
    "tsm_r50_nl_dot": zoo_frames.Tsm(non_local="dot_product"),
    "tsm_r50_nl_embedded": zoo_frames.Tsm(non_local="embedded_gaussian"),
    "tsm_r50_nl_gaussian": zoo_frames.Tsm(non_local="gaussian"),
}
WITH_LOGITS = [name for name, recorded in RECORDED.items() if "logits" in recorded]


def classes(name: str) -> int:
    (count,) = {shape[0] for shape in RECORDED[name]["keys"].values() if shape in ([174], [400])}
    return int(count)


def test_recorded_models_all_have_an_option() -> None:
    assert OPTIONS.keys() == RECORDED.keys()
    assert len(WITH_LOGITS) == 6


@pytest.mark.parametrize("name", default_lane_has(5, list(OPTIONS)))
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    option = OPTIONS[name]
    model = meta_model(option, classes(name))
    theirs = {key: torch.empty(shape, device="meta") for key, shape in RECORDED[name]["keys"].items()}
    given, ours = option.adapt(theirs, model), model.state_dict()
    assert {key: value.shape for key, value in given.items()} == {key: value.shape for key, value in ours.items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == RECORDED[name]["parameters"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "tin_r50" else pytest.mark.slow) for name in WITH_LOGITS]
)
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded, option = RECORDED[name], OPTIONS[name]
    part, factor = recorded.get("scale", (None, 1.0))
    theirs = {
        key: filled(key, shape) * (factor if part is not None and part in key and len(shape) > 1 else 1)
        for key, shape in recorded["keys"].items()
    }
    model = meta_model(option, classes(name)).eval()
    model.load_state_dict(option.adapt(theirs, model), assign=True)
    clip = clip_of(recorded["input"])
    clip = clip if clip.ndim == 5 else clip.transpose(0, 1).unsqueeze(0)  # (T, C, H, W)
    with torch.no_grad():
        logits = model(clip)[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-5)


IMAGE_WEIGHTS: dict[str, tuple[Family, str]] = {
    "tanet": (zoo_frames.TaNet(backbone="resnet18"), ".temporal."),
    "tin": (zoo_frames.Tin(backbone="resnet18"), ".temporal."),
    "trn": (zoo_frames.Trn(backbone="resnet18"), "relations."),
    "tsm with non-local blocks": (zoo_frames.Tsm(backbone="resnet18", non_local="gaussian"), ".non_local"),
    "tsm with pooling": (zoo_frames.Tsm(backbone="resnet18", temporal_pool=True), "none"),
}


@pytest.mark.parametrize("name", IMAGE_WEIGHTS)
def test_adapt_image_weights_fill_backbone(name: str) -> None:
    from torchvision.models import resnet18

    option, added = IMAGE_WEIGHTS[name]
    with torch.device("meta"):
        image = resnet18().state_dict()
    model = meta_model(option, 7)
    given, ours = option.adapt(image, model), model.state_dict()
    assert given.keys() - ours.keys() == {"backbone.fc.weight", "backbone.fc.bias"}
    left = {key for key in ours.keys() - given.keys() if added not in key}
    assert left == {"head.fc.weight", "head.fc.bias"}


def test_load_checkpoint_of_tsm_fills_tin(tmp_path: Path) -> None:
    """mmaction2's file of TSM, from which its TIN for Kinetics starts, wraps the same convolutions in other names."""
    tsm = RECORDED["tsm_r50_nl_dot"]["keys"]
    theirs = {key.replace(".block.", "."): torch.zeros(shape) for key, shape in tsm.items() if ".non_local" not in key}
    torch.save({"state_dict": theirs}, tmp_path / "tsm.pth")
    model = zoo_frames.Tin().build(400)
    report = load_checkpoint(model, tmp_path / "tsm.pth")
    assert report.ignored == []
    assert all(".temporal." in key for key in report.reinitialized)


def test_load_checkpoint_image_weights_leave_relations_and_neck_to_training(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "image.pth")
    for option in (zoo_frames.Trn(backbone="resnet18"), zoo_frames.TsmTpn(backbone="resnet18")):
        report = load_checkpoint(option.build(3), tmp_path / "image.pth")
        assert report.warnings() == []
        assert not any(key.startswith("backbone.") for key in report.reinitialized)


def mobileone_keys(*, shifted: bool) -> dict[str, list[int]]:
    """The keys of mmpretrain's MobileOne-S4, of a block after the other; TSM wraps the blocks in ``net``."""
    keys: dict[str, list[int]] = {}

    def norm(path: str, channels: int) -> None:
        keys[f"{path}.num_batches_tracked"] = []
        keys.update({f"{path}.{part}": [channels] for part in ("weight", "bias", "running_mean", "running_var")})

    def block(path: str, channels: int, out: int, kernel: int, groups: int, *, identity: bool, squeeze: bool) -> None:
        path += ".net" if shifted else ""
        branches = {"branch_conv_list.0": kernel} | ({"branch_scale": 1} if kernel > 1 else {})
        for name, size in branches.items():
            keys[f"{path}.{name}.conv.weight"] = [out, channels // groups, size, size]
            norm(f"{path}.{name}.norm", out)
        if identity:
            norm(f"{path}.branch_norm", out)
        if squeeze:
            for name, shape in (("conv1", [out // 16, out]), ("conv2", [out, out // 16])):
                keys[f"{path}.se.{name}.conv.weight"] = [*shape, 1, 1]
                keys[f"{path}.se.{name}.conv.bias"] = shape[:1]

    block("backbone.stage0", 3, 64, 3, 1, identity=False, squeeze=False)
    channels = 64
    for stage, (out, count, squeezed) in enumerate([(192, 2, 0), (448, 8, 0), (896, 10, 5), (2048, 1, 1)], 1):
        for i in range(count):
            path, squeeze = f"backbone.stage{stage}", i >= count - squeezed
            block(f"{path}.{2 * i}", channels, channels, 3, channels, identity=i > 0, squeeze=squeeze)
            block(f"{path}.{2 * i + 1}", channels, out, 1, 1, identity=channels == out, squeeze=squeeze)
            channels = out
    return keys


@pytest.mark.parametrize("shifted", [False, True], ids=["tsn", "tsm"])
@pytest.mark.parametrize("prefix", ["", "backbone."], ids=["of the backbone", "of a recognizer"])
def test_adapt_mobileone_of_mmpretrain_matches_every_tensor(shifted: bool, prefix: str) -> None:
    pytest.importorskip("timm")
    option = (zoo_frames.Tsm if shifted else zoo_frames.Tsn)(backbone="timm/mobileone_s4")
    model = meta_model(option, 400)
    keys = {
        prefix + key.removeprefix("backbone."): torch.empty(shape, device="meta")
        for key, shape in mobileone_keys(shifted=shifted).items()
    }
    given = {key: value.shape for key, value in option.adapt(keys, model).items()}
    ours = {key: value.shape for key, value in model.state_dict().items() if not key.startswith("head.")}
    assert given == ours
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(13.72e6, rel=1e-3)


def test_tsm_mobileone_shifts_the_input_of_every_block() -> None:
    """As mmaction2's MobileOneTSM: the whole block, with its identity branch, and not the stem of three channels."""
    pytest.importorskip("timm")
    model = meta_model(zoo_frames.Tsm(backbone="timm/mobileone_s4"), 3)
    stages = model.get_submodule("backbone.stages")
    for stage, count in zip(stages, (4, 16, 20, 2), strict=True):
        assert isinstance(stage, nn.Sequential)
        names = [name for name, _ in stage.named_children()]
        assert names == [name for i in range(count) for name in (f"shift{i}", str(i))]
    assert model(torch.empty(2, 3, 4, 64, 64, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("shifted", default_lane_has(1, [False, True]), ids=["tsn", "tsm"])
def test_deployed_mobileone_equals_the_model_with_branches(shifted: bool, tmp_path: Path) -> None:
    """Weights of either form, under the names of mmpretrain: the logits differ by rounding only."""
    pytest.importorskip("timm")
    option = zoo_frames.Tsm if shifted else zoo_frames.Tsn
    torch.manual_seed(0)
    model = option(backbone="timm/mobileone_s0").build(3).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bn.weight", "bn.bias", "identity.weight")):
            nn.init.uniform_(tensor, 0.8, 1.2)
    deployed_option = option(backbone="timm/mobileone_s0", deploy=True)
    deployed = deployed_option.build(3).eval()
    deployed.load_state_dict(dict(deployed_option.adapt(model.state_dict(), deployed)))
    clips = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad():
        expected = model(clips)
        torch.testing.assert_close(deployed(clips), expected, rtol=1e-5, atol=1e-5)
    theirs = {
        key.replace("head.fc", "cls_head.fc_cls")
        .replace("backbone.stem.", "backbone.stage0.")
        .replace("reparam_conv", "branch_reparam"): value
        for key, value in deployed.state_dict().items()
    }
    theirs = {
        re.sub(r"backbone\.stages\.(\d)\.(\d+)\.", lambda m: f"backbone.stage{int(m[1]) + 1}.{m[2]}.net.", key): value
        for key, value in theirs.items()
    }
    assert deployed_option.adapt(theirs, deployed).keys() == deployed.state_dict().keys()


@pytest.mark.parametrize("backbone", ["resnet18", "timm/resnet18"])
def test_deploy_without_branches_is_rejected(backbone: str) -> None:
    with pytest.raises(ConfigError) as caught:
        zoo_frames.Tsn(backbone=backbone, deploy=True).build(3)
    assert caught.value.key == "model.deploy"
