"""The public names of data.transforms, data.decoding, model and optim can be imported."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "vexp.data.transforms": (
        "CenterCrop", "ColorJitter", "DenseSampleFrames", "Flip", "MultiScaleCrop", "RandomCrop", "RandomRescale",
        "RandomResizedCrop", "Resize", "SampleFrames", "SegmentFrames", "TenCrop", "ThreeCrop", "UntrimmedSampleFrames",
    ),
    "vexp.data.decoding": ("open_video",),
    "vexp.model": ("build_model",),
    "vexp.model.init": ("initialize",),
    "vexp.model.weights": (
        "LoadReport", "load_checkpoint", "load_state_dict", "read_checkpoint", "read_checkpoint_with_prefix",
    ),
    "vexp.optim.lr_policy": (
        "Chain", "Cosine", "CosineRestart", "Cyclic", "Exp", "Fixed", "FlatCosine", "Inv", "Linear", "OneCycle", "Poly",
        "Step",
    ),
    "vexp.optim.param_groups": ("param_groups",),
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_public_name_is_callable(module: str, name: str) -> None:
    assert callable(getattr(importlib.import_module(module), name))


def test_import_of_public_modules_does_not_import_torch() -> None:
    modules = [module for module in NAMES if module != "vexp.optim.param_groups"]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module("vexp.model.weights").no_such_name  # noqa: B018
