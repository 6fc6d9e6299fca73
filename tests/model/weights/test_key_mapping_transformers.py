"""Other programs' names for the tensors of our transformers.

All of mmaction2's key lists and its logits; files of VideoMAE, transformers, torchvision and PySlowFast.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model import build_model, zoo_transformers
from vexp.model.registry import REGISTRY
from vexp.model.weights.load import load_checkpoint

#: Recorded from mmaction2 1.2.0; its "doc" says what the fields are.
NETS: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((GOLDEN_DIR / "mmaction2_transformers.json.gz").read_bytes())
)["nets"]
LARGE = ("mvit_base", "mvit_large", "swin_base", "swin_large", "swin_small", "videomae_vit_large", "mvit_small_sthv2")
#: (name, index of the input size)
LOGITS = [(name, i) for name, net in NETS.items() if "logits" in net for i in range(1 + len(net.get("also", [])))]
VIDEOMAE = zoo_transformers.VideoMae(num_frames=4, img_size=32, width=16, depth=2, heads=2)


def classes(name: str) -> int:
    count: int = NETS[name]["keys"]["cls_head.fc_cls.weight"][0]
    return count


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in NETS])
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    recorded = NETS[name]
    with torch.device("meta"):
        option = REGISTRY[recorded["model"]].option()
        model = option.build(classes(name))
        theirs = option.adapt({key: torch.empty(shape) for key, shape in recorded["keys"].items()}, model)
    assert shapes(theirs) == shapes(model.state_dict())
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["parameters"]


@pytest.mark.parametrize(
    ("name", "index"),
    [pytest.param(*case, marks=() if case == ("videomae_vit_small", 0) else pytest.mark.slow) for case in LOGITS],
)
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str, index: int) -> None:
    recorded = [NETS[name], *NETS[name].get("also", [])][index]
    option = REGISTRY[NETS[name]["model"]].option()
    model = option.build(classes(name)).eval()
    constant = ("backbone.pos_embed", ".relative_position_index")
    theirs = {key: filled(key, shape) for key, shape in NETS[name]["keys"].items() if not key.endswith(constant)}
    left = model.load_state_dict(dict(option.adapt(theirs, model)), strict=False)
    assert not left.unexpected_keys
    assert all(key.endswith(".relative_position_index") for key in left.missing_keys)
    with torch.no_grad():
        logits = model(clip_of(recorded["input"]))[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-5)


def test_golden_logits_exist_for_seven_models_of_three_families() -> None:
    assert len(NETS) == 13
    assert {name for name, _ in LOGITS} == {
        "videomae_vit_small", "videomae_vit_base", "mvit_small_maskfeat", "mvit_large", "swin_small", "swin_base",
    }  # fmt: skip


def released_videomae(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The state dict of ``model`` under the keys of the released code (MCG-NJU/VideoMAE, modeling_finetune.py)."""
    words = {
        "backbone.patch_embed.": "patch_embed.proj.", "backbone.blocks.": "blocks.", "backbone.fc_norm.": "fc_norm.",
        ".attn.norm.": ".norm1.", ".mlp.norm.": ".norm2.", "head.fc.": "head.",
    }  # fmt: skip
    state = {}
    for key, tensor in model.state_dict().items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        state[prefix + key] = torch.randn_like(tensor)
    return state


def test_load_checkpoint_fine_tuned_videomae_matches_strictly(tmp_path: Path) -> None:
    model = VIDEOMAE.build(5)
    theirs = released_videomae(model)
    assert {"patch_embed.proj.weight", "blocks.1.norm2.bias", "blocks.0.attn.q_bias", "head.weight"} <= theirs.keys()
    torch.save({"module": theirs}, tmp_path / "videomae.pth")
    load_checkpoint(model, tmp_path / "videomae.pth", strict=True)
    ours = model.state_dict()
    assert torch.equal(ours["backbone.blocks.1.mlp.norm.bias"], theirs["blocks.1.norm2.bias"])
    assert torch.equal(ours["backbone.blocks.0.attn.v_bias"], theirs["blocks.0.attn.v_bias"])
    assert torch.equal(ours["head.fc.weight"], theirs["head.weight"])


def test_load_checkpoint_videomae_v2_of_the_hub_matches_strictly(tmp_path: Path) -> None:
    model = VIDEOMAE.build(5)
    torch.save(released_videomae(model, "model."), tmp_path / "videomae.pth")
    load_checkpoint(model, tmp_path / "videomae.pth", strict=True)


def test_load_checkpoint_pretrained_videomae_fills_encoder_and_ignores_decoder(tmp_path: Path) -> None:
    model = VIDEOMAE.build(5)
    encoder = {key: tensor for key, tensor in released_videomae(model, "encoder.").items() if "head" not in key}
    encoder = {key.replace("fc_norm", "norm"): tensor for key, tensor in encoder.items()}
    decoder = {f"decoder.{key}": tensor for key, tensor in released_videomae(model).items() if "patch" not in key}
    decoder |= {"mask_token": torch.zeros(1, 1, 16), "encoder_to_decoder.weight": torch.zeros(16, 16)}
    torch.save({"model": encoder | decoder}, tmp_path / "pretrained.pth")
    report = load_checkpoint(model, tmp_path / "pretrained.pth")
    assert set(report.match.ignored) == {*decoder, "encoder.norm.weight", "encoder.norm.bias"}
    assert report.match.reinitialized.keys() == {
        "backbone.fc_norm.weight", "backbone.fc_norm.bias", "head.fc.weight", "head.fc.bias",
    }  # fmt: skip
    assert torch.equal(
        model.state_dict()["backbone.blocks.1.attn.qkv.weight"], encoder["encoder.blocks.1.attn.qkv.weight"]
    )


def test_load_checkpoint_without_biases_of_queries_and_values_is_reported(tmp_path: Path) -> None:
    """The versions 5.0 to 5.23 of transformers loaded published files with biases of zero, without an error."""
    model = VIDEOMAE.build(5)
    theirs = {key: tensor for key, tensor in released_videomae(model).items() if not key.endswith(("q_bias", "v_bias"))}
    torch.save(theirs, tmp_path / "videomae.pth")
    report = load_checkpoint(model, tmp_path / "videomae.pth")
    assert report.match.reinitialized == {
        f"backbone.blocks.{block}.attn.{name}_bias": "not in the file" for block in (0, 1) for name in "qv"
    }
    with pytest.raises(UserError, match=r"backbone\.blocks\.0\.attn\.q_bias"):
        load_checkpoint(model, tmp_path / "videomae.pth", strict=True)


def test_adapt_trained_positions_are_not_left_out() -> None:
    model = VIDEOMAE.build(5)
    assert "backbone.pos_embed" in VIDEOMAE.adapt({"backbone.pos_embed": torch.randn(1, 8, 16)}, model)
    table = model.get_submodule("backbone").position.flatten(0, 2)[None]
    assert VIDEOMAE.adapt({"backbone.pos_embed": table}, model) == {}


def hugging_face_videomae(**settings: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        num_labels=5, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["state_dict", "published"])
def test_model_with_weights_of_transformers_equals_its_logits(layout: str, tmp_path: Path) -> None:
    config = hugging_face_videomae()
    from safetensors.torch import load_file
    from transformers import VideoMAEForVideoClassification

    torch.manual_seed(0)
    theirs = VideoMAEForVideoClassification(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    if layout == "published":  # the projections of queries and values have their biases under other names
        theirs.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
        assert "videomae.encoder.layer.0.attention.attention.q_bias" in state
    else:
        state = theirs.state_dict()
        assert "videomae.encoder.layer.0.attention.attention.query.bias" in state
    model = VIDEOMAE.build(5).eval()
    model.load_state_dict(dict(VIDEOMAE.adapt(state, model)))
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = theirs(pixel_values=clips.transpose(1, 2)).logits
        torch.testing.assert_close(model(clips), expected, atol=1e-5, rtol=1e-5)


def test_adapt_pretrained_model_of_transformers_fills_encoder() -> None:
    config = hugging_face_videomae()
    from transformers import VideoMAEForPreTraining

    model = VIDEOMAE.build(5)
    state = VIDEOMAE.adapt(VideoMAEForPreTraining(config).state_dict(), model)
    assert model.state_dict().keys() - state.keys() == {
        "backbone.fc_norm.weight", "backbone.fc_norm.bias", "head.fc.weight", "head.fc.bias",
    }  # fmt: skip
    assert {key.partition(".")[0] for key in state.keys() - model.state_dict().keys()} == {
        "decoder", "mask_token", "encoder_to_decoder",
    }  # fmt: skip


def test_adapt_torchvision_weights_fill_mvit_and_swin() -> None:
    from torchvision.models import get_model

    for name, ours in (("mvit_v2_s", "mvitv2_s"), ("swin3d_t", "swin_t")):
        option = REGISTRY[ours].option()
        with torch.device("meta"):
            model = option.build(400)
            assert shapes(option.adapt(get_model(name).state_dict(), model)) == shapes(model.state_dict())


def test_adapt_pyslowfast_weights_fill_mvit() -> None:
    option = zoo_transformers.MViTv2(num_frames=4, img_size=32, width=8, depth=4, downsample=[1, 3])
    model = option.build(5)
    words = {
        "backbone.pos_encoding.class_token": "cls_token", "backbone.conv_proj.": "patch_embed.proj.",
        "backbone.": "", ".project.0.": ".proj.", ".project.": ".proj.", ".pool.weight": ".weight",
        ".mlp.0.": ".mlp.fc1.",
        ".mlp.3.": ".mlp.fc2.", "head.fc.": "head.projection.",
    } | {f".pool_{x}.norm_act.0.": f".norm_{x}." for x in "qkv"}  # fmt: skip
    theirs = {}
    for key, tensor in model.state_dict().items():
        for ours, word in words.items():
            key = key.replace(ours, word)
        theirs[key] = tensor
    assert {
        "cls_token",
        "blocks.1.attn.norm_k.bias",
        "blocks.1.attn.pool_q.weight",
        "blocks.3.proj.bias",
    } <= theirs.keys()
    adapted = option.adapt(theirs, model)
    assert {key: torch.equal(tensor, adapted[key]) for key, tensor in model.state_dict().items()} == dict.fromkeys(
        model.state_dict(), True
    )
    assert len(adapted) == len(theirs)


def test_adapt_mvit_tables_of_other_size_give_equal_logits() -> None:
    """As if the model had been given the larger clip: mmaction2 resizes the tables in its forward."""
    torch.manual_seed(0)
    small = zoo_transformers.MViTv2(num_frames=4, img_size=32, width=8, depth=4, downsample=[1, 3])
    large = zoo_transformers.MViTv2(num_frames=8, img_size=64, width=8, depth=4, downsample=[1, 3])
    trained, resized = small.build(5).eval(), large.build(5).eval()
    state = large.adapt(trained.state_dict(), resized)
    assert shapes(state) == shapes(resized.state_dict()) != shapes(trained.state_dict())
    resized.load_state_dict(dict(state))
    clips = torch.randn(1, 3, 8, 64, 64)
    torch.testing.assert_close(resized(clips), trained(clips), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("program", ["torchvision", "microsoft"])
def test_swin_with_image_weights_gives_image_features_for_static_clip(program: str) -> None:
    from torchvision.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    image = SwinTransformer([4, 4], 8, [2, 2], [1, 2], [3, 3], num_classes=5).eval()
    for key, parameter in image.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in key and "weight" in key), std=0.3)
    state = dict(image.state_dict())
    if program == "microsoft":
        state = {_microsoft(key): tensor for key, tensor in state.items()}
        assert {
            "patch_embed.proj.bias",
            "layers.0.downsample.norm.bias",
            "layers.1.blocks.0.mlp.fc1.bias",
        } <= state.keys()
        state["layers.1.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    option = zoo_transformers.VideoSwin(width=8, depths=[2, 2], heads=[1, 2], window=[2, 3, 3])
    video = option.build(5).eval()
    video.load_state_dict(dict(option.adapt(state, video)))
    frame = torch.randn(2, 3, 40, 40)
    clips = frame[:, :, None].expand(-1, -1, 12, -1, -1)
    torch.testing.assert_close(video(clips), image(frame), atol=1e-5, rtol=1e-4)


def _microsoft(key: str) -> str:
    """The key of the image model of Liu et al., ICCV 2021, for that of torchvision."""
    words = {
        "features.0.0.": "patch_embed.proj.", "features.0.2.": "patch_embed.norm.", "features.1.": "layers.0.blocks.",
        "features.2.": "layers.0.downsample.", "features.3.": "layers.1.blocks.", ".mlp.0.": ".mlp.fc1.",
        ".mlp.3.": ".mlp.fc2.",
    }  # fmt: skip
    for theirs, ours in words.items():
        key = key.replace(theirs, ours)
    return key


@pytest.mark.parametrize("name", ["videomae_s", "mvitv2_s", "mvitv2_s_maskfeat", "swin_t", "timesformer_divst"])
def test_adapt_own_checkpoint_is_unchanged(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 3)
        state = model.state_dict()
        adapted = REGISTRY[name].option().adapt(state, model)
    assert adapted.keys() == state.keys()
    assert all(adapted[key] is tensor for key, tensor in state.items() if "class_token" not in key)
