"""A loss that is not finite ends the run; nonfinite.json describes the last steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from vexp import compose, train
from vexp.core.errors import UserError


def test_nonfinite_loss_ends_run_and_writes_report(tmp_path: Path, tiny: list[str]) -> None:
    overrides = [*tiny, "optimizer=sgd", "optimizer.lr=1e30", "lr=fixed", "grad.clip.max_norm=inf", "log.interval=4"]
    with pytest.raises(UserError) as caught:
        train.run(compose(overrides), tmp_path)
    path = tmp_path / "nonfinite.json"
    assert f"the last steps are in {path}" in str(caught.value)
    report = json.loads(path.read_text())
    assert (report["step"], report["epoch"], report["noticed_after_step"]) == (2, 1, 4)
    assert f"of step {report['step']} is not finite" in str(caught.value)
    assert len(report["samples"]) == 4
    assert all(sample["name"].endswith(".mp4") for sample in report["samples"])
    assert report["lr"] == [1e30]
    assert (report["loss_scale"], report["skipped_steps"]) == (1.0, 0)
    assert [row["step"] for row in report["last_steps"]] == [1, 2, 3, 4]
    first, second = report["last_steps"][:2]
    assert 0 < first["loss"] < 10
    assert 0 < first["grad_norm"] < math.inf
    assert second["loss"] in ("nan", "inf")  # as strings, because JSON has no such numbers
    assert "head.weight" in report["not_finite_now"]
    assert set(report["weight_norms"]) >= {name for name in report["not_finite_now"] if "running" not in name}
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.integration
def test_nonfinite_loss_at_end_of_epoch_without_log_line_is_found(tmp_path: Path, tiny: list[str]) -> None:
    """Step 4 ends the epoch without a log line; it must be checked before the averages are reset."""
    overrides = [
        *tiny, "epochs=2", "log.interval=3", "log.by_epoch=true", "eval=never", "checkpoint=never",
        "optimizer=sgd", "optimizer.lr=1e30", "lr=fixed",
        "lr_policy.warmup=constant", "lr_policy.warmup_iters=2", "lr_policy.warmup_ratio=1e-34",
    ]  # fmt: skip
    with pytest.raises(UserError, match="of step 4 is not finite"):
        train.run(compose(overrides), tmp_path)
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (report["step"], report["epoch"], report["noticed_after_step"]) == (4, 1, 4)
