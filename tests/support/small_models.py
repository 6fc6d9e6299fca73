"""Every registered model with an input small enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from torch import nn

from vexp.model import zoo_frames, zoo_transformers
from vexp.model.config import Model
from vexp.model.registry import REGISTRY

#: name -> clip (T, H, W) on which a CPU trains the model in a minute; (4, 64, 64) for the others
SMALL = {
    "slowfast_r50": (16, 64, 64),
    "slowfast_r101": (16, 64, 64),
    "slowfast_r101_r50": (16, 64, 64),
    "slowfast_r50_ava": (16, 64, 64),
    "i3d_r50": (16, 64, 64),
    "i3d_nl_r50": (16, 64, 64),  # with fewer frames its non-local blocks attend to a single position
    "c3d": (16, 112, 112),  # the only size it accepts
    "r2plus1d_r34": (8, 64, 64),
    "ircsn_r50": (16, 64, 64),
    "ipcsn_r152": (16, 64, 64),
    "s3d": (16, 224, 224),  # its last pooling is 7 x 7
    "mvit_v1_b": (8, 64, 64),
    "mvit_v2_s": (8, 64, 64),
    "videomae_g": (4, 56, 56),  # patches of 14 x 14 pixels
    "tin_r50": (8, 64, 64),  # with fewer frames the ReLU of an offset may be 0 for all of them
    "uniformerv2_l14": (4, 56, 56),
    "uniformerv2_l14_336": (4, 56, 56),
}


def small_option(name: str, size: tuple[int, int, int]) -> Model:
    """The option of a registered model; a transformer has few blocks, made for clips of (T, H, W)."""
    option = REGISTRY[name].option()
    if option.channels != 3:  # heat maps
        option = replace(option, channels=3)
    clip = {"num_frames": size[0], "img_size": size[1], "drop_path": 0.0}
    if isinstance(option, zoo_frames.Tin | zoo_frames.TaNet | zoo_frames.Trn):
        return replace(option, num_frames=size[0])
    if isinstance(option, zoo_transformers.TimeSformer):
        return replace(option, **clip)
    if isinstance(option, zoo_transformers.VideoMae):
        return replace(option, depth=2, init_std=0.02, **clip)
    if isinstance(option, zoo_transformers.MViTv2):
        return replace(option, depth=4, downsample=[1, 2, 3], init_std=0.02, **clip)
    if isinstance(option, zoo_transformers.VideoSwin):
        return replace(option, depths=[1, 1, 2, 1], drop_path=0.0)
    if isinstance(option, zoo_transformers.UniFormer):
        return replace(option, depths=[1, 1, 1, 1], drop_path=0.0)
    if isinstance(option, zoo_transformers.UniFormerV2):
        return replace(option, img_size=size[1], depth=2, global_blocks=1)
    return option


def small_model(name: str, num_classes: int) -> tuple[nn.Module, tuple[int, int, int]]:
    """Build a model without random parts; return it and the (T, H, W) of a small clip for it."""
    from torchvision.models.video import mvit
    from torchvision.ops import StochasticDepth

    size = SMALL.get(name, (4, 64, 64))
    if name.startswith("mvit_v"):  # the builders of torchvision set 224 themselves
        make, small = mvit._mvit, {"spatial_size": size[1:], "temporal_size": size[0]}
        with mock.patch.object(mvit, "_mvit", lambda **arguments: make(**arguments | small)):
            model = REGISTRY[name].option().build(num_classes)
    else:
        model = small_option(name, size).build(num_classes)
    for part in model.modules():
        if isinstance(part, nn.Dropout | StochasticDepth):
            part.p = 0.0
    return model, size


def one_of_each_family(names: Sequence[str]) -> list[Any]:
    """Return the models of a test: the first of each family for the default lane, the others as integration tests."""
    first = {type(REGISTRY[name].option()): name for name in reversed(names)}
    return [pytest.param(name, marks=() if name in first.values() else pytest.mark.integration) for name in names]
