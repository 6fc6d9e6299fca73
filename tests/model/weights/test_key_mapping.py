"""Other people's names for our tensors: all of mmaction2's key lists, its logits, image weights made 3D."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from support.small_models import one_of_each_family
from support.tables import default_lane_has
from torch import Tensor, nn

from vexp.model import build_model, roi, zoo, zoo_frames, zoo_pose, zoo_transformers
from vexp.model.family import Family
from vexp.model.registry import REGISTRY
from vexp.model.weights.key_mapping import Rules, inflate, rename_keys
from vexp.model.weights.load import load_checkpoint

#: Recorded from mmaction2 0.24.1; its "doc" says what the fields are.
NETS: dict[str, dict[str, Any]] = json.loads(gzip.decompress((GOLDEN_DIR / "mmaction2_models.json.gz").read_bytes()))[
    "nets"
]
WITH_LOGITS = [name for name, model in NETS.items() if "logits" in model]
CHEAP = ("x3d_m", "tsn_r50")


def key_rules(model: str | Family) -> Rules:
    option = REGISTRY[model].option() if isinstance(model, str) else model
    return getattr(option, "key_rules", ())


def classes(name: str) -> int:
    return [shape for key, shape in NETS[name]["keys"].items() if key.startswith("cls_head.")][-1][0]


@pytest.mark.parametrize("name", default_lane_has(4, NETS))
def test_rename_keys_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    recorded = NETS[name]
    with torch.device("meta"):
        model = build_model(name, classes(name))
        theirs = rename_keys({key: torch.empty(shape) for key, shape in recorded["keys"].items()}, key_rules(name))
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["parameters"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in WITH_LOGITS]
)
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded = NETS[name]
    with torch.device("meta"):
        model = build_model(name, classes(name)).eval()
    theirs = {key: filled(key, shape) for key, shape in recorded["keys"].items()}
    model.load_state_dict(rename_keys(theirs, key_rules(name)), assign=True)
    clips = clip_of(recorded["input"])
    if clips.ndim == 4:  # 2D models: (T, C, H, W)
        clips = clips.transpose(0, 1).unsqueeze(0)
    with torch.no_grad():
        logits = model(clips)[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-4 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])  # as it is, and saved from DataParallel
def test_load_checkpoint_mmaction2_file_matches_strictly(prefix: str, tmp_path: Path) -> None:
    theirs = {prefix + key: filled(key, shape) for key, shape in NETS["x3d_m"]["keys"].items()}
    torch.save({"meta": {}, "state_dict": theirs}, tmp_path / "x3d.pth")
    model = build_model("x3d_m", 400)
    load_checkpoint(model, tmp_path / "x3d.pth", strict=True)
    assert torch.equal(model.state_dict()["head.fc1.weight"], theirs[f"{prefix}cls_head.fc1.weight"])
    assert torch.equal(
        model.state_dict()["backbone.layer4.6.conv2.se.fc2.bias"],
        theirs[f"{prefix}backbone.layer4.6.se_module.fc2.bias"],
    )


def test_load_checkpoint_image_weights_fill_video_model(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    image = resnet18()
    torch.save(image.state_dict(), tmp_path / "resnet18.pth")
    model = zoo_frames.Tsm(backbone="resnet18").build(5)
    load_checkpoint(model, tmp_path / "resnet18.pth", min_match=0.98)
    assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], image.layer4[1].conv2.weight)


def test_golden_mmaction2_logits_exist_for_six_models() -> None:
    assert (len(NETS), len(WITH_LOGITS)) == (12, 6)


@pytest.mark.parametrize(
    "name", one_of_each_family([name for name, model in REGISTRY.items() if isinstance(model.option(), Family)])
)
def test_rename_keys_vexp_names_are_unchanged(name: str) -> None:
    with torch.device("meta"):
        keys = build_model(name, 3).state_dict()
    assert rename_keys(keys, key_rules(name)).keys() == keys.keys()


def test_key_rules_exist_for_every_family_only() -> None:
    families = {type(model.option()) for model in REGISTRY.values()}
    assert {family for family in families if issubclass(family, Family)} == {
        zoo_pose.C3dLight,
        zoo_pose.PoseSlowOnly,
        zoo_frames.Tsn,
        zoo_frames.Tsm,
        zoo_frames.TsmTpn,
        zoo_frames.Tin,
        zoo_frames.TaNet,
        zoo_frames.Trn,
        zoo.C2d,
        zoo.SlowOnly,
        zoo.SlowOnlyTpn,
        zoo.Omni,
        zoo.SlowFast,
        roi.SlowOnlyRoi,
        roi.SlowFastRoi,
        zoo.I3d,
        zoo.C3d,
        zoo.R2plus1d,
        zoo.Csn,
        zoo.X3d,
        zoo_transformers.TimeSformer,
        zoo_transformers.VideoMae,
        zoo_transformers.MViTv2,
        zoo_transformers.VideoSwin,
        zoo_transformers.UniFormer,
        zoo_transformers.UniFormerV2,
    }
    assert all(family.key_rules for family in families if issubclass(family, Family))
    assert key_rules("r3d_18") == ()
    assert key_rules(zoo_frames.Tsm(backbone="resnet18")) == key_rules("tsm_r50")


def test_rename_keys_equal_results_raise() -> None:
    with pytest.raises(ValueError, match=r"renames both head\.fc\.bias and cls_head\.fc_cls\.bias to head\.fc\.bias"):
        rename_keys({"head.fc.bias": torch.zeros(1), "cls_head.fc_cls.bias": torch.zeros(1)}, key_rules("c3d"))


def image_state(name: str) -> dict[str, Tensor]:
    from torchvision.models import get_model

    with torch.device("meta"):
        state: dict[str, Tensor] = get_model(name).state_dict()
    return state


@pytest.mark.parametrize(
    ("name", "image"),
    default_lane_has(
        3,
        [
            ("tsn_r50", "resnet50"),
            ("tsm_r50", "resnet50"),
            ("c2d_r50", "resnet50"),
            ("slowonly_r50", "resnet50"),
            ("slowonly_nl_r50", "resnet50"),
            ("i3d_r50", "resnet50"),
            ("i3d_r50_heavy", "resnet50"),
            ("timesformer_divst", "vit_b_16"),
            ("timesformer_jointst", "vit_b_16"),
            ("timesformer_spaceonly", "vit_b_16"),
        ],
    ),
)
def test_adapt_image_weights_fill_backbone(name: str, image: str) -> None:
    """All of it but what an image model has not: the rest of their keys is their classifier, the rest of ours time."""
    with torch.device("meta"):
        model = build_model(name, 7)
        given = REGISTRY[name].option().adapt(image_state(image), model)
    ours = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key for key in given if key in ours and given[key].shape != ours[key]} == set()
    assert {key.split(".")[-2] for key in given.keys() - ours.keys()} <= {"fc", "head"}
    time = {"backbone.time_embed"} | {key for key in ours if ".temporal.fc." in key or ".non_local." in key}
    assert {key for key in ours.keys() - given.keys() if not key.startswith("head.")} - time == set()


@pytest.mark.parametrize("image", ["mobilenet_v2", "convnext_tiny", "swin_t"])
def test_adapt_any_image_model_fills_tsn(image: str) -> None:
    option = zoo_frames.Tsn(backbone=image)
    with torch.device("meta"):
        model = option.build(7)
    given, ours = rename_keys(image_state(image), key_rules(option)), model.state_dict()
    assert ours.keys() - given.keys() == {"head.fc.weight", "head.fc.bias"}
    assert len(given.keys() - ours.keys()) == 2  # their classifier


def test_inflate_static_clip_gives_image_features() -> None:
    torch.manual_seed(0)
    image = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    with torch.device("meta"):
        model = build_model("i3d_r50", 3)
    weight = inflate({"backbone.conv1.conv.weight": image.weight.detach()}, model)["backbone.conv1.conv.weight"]
    assert weight.shape == (64, 3, 5, 7, 7)
    frame = torch.randn(1, 3, 32, 32)
    clip = frame.unsqueeze(2).repeat(1, 1, 9, 1, 1)
    inner = nn.functional.conv3d(clip, weight, stride=(1, 2, 2), padding=(0, 3, 3))  # no zeros beyond the clip's ends
    torch.testing.assert_close(inner, image(frame).unsqueeze(2).expand_as(inner), atol=1e-5, rtol=1e-5)


def test_inflate_timesformer_static_clip_gives_image_features() -> None:
    """On a static clip, with its weights: attention along time adds nothing yet, but its weights are copies."""
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    image = VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=128, num_classes=5
    ).eval()
    option = zoo_transformers.TimeSformer(num_frames=3, img_size=32, width=32, depth=2, heads=2)
    video = option.build(5).eval()
    given = inflate(rename_keys(image.state_dict(), key_rules(option)), video)
    assert torch.equal(
        given["backbone.blocks.1.temporal.qkv.weight"], image.encoder.layers[1].self_attention.in_proj_weight
    )
    given |= {"head.fc.weight": torch.randn(5, 32), "head.fc.bias": torch.randn(5)}
    left = video.load_state_dict(given, strict=False)
    assert all(".temporal.fc." in key or key == "backbone.time_embed" for key in left.missing_keys)
    image.heads.head.weight.data, image.heads.head.bias.data = given["head.fc.weight"], given["head.fc.bias"]
    frame = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(video(frame.unsqueeze(2).repeat(1, 1, 3, 1, 1)), image(frame), atol=1e-5, rtol=1e-5)


def test_backbone_weights_of_mmaction2_fill_the_backbone() -> None:
    """The files that mmaction2's configs name: C3D of Sports-1M and the ViT of TimeSformer, without a prefix."""
    convolutions = ("1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b")
    layers = [*(f"conv{name}.conv" for name in convolutions), "fc6", "fc7"]
    block = ["norms.0", "norms.1", "attentions.0.attn.out_proj", "ffns.0.layers.0.0", "ffns.0.layers.1"]
    vit = [
        "patch_embed.projection",
        "norm",
        *(f"transformer_layers.layers.{i}.{part}" for i in (0, 11) for part in block),
    ]
    for name, files in (("c3d", layers), ("timesformer_divst", vit)):
        with torch.device("meta"):
            model = build_model(name, 7)
        keys = [f"{layer}.{part}" for layer in files for part in ("weight", "bias")]
        given = rename_keys(dict.fromkeys(keys, torch.zeros(1)), key_rules(name))
        assert len(given) == len(keys)
        assert set(given) <= set(model.state_dict())
