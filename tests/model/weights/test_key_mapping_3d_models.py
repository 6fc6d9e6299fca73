"""The variants of the 3D models of mmaction2 1.2.0: all keys and the logits."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from support.tables import default_lane_has

from vexp.model import build_model
from vexp.model.family import Family
from vexp.model.registry import REGISTRY
from vexp.model.zoo import Csn, I3d, SlowFast, SlowOnly
from vexp.model.zoo_frames import Tsn

#: Recorded from mmaction2 1.2.0; its "doc" says what the fields are.
RECORDED: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((GOLDEN_DIR / "mmaction2_3d_models.json.gz").read_bytes())
)["nets"]
OPTIONS: dict[str, Any] = {
    "c2d_r50": REGISTRY["c2d_r50"].option(),
    "c2d_r50_nopool": Tsn(),
    "c2d_r101_nopool": Tsn(backbone="resnet101"),
    "i3d_r50_heavy": REGISTRY["i3d_r50_heavy"].option(),
    "i3d_r50_nl_dot": I3d(non_local="dot_product"),
    "i3d_r50_nl_gaussian": I3d(non_local="gaussian"),
    "slowonly_r50_nl": REGISTRY["slowonly_nl_r50"].option(),
    "slowonly_r101": SlowOnly(depth=101),
    "slowonly_r50_flow": SlowOnly(channels=2),
    "slowonly_r50_k710": SlowOnly(),
    "slowfast_r50_8x8": SlowFast(alpha=4, slow_stride=4, fusion_kernel=7),
    "slowfast_r101": REGISTRY["slowfast_r101"].option(),
    "slowfast_r101_r50": REGISTRY["slowfast_r101_r50"].option(),
    "ircsn_r152": Csn(depth=152),
    "timesformer_joint": REGISTRY["timesformer_jointst"].option(),
    "timesformer_space": REGISTRY["timesformer_spaceonly"].option(),
}
WITH_LOGITS = [name for name in OPTIONS if "logits" in RECORDED[name]]
CHEAP = ("i3d_r50_nl_dot",)


def test_golden_models_are_the_tested_ones() -> None:
    assert {*OPTIONS, "omnisource_slowonly_r50"} == RECORDED.keys()
    assert len(WITH_LOGITS) == 7


@pytest.mark.parametrize("name", default_lane_has(6, list(OPTIONS)))
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    recorded, option = RECORDED[name], OPTIONS[name]
    with torch.device("meta"):
        model = option.build(recorded["keys"]["cls_head.fc_cls.bias"][0])
        given = option.adapt({key: torch.empty(shape) for key, shape in recorded["keys"].items()}, model)
    assert {key: value.shape for key, value in given.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["parameters"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CHEAP else pytest.mark.slow) for n in WITH_LOGITS])
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded, option = RECORDED[name], OPTIONS[name]
    scale = tuple(recorded.get("scale", ("", 1.0)))
    with torch.device("meta"):
        model = option.build(recorded["keys"]["cls_head.fc_cls.bias"][0]).eval()
    theirs = {key: filled(key, shape, scale) for key, shape in recorded["keys"].items()}
    model.load_state_dict(dict(option.adapt(theirs, model)), assign=True)
    clips = clip_of(recorded["input"])
    if clips.ndim == 4:  # (T, C, H, W)
        clips = clips.transpose(0, 1).unsqueeze(0)
    with torch.no_grad():
        logits = model(clips)[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-5)


@pytest.mark.slow
def test_omni_with_mmaction2_weights_equals_recorded_logits_of_videos_and_images() -> None:
    recorded, option = RECORDED["omnisource_slowonly_r50"], REGISTRY["omni_r50"].option()
    with torch.device("meta"):
        model = option.build(400).eval()
    theirs = {key: filled(key, shape) for key, shape in recorded["keys"].items()}
    model.load_state_dict(dict(option.adapt(theirs, model)), assign=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["parameters"]
    image = recorded["image"]
    images = torch.tensor(np.random.RandomState(image["input_seed"]).standard_normal(image["input"]))
    for clips, expected in ((clip_of(recorded["input"]), recorded), (images.float().unsqueeze(2), image)):
        with torch.no_grad():
            logits = model(clips)
        numbers = torch.tensor(expected["logits"])
        assert (logits[0, : len(numbers)] - numbers).abs().max() < 1e-5 * numbers.abs().max()
        assert logits.norm().item() == pytest.approx(expected["logits_norm"], rel=1e-5)


def test_adapt_checkpoint_with_norms_of_laterals_matches_every_tensor() -> None:
    """The names of a configuration with lateral_norm=True, whose modules mmaction2 builds with a norm."""
    option = SlowFast(lateral_norm=True)
    with torch.device("meta"):
        model = option.build(400)
        theirs = {key: torch.empty(shape) for key, shape in RECORDED["slowfast_r50_8x8"]["keys"].items()}
        for stage, name in enumerate(("conv1", "layer1", "layer2", "layer3")):
            for part, tensor in model.get_submodule(f"backbone.laterals.{stage}").state_dict().items():
                theirs[f"backbone.slow_path.{name}_lateral.{part}"] = tensor
        given = option.adapt(theirs, model)
    assert {key: value.shape for key, value in given.items()} == {k: v.shape for k, v in model.state_dict().items()}


@pytest.mark.parametrize("name", ["timesformer_jointst", "timesformer_spaceonly"])
def test_adapt_own_checkpoint_is_unchanged(name: str) -> None:
    option = REGISTRY[name].option()
    assert isinstance(option, Family)
    with torch.device("meta"):
        state = build_model(name, 3).state_dict()
        assert option.adapt(state, build_model(name, 3)).keys() == state.keys()
