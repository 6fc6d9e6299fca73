"""``vexp plan``: what it promises is what a run then does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from vexp import compose, train
from vexp.cli import plan
from vexp.core.errors import UserError
from vexp.tools.plan import ascii_lr_curve, build_plan

OVERRIDES = [
    "optimizer=sgd", "lr=step", "lr.step=[1]", "lr.warmup=linear", "lr.warmup_iters=2", "grad.accumulate=2",
    "data.batch_size=3", "optimizer.paramwise.custom_keys.head.lr_mult=10", "eval.interval=2", "checkpoint.interval=1",
]  # fmt: skip


def planned(arguments: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[dict[str, str]]:
    plan.main([*arguments, f"png={folder}/lr.png", f"out={folder}/lr.csv"])
    with (folder / "lr.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.integration
def test_plan_equals_run(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """16 samples in steps of 6 for two epochs: every rate, every evaluation, every checkpoint, the parameter groups."""
    arguments = [*tiny, *OVERRIDES, "checkpoint.max_keep_ckpts=-1"]
    rows = planned(arguments, monkeypatch, tmp_path)
    printed = capsys.readouterr().out
    run = tmp_path / "run"
    train.run(compose(arguments), run)
    records: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [(r["step"], r["epoch"], r["lr/base"], r["lr/head"]) for r in records if r["mode"] == "train"]
    assert [(int(r["step"]), int(r["epoch"]), float(r["lr/base"]), float(r["lr/head"])) for r in rows] == trained
    whole = build_plan(compose(arguments))
    assert [*whole.exp.schedule.evaluations()] == [r["step"] for r in records if r["mode"] == "val"]
    saved = {f"epoch_{step // whole.exp.plan.steps_per_epoch}.pth" for step in whole.exp.schedule.checkpoints()}
    assert saved == {path.name for path in (run / "checkpoints").glob("epoch_*.pth")}
    assert (tmp_path / "lr.png").stat().st_size > 5_000
    for line in (
        "length: 6 optimizer steps = 2 epochs of 3 steps, 6 samples per step (batch 3 x accumulate 2)",
        "  step 3 (epoch 1): warm-up (linear) ends, lr 0.1, 1",
        "  step 4 (epoch 2): drop x 0.1, lr 0.01, 0.1",
        "evaluations: 1: after epoch 2",
        "checkpoints: 2: after epochs 1, 2",
    ):
        assert line in printed
    table = (run / "param_groups.csv").read_text().splitlines()
    assert len(table) == 1 + len(whole.groups)


def test_plan_prints_warnings_and_creates_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    planned([f"data.cache_dir={cache}", "lr=step", "lr.step=[400]"], monkeypatch, tmp_path)
    assert not cache.exists()  # neither videos
    assert {path.name for path in tmp_path.iterdir()} == {"lr.png", "lr.csv"}  # nor a run folder
    assert "warning: lr_policy: step=[400]: the run ends after" in capsys.readouterr().out


def test_plan_of_large_model_allocates_no_weights() -> None:
    whole = build_plan(compose(["model=mvit_v2_s", "epochs=1"]))
    assert whole.parameters > 30_000_000
    assert sum(row.parameters for row in whole.groups) == whole.parameters


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([1.0, 0.5, 0.0], ["       1 │█", "         │█", "     0.5 │██", "         │██", "         └───"]),
        ([0.0, 0.0], ["       1 │", "         │", "     0.5 │", "         │", "         └──"]),  # all 0
    ],
)  # fmt: skip
def test_ascii_lr_curve(values: list[float], lines: list[str]) -> None:
    assert ascii_lr_curve(values, height=4) == lines


def test_plan_without_out_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan.main(["epochs=1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["epochs=1000000000", "max_steps=1000000000000"])
def test_plan_of_an_endless_run_ends(length: str, capsys: pytest.CaptureFixture[str]) -> None:
    policy = ["lr=step", "lr.step=1", "lr.min_lr=1e-9"]
    assert plan.main([length, *(["epochs=null"] if "max" in length else []), *policy, "device=cpu"]) == 0
    assert "(and later ones)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["epochs=1000000000", "out=lr.csv"], "too many rows"),
        (["epochs=1000000000", "lr=chain", "+lr.phases.a={shape: linear}"], "at most 10,000,000"),
        (["png=lr.txt"], "must end in"),
        (["png="], "must not be empty"),
        (["out=/"], "/: cannot be written: Is a directory"),
    ],
)
def test_plan_refuses_files_that_cannot_be_written(
    arguments: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=fault):
        plan.main([*arguments, "device=cpu"])
    assert not list(tmp_path.iterdir())


def test_plan_does_not_replace_a_device(tmp_path: Path) -> None:
    (tmp_path / "device").symlink_to("/dev/full")
    with pytest.raises(UserError, match="device: cannot be written: is a device, not a file"):
        plan.main([f"out={tmp_path / 'device'}", "max_steps=1", "epochs=null", "device=cpu"])
    assert (tmp_path / "device").is_symlink()
