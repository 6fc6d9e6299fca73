"""The repeated blocks of models: transformer blocks and residual blocks, wherever a model keeps them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vexp.model.registry import REGISTRY
from vexp.model.repeated_blocks import repeated_blocks, transformer_blocks


class Attention(nn.Module):
    """A layer by its name."""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(), nn.Sequential(nn.Linear(2, 2), nn.Conv3d(2, 2, 1))


class Stage(nn.Module):
    """Blocks within a module, as in Swin transformers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))


class Pooler(nn.Module):
    """An attentive head with blocks of its own, as in V-JEPA 2."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.cross = nn.ModuleList([PoolerBlock(), PoolerBlock()]), PoolerBlock()


class PoolerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()


def test_blocks_within_stages_and_backbone_are_found() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv3d(3, 2, 1), nn.ModuleList([Stage(2), Stage(3)])), nn.Linear(2, 2))
    expected = [f"0.1.{stage}.blocks.{block}" for stage, depth in enumerate((2, 3)) for block in range(depth)]
    assert repeated_blocks(model) == transformer_blocks(model) == expected


def test_blocks_of_head_count_for_sharding_but_not_as_layers() -> None:
    model = nn.ModuleDict({"encoder": Stage(3), "pooler": Pooler()})
    encoder = [f"encoder.blocks.{block}" for block in range(3)]
    assert transformer_blocks(model) == encoder
    assert repeated_blocks(model) == [*encoder, "pooler.layers.0", "pooler.layers.1"]


def test_attention_layers_in_list_are_layers_but_no_blocks() -> None:
    model = nn.ModuleList(nn.ModuleList([Attention(), nn.Linear(2, 2)]) for _ in range(2))
    assert transformer_blocks(model) == ["0.0", "1.0"]
    assert repeated_blocks(model) == []


@pytest.mark.parametrize(
    ("name", "count", "cls", "first"),
    [
        ("timesformer_divst", 12, "Block", "backbone.blocks.0"),
        ("mvit_v2_s", 16, "MultiscaleBlock", "blocks.0"),
        ("swin3d_t", 12, "SwinTransformerBlock", "features.0.0"),
        ("slowonly_r50", 16, "Residual", "backbone.layer1.0"),
        ("slowfast_r50", 32, "Residual", "backbone.slow_path.layer1.0"),
        ("x3d_s", 26, "Residual", "backbone.layer1.0"),
        ("tsm_r50", 16, "Bottleneck", "backbone.layer1.0"),
        ("r2plus1d_18", 8, "BasicBlock", "layer1.0"),
        ("s3d", 9, "SepInceptionBlock3D", "features.5"),
        ("c3d", 0, "", ""),
        ("tiny3d", 0, "", ""),
    ],
)
def test_repeated_blocks_of_registered_model(name: str, count: int, cls: str, first: str) -> None:
    with torch.device("meta"):
        model = REGISTRY[name].option().build_architecture(5)
    blocks = repeated_blocks(model)
    assert len(blocks) == count
    assert {type(model.get_submodule(path)).__name__ for path in blocks} == ({cls} if cls else set())
    assert blocks[:1] == ([first] if first else [])
