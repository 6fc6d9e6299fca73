"""Parameter groups and frozen parameters in whole runs: training, log, files and resuming."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose, train
from vexp.core.errors import UserError
from vexp.training.state import setting_changes

OVERRIDES = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "checkpoint.interval=1",
    "checkpoint.max_keep_ckpts=-1",
    "optimizer=sgd", "optimizer.lr=0.05", "lr=fixed", "optimizer.paramwise.custom_keys.stage3.lr_mult=0.5",
    "optimizer.paramwise.custom_keys.head.lr_mult=2", "optimizer.paramwise.norm_decay_mult=0", "model.freeze=[stem]",
]  # fmt: skip


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    return train.run(compose(overrides), folder, overrides=overrides)


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of four steps with an evaluation between them."""
    folder = tmp_path_factory.mktemp("grouped")
    run(folder, OVERRIDES)
    return folder


@pytest.mark.integration
def test_parameter_groups_are_logged_and_saved_as_csv(grouped: Path) -> None:
    rows = list(csv.DictReader((grouped / "param_groups.csv").read_text().splitlines()))
    assert [(row["group"], row["lr"], row["weight_decay"]) for row in rows] == [
        ("base", "0.05", "0.0001"),
        ("norm", "0.05", "0.0"),
        ("stage3", "0.025", "0.0001"),
        ("head", "0.1", "0.0001"),
        ("frozen", "", ""),
    ]
    assert rows[-1]["names"] == "stem.0.weight stem.1.weight stem.1.bias"
    assert "parameter groups: 4\n" in log(grouped)
    assert "  frozen      -" in log(grouped)


@pytest.mark.integration
def test_learning_rates_of_groups_are_recorded_and_summarized_in_log(grouped: Path) -> None:
    first = read_metrics(grouped, "train")[0]
    assert {key: value for key, value in first.items() if key.startswith("lr")} == {
        "lr": 0.05, "lr/base": 0.05, "lr/norm": 0.05, "lr/stage3": 0.025, "lr/head": 0.1,
    }  # fmt: skip
    assert "| lr 0.05 (0.025 to 0.1 in 4 groups) |" in log(grouped)


@pytest.mark.integration
def test_frozen_parameters_and_statistics_do_not_change(grouped: Path) -> None:
    """Also the running statistics, although an evaluation sets the model back to train mode."""
    torch.manual_seed(0)
    start = compose(["model.width=8"]).model.build(8).state_dict()
    end = read_checkpoint(grouped)["model"]
    changed = {name.partition(".")[0] for name in start if not torch.equal(start[name], end[name])}
    assert changed == {"stage1", "stage2", "stage3", "head"}


@pytest.mark.integration
def test_resume_with_parameter_groups_gives_equal_weights(grouped: Path, tmp_path: Path) -> None:
    run(tmp_path, [*OVERRIDES, f"resume={grouped}/checkpoints/epoch_1.pth"])
    assert read_metrics(tmp_path, "train") == read_metrics(grouped, "train")[4:]
    assert_same_weights(tmp_path, grouped)
    assert "changed since" not in log(tmp_path)


@pytest.mark.integration
def test_resume_logs_changed_learning_rates_by_group(grouped: Path, tmp_path: Path) -> None:
    kept = [override for override in OVERRIDES if "head.lr_mult" not in override]
    rate = "optimizer.paramwise.custom_keys.head.lr_mult=4"
    run(tmp_path, [*kept, rate, "optimizer.momentum=0.8", f"resume={grouped}/checkpoints/epoch_1.pth"])
    assert read_metrics(tmp_path, "train")[0]["lr/head"] == 0.2
    assert "changed since: optimizer.lr 0.1 -> 0.2 in head\n" in log(tmp_path)
    assert "changed since: optimizer.momentum 0.9 -> 0.8\n" in log(tmp_path)


@pytest.mark.parametrize(
    ("removed", "extra", "message"),
    [
        (
            "head.lr_mult",
            [],
            r"was trained with 4 parameter groups \(base, norm, stage3, head\), the config has 3 parameter groups "
            r"\(base, norm, stage3\) .*init_from",
        ),
        ("model.freeze", [], "its parameter group base has other parameters than base of the config .*: stem.0.weight"),
        (
            "custom_keys.stage3",
            ["optimizer.paramwise.custom_keys.stage2.lr_mult=0.5"],
            "its parameter group base has other parameters than base of the config .*: stage2.first.0.weight",
        ),
        (
            "optimizer=sgd",
            ["optimizer=rmsprop"],
            "was trained with SGD, the config has RMSprop; resume with the settings",
        ),
    ],
)
def test_resume_rejects_other_parameter_groups(
    grouped: Path, tmp_path: Path, removed: str, extra: list[str], message: str
) -> None:
    kept = [override for override in OVERRIDES if removed not in override]
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*kept, *extra, f"resume={grouped}/checkpoints/epoch_1.pth"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ["optimizer.paramwise.custom_keys.stam.lr_mult=2"],
            r"optimizer.paramwise.custom_keys.stam: matches no parameter name",
        ),
        (
            ["optimizer.paramwise.layer_decay=0.75"],
            r"optimizer.paramwise.layer_decay: Tiny3d has no blocks with attention",
        ),
        (["model.freeze=[stam]"], r"model.freeze: no parameter of Tiny3d matches 'stam'; did you mean stem"),
        (["model.freeze=['*']"], r"model.freeze: freezes all parameters of Tiny3d"),
    ],
)
def test_run_rejects_options_that_match_no_parameter(
    tiny: list[str], tmp_path: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*tiny, *extra])


def test_linear_scaling_of_learning_rate_is_applied_and_logged(tiny: list[str], tmp_path: Path) -> None:
    """The learning rate is given for 64 samples; a step of the run has 2 batches of 4."""
    run(
        tmp_path,
        [*tiny, "epochs=1", "lr=fixed", "grad.accumulate=2", "optimizer=sgd", "optimizer.lr=0.4",
         "optimizer.base_batch_size=64"],
    )  # fmt: skip
    assert read_metrics(tmp_path, "train")[0]["lr"] == 0.05
    assert (
        "optimizer.lr: 0.4 for 64 samples per step (optimizer.base_batch_size), scaled to 0.05 for the 8 of this run"
        in log(tmp_path)
    )
    assert "parameter groups: lr 0.05, weight decay 0.0001 for all" in log(tmp_path)


def test_rprop_warns_that_lr_sets_first_step_only(tiny: list[str], tmp_path: Path) -> None:
    run(tmp_path, [*tiny, "epochs=1", "optimizer=rprop", "eval=never"])
    assert "warning: optimizer=rprop uses lr for the size of its first step only" in log(tmp_path)


def group(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "lr": 0.0, "param_names": [name], **settings}


@pytest.mark.parametrize(
    ("saved", "chosen", "lines"),
    [
        ([{"initial_lr": 0.1}], [{"initial_lr": 0.1}], []),
        ([{"initial_lr": 0.1}], [{"initial_lr": 0.2}], ["lr 0.1 -> 0.2"]),
        ([{}], [{"fused": True}], ["fused None -> True"]),  # saved by a version without this setting
        # equal changes of all groups are listed once, of some groups by name
        ([{"eps": 1}, {"eps": 1}], [{"eps": 2}, {"eps": 2}], ["eps 1 -> 2"]),
        ([{"eps": 1}, {"eps": 1}, {"eps": 1}], [{"eps": 2}, {"eps": 2}, {"eps": 1}], ["eps 1 -> 2 in g0, g1"]),
        (
            [{"initial_lr": 0.1 * k} for k in range(20)],
            [{"initial_lr": 1.0 + k} for k in range(20)],
            [f"lr {0.1 * k} -> {1.0 + k} in g{k}" for k in range(8)]
            + ["... and 12 more changes, see param_groups.csv"],
        ),
    ],
)
def test_setting_changes_lists_old_and_new_values(
    saved: list[dict[str, Any]], chosen: list[dict[str, Any]], lines: list[str]
) -> None:
    old = [group(f"g{i}", **settings) for i, settings in enumerate(saved)]
    new = [group(f"g{i}", **settings) for i, settings in enumerate(chosen)]
    assert setting_changes(old, new) == lines
