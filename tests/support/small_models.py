"""Every model of the catalogue at the smallest input that a CPU runs it on in a moment."""

from __future__ import annotations

from unittest import mock

from torch import nn

from vexp.model import zoo
from vexp.model.registry import REGISTRY

#: name -> clip (T, H, W) on which a CPU trains the model in a minute; (4, 64, 64) where nothing is said
SMALL = {
    "slowfast_r50": (16, 64, 64),
    "i3d_r50": (16, 64, 64),
    "i3d_nl_r50": (16, 64, 64),  # less leaves its non-local blocks a single position to look at
    "c3d": (16, 112, 112),  # its only input
    "r2plus1d_r34": (8, 64, 64),
    "ircsn_r50": (16, 64, 64),
    "ipcsn_r152": (16, 64, 64),
    "s3d": (16, 224, 224),  # averages over 7 x 7 in the end
    "mvit_v1_b": (8, 64, 64),
    "mvit_v2_s": (8, 64, 64),
}


def small_net(name: str, num_classes: int) -> tuple[nn.Module, tuple[int, int, int]]:
    """The model without its random parts, and a small clip for it; transformers for 224 pixels are made for fewer."""
    from torchvision.models.video import mvit
    from torchvision.ops import StochasticDepth

    size = SMALL.get(name, (4, 64, 64))
    if name.startswith("mvit"):  # its makers say 224 themselves
        make, ours = mvit._mvit, {"spatial_size": size[1:], "temporal_size": size[0]}
        with mock.patch.object(mvit, "_mvit", lambda **theirs: make(**theirs | ours)):
            model = REGISTRY[name].option().build(num_classes)
    elif name == "timesformer_divst":
        model = zoo.TimeSformer(num_frames=size[0], img_size=size[1], drop_path=0).build(num_classes)
    else:
        model = REGISTRY[name].option().build(num_classes)
    for part in model.modules():
        if isinstance(part, nn.Dropout | StochasticDepth):
            part.p = 0.0
    return model, size
