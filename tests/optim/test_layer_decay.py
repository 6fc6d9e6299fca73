"""Layer-wise decay: which block of a transformer is which layer."""

import re

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from vexp.model import zoo_transformers
from vexp.model.architectures.tiny3d import Tiny3d
from vexp.model.zoo_transformers import TimeSformer
from vexp.optim.layer_decay import layer_indices
from vexp.optim.param_groups import param_groups
from vexp.optim.paramwise import Paramwise


def video_net(name):
    with torch.device("meta"):
        return get_model(name, num_classes=5)


@pytest.mark.parametrize(
    ("name", "blocks", "layers"),
    [
        (
            "mvit_v2_s",
            16,
            {
                "conv_proj.weight": 0,
                "pos_encoding.class_token": 0,
                "blocks.0.norm1.weight": 1,
                "blocks.15.mlp.3.bias": 16,
                "norm.weight": 17,
                "head.1.weight": 17,
            },
        ),
        (
            "swin3d_t",
            12,
            {
                "patch_embed.proj.weight": 0,
                "features.0.0.attn.qkv.weight": 1,
                "features.0.1.attn.qkv.weight": 2,
                "features.1.reduction.weight": 2,  # a merging of patches goes with the block before it
                "features.2.0.attn.qkv.weight": 3,
                "features.6.1.mlp.3.bias": 12,
                "norm.weight": 13,
                "head.bias": 13,
            },
        ),
    ],
)
def test_layer_indices_video_transformer_counts_blocks(name, blocks, layers):
    model = video_net(name)
    numbers, last = layer_indices(model)
    assert last == blocks + 1
    assert numbers.keys() == dict(model.named_parameters()).keys()
    assert {key: numbers[key] for key in layers} == layers
    assert set(numbers.values()) == set(range(last + 1))


def tiny_transformer(name):
    """A transformer with few blocks on the meta device."""
    with torch.device("meta"):
        if name == "timesformer_divst":
            return TimeSformer(width=16, depth=3, heads=2, drop_path=0).build_architecture(5)
        transformers = pytest.importorskip("transformers")
        config = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
        more = {"VJEPA2": {"pred_hidden_size": 16, "pred_num_attention_heads": 2, "num_pooler_layers": 2}}
        config = getattr(transformers, f"{name}Config")(**config, **more.get(name, {}))
        model = getattr(transformers, f"{name}ForVideoClassification")(config)
        if name == "VJEPA2":
            model.vjepa2.predictor = None  # a classifier does not compute it
        return model


#: Name of a parameter -> number of its block (from 0) in the groups "block"; parameters before the blocks, "embed".
RULES = {
    "timesformer_divst": r"backbone\.(blocks\.(?P<block>\d+)\.|(?P<embed>patch_embed|cls_token|pos_embed|time_embed))",
    "VideoMAE": r"videomae\.(encoder\.layer\.(?P<block>\d+)\.|(?P<embed>embeddings))",
    "VJEPA2": r"vjepa2\.encoder\.(layer\.(?P<block>\d+)\.|(?P<embed>embeddings))",
    "Vivit": r"vivit\.((?:encoder\.layer|layers)\.(?P<block>\d+)\.|(?P<embed>embeddings))",
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.filterwarnings("ignore")  # of the library, while it builds a model on the meta device
def test_layer_indices_equal_rule_of_videomae(name):
    """VideoMAE's ``get_num_layer_for_vit``, timm's too: embeddings 0, block i (from 0) i + 1, all others the last."""
    model = tiny_transformer(name)
    indices, last = layer_indices(model)
    assert last == 4
    expected = {}
    for parameter, _ in model.named_parameters():
        match = re.match(RULES[name], parameter)
        expected[parameter] = last if match is None else 0 if match["embed"] else int(match["block"]) + 1
    assert indices == expected
    assert set(indices.values()) == set(range(5))


@pytest.mark.parametrize("model", [Tiny3d(5, width=8, norm="batch", dropout=0.0), nn.MultiheadAttention(8, 2)])
def test_layer_indices_model_without_attention_raises(model):
    with pytest.raises(ValueError, match=f"layer_decay: {type(model).__name__} has no blocks with attention"):
        layer_indices(model)


def transformer():
    """A parameter of its own, three blocks, a head."""
    model = nn.Module()
    model.class_token = nn.Parameter(torch.zeros(1, 1, 8))
    model.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(3))
    model.norm = nn.LayerNorm(8)
    model.head = nn.Linear(8, 5)
    return model


def test_layer_decay_rates_decrease_toward_input():
    """BEiT: layer k of n blocks has decay ** (n + 1 - k)."""
    groups = param_groups(transformer(), lr=1.0, weight_decay=0.1, paramwise=Paramwise(layer_decay=0.5))
    assert {group["name"]: group["lr"] for group in groups} == {
        "layer_0": 0.5**4, "layer_1": 0.5**3, "layer_2": 0.5**2, "layer_3": 0.5, "base": 1.0,
    }  # fmt: skip


def test_layer_decay_multiplies_other_multipliers():
    settings = Paramwise(layer_decay=0.5, norm_decay_mult=0.0, custom_keys={"head": {"lr_mult": 10.0}})
    groups = param_groups(transformer(), lr=1.0, weight_decay=0.1, paramwise=settings)
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert found["layer_3"] == (0.5, 0.1)
    assert found["layer_3.norm"] == (0.5, 0.0)
    assert found["norm"] == (1.0, 0.0)
    assert found["head"] == (10.0, 0.1)
    assert len(found) == 9  # 3 blocks x 2, the token, the last norm, the head


def test_layer_decay_of_one_changes_no_rate():
    assert len(param_groups(transformer(), lr=1.0, weight_decay=0.1, paramwise=Paramwise(layer_decay=1.0))) == 1


#: A layer of each place of the small transformers -> its number.
LAYERS = {
    "videomae": (
        zoo_transformers.VideoMae(num_frames=4, img_size=32, width=16, depth=3, heads=2),
        {
            "backbone.patch_embed.weight": 0,
            "backbone.blocks.0.attn.q_bias": 1,
            "backbone.blocks.2.mlp.fc2.bias": 3,
            "backbone.fc_norm.weight": 4,
            "head.fc.weight": 4,
        },
    ),
    "mvitv2": (
        zoo_transformers.MViTv2(num_frames=4, img_size=32, width=8, depth=4, downsample=[1, 3]),
        {
            "backbone.conv_proj.weight": 0,
            "backbone.pos_encoding.class_token": 0,
            "backbone.blocks.0.attn.rel_pos_h": 1,
            "backbone.blocks.3.project.weight": 4,
            "backbone.norm.weight": 5,
            "head.fc.weight": 5,
        },
    ),
    "swin": (
        zoo_transformers.VideoSwin(width=8, depths=[2, 1], heads=[1, 2], window=[2, 3, 3]),
        {
            "backbone.patch_embed.proj.weight": 0,
            "backbone.features.0.0.attn.relative_position_bias_table": 1,
            "backbone.features.0.1.mlp.0.weight": 2,
            "backbone.features.1.reduction.weight": 2,
            "backbone.features.2.0.attn.qkv.weight": 3,
            "backbone.norm.weight": 4,
            "head.fc.bias": 4,
        },
    ),
    "timesformer": (
        zoo_transformers.TimeSformer(num_frames=2, img_size=32, width=16, depth=2, heads=2),
        {
            "backbone.cls_token": 0,
            "backbone.pos_embed": 0,
            "backbone.patch_embed.weight": 0,
            "backbone.blocks.0.temporal.fc.weight": 1,
            "backbone.blocks.1.mlp.norm.bias": 2,
            "backbone.norm.weight": 3,
            "head.fc.weight": 3,
        },
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_indices_own_transformer_is_rule_of_videomae(name):
    """Embeddings and tokens are layer 0, block i is layer i + 1, norm and classifier are the last (also timm's)."""
    option, layers = LAYERS[name]
    model = option.build(5)
    numbers, last = layer_indices(model)
    assert numbers.keys() == dict(model.named_parameters()).keys()
    assert {key: numbers[key] for key in layers} == layers
    assert last == max(layers.values())


def test_layer_decay_of_videomae_equals_its_code():
    """``layer_decay ** (depth + 1 - layer)`` by get_num_layer_for_vit of MCG-NJU/VideoMAE (optim_factory.py)."""
    model = LAYERS["videomae"][0].build(5)
    for group in param_groups(model, lr=1.0, weight_decay=0.05, paramwise=Paramwise(layer_decay=0.75)):
        by_id = {id(parameter): name for name, parameter in model.named_parameters()}
        for parameter in group["params"]:
            name = by_id[id(parameter)].removeprefix("backbone.")
            layer = 0 if name.startswith("patch_embed") else int(name.split(".")[1]) + 1 if "blocks" in name else 4
            assert group["lr"] == pytest.approx(0.75 ** (4 - layer)), name
