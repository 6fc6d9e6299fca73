"""A loss that is not finite: the run stops and nonfinite.json holds what led to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vexp import compose, train
from vexp.core.errors import UserError


def test_what_is_written_down_when_the_loss_is_not_finite(tmp_path: Path, tiny: list[str]) -> None:
    words = [*tiny, "optimizer=sgd", "optimizer.lr=1e30", "lr=fixed", "grad.clip.max_norm=inf", "log.interval=4"]
    with pytest.raises(UserError) as caught:
        train.run(compose(words), tmp_path)
    path = tmp_path / "nonfinite.json"
    assert f"the last steps are in {path}" in str(caught.value)
    found = json.loads(path.read_text())
    assert (found["step"], found["epoch"], found["noticed_after_step"]) == (2, 1, 4)
    assert f"of step {found['step']} is not finite" in str(caught.value)
    assert len(found["samples"]) == 4
    assert all(sample["name"].endswith(".mp4") for sample in found["samples"])
    assert found["lr"] == [1e30]
    assert (found["loss_scale"], found["skipped_steps"]) == (1.0, 0)
    assert [row["step"] for row in found["last_steps"]] == [1, 2, 3, 4]
    first, second = found["last_steps"][:2]
    assert isinstance(first["loss"], float)
    assert isinstance(first["grad_norm"], float)
    assert second["loss"] in ("nan", "inf")  # words: JSON has no such numbers
    assert found["not_finite_now"]
    assert set(found["weight_norms"]) >= {name for name in found["not_finite_now"] if "running" not in name}
    assert not (tmp_path / "checkpoints").exists()


def test_the_steps_that_an_epoch_leaves_unlogged_are_looked_at_before_they_are_forgotten(
    tmp_path: Path, tiny: list[str]
) -> None:
    """Step 4 ends the epoch and no line: without a look the first step of the next epoch would be blamed."""
    words = [
        *tiny, "epochs=2", "log.interval=3", "log.by_epoch=true", "eval=never", "checkpoint=never",
        "optimizer=sgd", "optimizer.lr=1e30", "lr=fixed",
        "lr_policy.warmup=constant", "lr_policy.warmup_iters=2", "lr_policy.warmup_ratio=1e-34",
    ]  # fmt: skip
    with pytest.raises(UserError, match="of step 4 is not finite"):
        train.run(compose(words), tmp_path)
    found = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (found["step"], found["epoch"], found["noticed_after_step"]) == (4, 1, 4)
