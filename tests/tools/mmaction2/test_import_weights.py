"""The report says how many tensors of the weights that a config names fit the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import run_command
from support.imported import SMALL_1

from vexp.model import build_model
from vexp.model.zoo_transformers import UniFormerV2

SIZES = {"img_size": 32, "patch_size": 16, "width": 32, "depth": 2, "heads": 2, "global_blocks": 1}
BACKBONE = (
    "type='UniFormerV2', input_resolution=32, patch_size=16, width=32, layers=2, heads=2, t_size=4, n_layers=1, "
    "n_dim=32, n_head=2, return_list=[1], mlp_dropout=[0.5], no_lmhra=True, temporal_downsample=False, "
    "pretrained='weights.pth'"
)
CONFIG = SMALL_1.replace("type='ResNet3dSlowOnly', depth=50", BACKBONE)


def report(folder: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Any] | None, config: str = CONFIG) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    (folder / "config.py").write_text(config)
    if tensors is not None:
        torch.save({"state_dict": tensors}, folder / "weights.pth")
    return run_command("import", "config.py", "out=mine", "--overwrite")


def tensors() -> dict[str, Any]:
    return build_model(UniFormerV2(**SIZES), 5).state_dict()


def test_tensors_of_a_local_file_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tensors()
    text = report(tmp_path, monkeypatch, own | {"more.weight": torch.zeros(2)})
    counted = (
        f"weights.pth: {len(own)} of the {len(own)} tensors of the model are in the file; 1 other tensor in the file"
    )
    assert counted in text
    assert "the same experiment" in text
    assert counted in (tmp_path / "mine" / "experiment" / "config.md").read_text()


def test_weights_that_a_run_would_refuse_are_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = report(tmp_path, monkeypatch, {"layer.weight": torch.zeros(2)})
    assert "the same but for 1 point" in text
    assert "model.weights.path: weights.pth: does not belong to this model: 0 of " in text


@pytest.mark.parametrize("name", ["weights.pth", "https://download.openmmlab.com/a-01234567.pth"])
def test_missing_weights_are_named_with_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = report(tmp_path, monkeypatch, None, CONFIG.replace("weights.pth", name))
    assert f"{name} is not on this machine; --download reads it and counts the tensors that fit" in text


def test_cached_download_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name in torch.hub's folder, without a network."""
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    own = tensors()
    file = tmp_path / "hub" / "checkpoints" / "w.pth"
    torch.save(own, file)
    from vexp.core.checksum import sha256

    named = f"w-{sha256(file)[:8]}.pth"
    file.rename(file.with_name(named))
    text = report(tmp_path, monkeypatch, None, CONFIG.replace("weights.pth", f"https://example.org/{named}"))
    assert f"{len(own)} of the {len(own)} tensors of the model are in the file" in text
