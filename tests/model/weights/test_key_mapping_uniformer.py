"""Other people's weights of UniFormer and UniFormerV2: mmaction2's keys and logits, the authors', and those of CLIP."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from support.recorded_models import clip_of, filled
from torch import Tensor, nn

from vexp.model.meta import meta_model
from vexp.model.registry import REGISTRY
from vexp.model.weights.load import load_checkpoint
from vexp.model.zoo_transformers import UniFormer, UniFormerV2

#: Recorded from mmaction2 1.2.0; its "doc" says what the fields are.
RECORDED: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((GOLDEN_DIR / "mmaction2_uniformer.json.gz").read_bytes())
)["nets"]
NAMES = {
    "uniformer_small": "uniformer_s",
    "uniformer_base": "uniformer_b",
    "uniformer_base_32": "uniformer_b",
    "uniformerv2_base_p16_k400": "uniformerv2_b16",
    "uniformerv2_base_p16_k710": "uniformerv2_b16",
    "uniformerv2_base_p16_mitv1": "uniformerv2_b16",
    "uniformerv2_large_p14_k400": "uniformerv2_l14",
    "uniformerv2_large_p14_336_k400": "uniformerv2_l14_336",
}
WITH_LOGITS = [name for name, recorded in RECORDED.items() if "logits" in recorded]
TINY = UniFormerV2(img_size=32, patch_size=16, width=16, depth=3, heads=2, global_blocks=2)


def classes(name: str) -> int:
    return int(RECORDED[name]["keys"]["cls_head.fc_cls.bias"][0])


def test_recorded_models_are_all_named() -> None:
    assert NAMES.keys() == RECORDED.keys()
    assert len(WITH_LOGITS) == 4


@pytest.mark.parametrize("name", RECORDED)
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    option = REGISTRY[NAMES[name]].option()
    model = meta_model(option, classes(name))
    theirs = {key: torch.empty(shape, device="meta") for key, shape in RECORDED[name]["keys"].items()}
    given, ours = option.adapt(theirs, model), model.state_dict()
    assert {key: value.shape for key, value in given.items()} == {key: value.shape for key, value in ours.items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == RECORDED[name]["parameters"]


def assert_equals_recorded(model: nn.Module, recorded: dict[str, Any]) -> None:
    with torch.no_grad():
        logits = model(clip_of(recorded["input"]))[0]
    expected = torch.tensor(recorded["logits"]).flatten()
    assert (logits[: len(expected)] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_LOGITS)
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded, option = RECORDED[name], REGISTRY[NAMES[name]].option()
    model = meta_model(option, classes(name)).eval()
    theirs = {key: filled(key, shape) for key, shape in recorded["keys"].items()}
    model.load_state_dict(option.adapt(theirs, model), assign=True)
    del theirs
    for case in (recorded, *recorded.get("also", [])):
        assert_equals_recorded(model, case)


def test_small_clip_with_mmaction2_weights_equals_recorded_logits() -> None:
    """The smallest recorded input; the others are in the slow lane."""
    recorded, option = RECORDED["uniformer_small"], REGISTRY["uniformer_s"].option()
    model = meta_model(option, 400).eval()
    theirs = {key: filled(key, shape) for key, shape in recorded["keys"].items()}
    model.load_state_dict(option.adapt(theirs, model), assign=True)
    assert_equals_recorded(model, recorded["also"][1])


def test_load_checkpoint_mmaction2_file_matches_strictly(tmp_path: Path) -> None:
    model = TINY.build(3)
    theirs = {key: filled(key, shape) for key, shape in theirs_of_tiny(3).items()}
    torch.save({"meta": {}, "state_dict": theirs}, tmp_path / "uniformerv2.pth")
    load_checkpoint(model, tmp_path / "uniformerv2.pth", strict=True)
    weight = theirs["backbone.transformer.dec.1.attn.in_proj_weight"]
    assert torch.equal(model.state_dict()["backbone.global_blocks.1.attn.q.weight"], weight[:16])
    assert torch.equal(model.state_dict()["backbone.global_blocks.1.attn.kv.weight"], weight[16:])


def theirs_of_tiny(num_classes: int) -> dict[str, list[int]]:
    """The keys of mmaction2's UniFormerV2 with the sizes of ``TINY``, from those of the recorded one."""
    sizes = {768: 16, 2304: 48, 3072: 64, 197: 5, 400: num_classes}
    too_deep = re.compile(r"\.(?:resblocks\.(?:[3-9]|1\d)|dec\.[23]|dpe\.[23])\.")
    recorded = RECORDED["uniformerv2_base_p16_k400"]["keys"].items()
    return {key: [sizes.get(size, size) for size in shape] for key, shape in recorded if not too_deep.search(key)}


def test_authors_checkpoint_of_uniformerv2_matches_strictly(tmp_path: Path) -> None:
    """Their norm and classifier are members of a sequence."""
    own = {"backbone.transformer.norm": "backbone.transformer.proj.0", "cls_head.fc_cls": "backbone.transformer.proj.2"}
    theirs = {}
    for key, shape in theirs_of_tiny(3).items():
        module, _, leaf = key.rpartition(".")
        theirs[f"{own.get(module, module)}.{leaf}"] = filled(key, shape)
    torch.save({"model_state": theirs}, tmp_path / "uniformerv2.pyth")
    report = load_checkpoint(TINY.build(3), tmp_path / "uniformerv2.pyth", strict=True)
    assert report.share == 1


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_authors_checkpoint_of_uniformer_matches_strictly(prefix: str, tmp_path: Path) -> None:
    option = UniFormer(depths=[1, 1, 1, 1], widths=[8, 8, 16, 16], head_width=16)
    model = option.build(3)
    names = {"attn.norm": "norm1", "mlp.norm": "norm2"}
    theirs = {}
    for key, value in model.state_dict().items():
        for ours, other in names.items():
            key = key.replace(f".{ours}.", f".{other}.")
        key = key.removeprefix("backbone.") if key.startswith("backbone.") else key.replace("head.fc.", "head.")
        theirs[prefix + key if not key.startswith("head.") else key] = value + 1
    torch.save(theirs, tmp_path / "uniformer.pth")
    load_checkpoint(model, tmp_path / "uniformer.pth", strict=True)


def clip_state(layout: str) -> dict[str, Tensor]:
    """CLIP's image transformer of the size of ``TINY``, and text weights with confusable names, in a layout."""
    tower = {
        key.removeprefix("backbone."): filled(key, shape)
        for key, shape in theirs_of_tiny(3).items()
        if "resblocks." in key or not key.startswith(("backbone.transformer.", "cls_head."))
    }
    tower["conv1.weight"] = tower["conv1.weight"][:, :, 0]  # an image kernel
    if layout == "openai":
        text = {"transformer.resblocks.0.ln_1.weight": torch.ones(8), "positional_embedding": torch.ones(77, 8)}
        return {f"visual.{key}": value for key, value in tower.items()} | {"visual.proj": torch.ones(16, 8)} | text
    renamed = {}
    table = {
        "huggingface": {
            "class_embedding": "embeddings.class_embedding", "conv1": "embeddings.patch_embedding",
            "positional_embedding": "embeddings.position_embedding.weight", "ln_pre": "pre_layrnorm",
            "transformer.resblocks": "encoder.layers", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "c_fc": "fc1",
            "c_proj": "fc2", ".attn.": ".self_attn.",
        },
        "timm": {
            "class_embedding": "cls_token", "positional_embedding": "pos_embed", "conv1": "patch_embed.proj",
            "ln_pre": "norm_pre", "transformer.resblocks": "blocks", "ln_1": "norm1", "ln_2": "norm2", "c_fc": "fc1",
            "c_proj": "fc2", "in_proj_": "qkv.", "out_proj": "proj",
        },
    }[layout]  # fmt: skip
    for key, value in tower.items():
        for ours, other in table.items():
            key = key.replace(ours, other)
        renamed[key] = value
    if layout == "timm":
        renamed["cls_token"], renamed["pos_embed"] = renamed["cls_token"][None, None], renamed["pos_embed"][None]
        return renamed
    for key in [key for key in renamed if "in_proj_" in key]:
        path, _, leaf = key.rpartition("in_proj_")
        parts = zip("qkv", renamed.pop(key).chunk(3), strict=True)
        renamed |= {f"{path}{part}_proj.{leaf}": value for part, value in parts}
    text = {"text_model.embeddings.position_embedding.weight": torch.ones(77, 8), "logit_scale": torch.ones(())}
    return {f"vision_model.{key}": value for key, value in renamed.items()} | text


@pytest.mark.parametrize("layout", ["openai", "huggingface", "timm"])
def test_load_checkpoint_clip_weights_fill_image_transformer(layout: str, tmp_path: Path) -> None:
    torch.save(clip_state(layout), tmp_path / "clip.pth")
    model = TINY.build(3)
    report = load_checkpoint(model, tmp_path / "clip.pth", min_match=0.3)
    image = {key for key in model.state_dict() if ".global_blocks." not in key and ".fusion." not in key}
    assert {*report.matched, *report.reshaped} == image - {"head.fc.weight", "head.fc.bias"}
    state, key = model.state_dict(), "backbone.transformer.resblocks.2.attn.in_proj_bias"
    assert torch.equal(state["backbone.blocks.2.attn.qkv.bias"], filled(key, [48]))
    kernel = filled("backbone.conv1.weight", [16, 3, 1, 16, 16])
    assert torch.equal(state["backbone.patch_embed.weight"], kernel)
    assert all(
        key.startswith(("transformer.", "positional", "text_model", "logit", "backbone.proj")) for key in report.ignored
    )


def test_adapt_clip_weights_are_the_middle_of_patches_of_three_frames() -> None:
    option = dataclasses.replace(TINY, temporal_downsample=True)
    model, key = option.build(3), "backbone.patch_embed.weight"
    kernel = option.adapt(clip_state("openai"), model)[key]
    assert kernel.shape == model.state_dict()[key].shape == (16, 3, 3, 16, 16)
    assert torch.equal(kernel[:, :, 1:2], filled("backbone.conv1.weight", [16, 3, 1, 16, 16]))
    assert not kernel[:, :, [0, 2]].any()


def test_adapt_uniformer_image_weights_give_image_features() -> None:
    """A 2D kernel is the middle of the 3D kernel: every frame of any clip has its image features."""
    option = UniFormer(depths=[1, 1, 1, 1], widths=[8, 8, 16, 16], head_width=16)
    model = option.build(3)
    kernel = torch.randn(8, 1, 3, 3)
    given = option.adapt({"blocks1.0.pos_embed.weight": kernel}, model)["backbone.blocks1.0.pos_embed.weight"]
    x = torch.randn(1, 8, 4, 6, 6)
    frames = nn.functional.conv2d(x[0].transpose(0, 1), kernel, padding=1, groups=8)
    torch.testing.assert_close(nn.functional.conv3d(x, given, padding=1, groups=8)[0].transpose(0, 1), frames)
