"""Initial weights of a run: logged, read once, and not needed to resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.run_files import read_checkpoint

from vexp import compose, train
from vexp.core.errors import UserError
from vexp.model import build_model

OVERRIDES = [
    "data.train_clips=1",
    "data.val_clips=1",
    "data.num_workers=0",
    "log=text",
    "log.plots=false",
    "device=cpu",
    "eval=never",
]


def weight_file(path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    state = build_model("tiny3d", 5).state_dict()
    norm = "img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=True)"
    torch.save({"state_dict": state, "meta": {"config": norm}}, path)
    return state


@pytest.mark.integration
@pytest.mark.parametrize("key", ["init_from", "model.weights.path"])
def test_run_from_weights_resumes_without_their_file(key: str, tmp_path: Path) -> None:
    state = weight_file(tmp_path / "w.pth")
    overrides = [*OVERRIDES, f"{key}={tmp_path}/w.pth", "optimizer.lr=0", "optimizer.weight_decay=0", "ema=average"]
    train.run(compose([*overrides, "max_steps=1"]), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "80 of 82 tensors match" in log
    assert "re-initialized    2  head.weight (5 x 96 in the file, 8 x 96 here)" in log
    assert f"warning: weights from {tmp_path}/w.pth: trained on BGR; set img_norm.to_bgr=true" in log
    saved = read_checkpoint(tmp_path / "run")
    assert torch.equal(saved["model"]["stem.0.weight"], state["stem.0.weight"])
    assert torch.equal(saved["ema"]["module.stem.0.weight"], state["stem.0.weight"])
    (tmp_path / "w.pth").unlink()
    result = train.run(compose([*overrides, "max_steps=2", "resume=auto"]), tmp_path / "run")
    assert (result["status"], result["step"]) == ("done", 2)


@pytest.mark.integration
def test_model_init_is_applied_and_logged(tmp_path: Path) -> None:
    overrides = [*OVERRIDES, "model.init={type:Constant,val:0,bias:3,layer:Linear}", "optimizer.lr=0", "max_steps=1"]
    train.run(compose(overrides), tmp_path)
    assert "init: Constant on 1 layers (Linear): head" in (tmp_path / "log.txt").read_text()
    saved = read_checkpoint(tmp_path)["model"]
    assert (saved["head.bias"].tolist(), saved["head.weight"].any().item()) == ([3.0] * 8, False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["init_from=a.pth", "model.weights.path=b.pth"], "give the initial weights once"),
        (["init_from=a.pth", "resume=b.pth"], "init_from is set, too"),
        (["model.weights.min_match=2"], "model.weights.min_match=2.0: must be <= 1"),
        (["model.weights.rename=[backbone]"], "must be 'PATTERN -> REPLACEMENT'"),
    ],
)
def test_compose_rejects_conflicting_initial_weights(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(overrides)
