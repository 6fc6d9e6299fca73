"""Parameter groups and frozen parts in whole runs: what is trained, logged, saved, and gone on with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.core.errors import UserError
from vexp.training.state import setting_changes

WORDS = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "checkpoint.interval=1",
    "checkpoint.max_keep_ckpts=-1",
    "optimizer=sgd", "optimizer.lr=0.05", "lr=fixed", "optimizer.paramwise.custom_keys.stage3.lr_mult=0.5",
    "optimizer.paramwise.custom_keys.head.lr_mult=2", "optimizer.paramwise.norm_decay_mult=0", "model.freeze=[stem]",
]  # fmt: skip


def run(folder: Path, words: list[str]) -> dict[str, Any]:
    return train.run(compose(words), folder, overrides=words)


def records(folder: Path, mode: str = "train") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("time/")} for r in lines if r["mode"] == mode]


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of four steps with an evaluation between them."""
    folder = tmp_path_factory.mktemp("grouped")
    run(folder, WORDS)
    return folder


def test_the_table_is_said_and_kept(grouped: Path) -> None:
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


def test_every_rate_is_recorded_and_the_line_stays_short(grouped: Path) -> None:
    first = records(grouped)[0]
    assert {key: value for key, value in first.items() if key.startswith("lr")} == {
        "lr": 0.05, "lr/base": 0.05, "lr/norm": 0.05, "lr/stage3": 0.025, "lr/head": 0.1,
    }  # fmt: skip
    assert "| lr 0.05 (0.025 to 0.1 in 4 groups) |" in log(grouped)


def test_frozen_parts_end_as_they_began(grouped: Path) -> None:
    """Over an evaluation, after which the net is put in train mode again: its running statistics, too."""
    torch.manual_seed(0)
    start = compose(["model.width=8"]).model.build(8).state_dict()
    end = checkpoint.load(grouped / "checkpoints" / "last.pth")["model"]
    moved = {name.partition(".")[0] for name in start if not torch.equal(start[name], end[name])}
    assert moved == {"stage1", "stage2", "stage3", "head"}


def test_resuming_changes_nothing(grouped: Path, tmp_path: Path) -> None:
    run(tmp_path, [*WORDS, f"resume={grouped}/checkpoints/epoch_1.pth"])
    assert records(tmp_path) == records(grouped)[4:]
    ours, theirs = (checkpoint.load(folder / "checkpoints" / "last.pth") for folder in (tmp_path, grouped))
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in ours["model"])
    assert "changed since" not in log(tmp_path)


def test_changed_rates_are_said_by_group(grouped: Path, tmp_path: Path) -> None:
    changed = [word for word in WORDS if "head.lr_mult" not in word]
    keys = "optimizer.paramwise.custom_keys.head.lr_mult=4"
    run(tmp_path, [*changed, keys, "optimizer.momentum=0.8", f"resume={grouped}/checkpoints/epoch_1.pth"])
    assert records(tmp_path)[0]["lr/head"] == 0.2
    assert "changed since: optimizer.lr 0.1 -> 0.2 in head\n" in log(tmp_path)
    assert "changed since: optimizer.momentum 0.9 -> 0.8\n" in log(tmp_path)


@pytest.mark.parametrize(
    ("left_out", "added", "message"),
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
def test_a_state_that_belongs_to_other_groups_is_refused(
    grouped: Path, tmp_path: Path, left_out: str, added: list[str], message: str
) -> None:
    kept = [word for word in WORDS if left_out not in word]
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*kept, *added, f"resume={grouped}/checkpoints/epoch_1.pth"])


@pytest.mark.parametrize(
    ("added", "message"),
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
def test_what_fits_no_part_of_the_net_is_refused(
    tiny: list[str], tmp_path: Path, added: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [*tiny, *added])


def test_linear_scaling_is_said_and_done(tiny: list[str], tmp_path: Path) -> None:
    """4 samples a batch, 2 batches a step, a rate meant for 64 samples."""
    run(
        tmp_path,
        [*tiny, "epochs=1", "lr=fixed", "grad.accumulate=2", "optimizer=sgd", "optimizer.lr=0.4",
         "optimizer.base_batch_size=64"],
    )  # fmt: skip
    assert records(tmp_path)[0]["lr"] == 0.05
    assert (
        "optimizer.lr: 0.4 for 64 samples per step (optimizer.base_batch_size), scaled to 0.05 for the 8 of this run"
        in log(tmp_path)
    )
    assert "parameter groups: lr 0.05, weight decay 0.0001 for all" in log(tmp_path)


def test_a_policy_without_effect_is_said(tiny: list[str], tmp_path: Path) -> None:
    run(tmp_path, [*tiny, "epochs=1", "optimizer=rprop", "eval=never"])
    assert "warning: optimizer=rprop uses lr for the size of its first step only" in log(tmp_path)


def group(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "lr": 0.0, "param_names": [name], **settings}


@pytest.mark.parametrize(
    ("saved", "chosen", "lines"),
    [
        ([{"initial_lr": 0.1}], [{"initial_lr": 0.1}], []),
        ([{"initial_lr": 0.1}], [{"initial_lr": 0.2}], ["lr 0.1 -> 0.2"]),
        ([{}], [{"fused": True}], ["fused None -> True"]),  # saved by a version that had no such setting
        # the same in all groups: said once; of some groups: by name
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
def test_changes_of_settings(saved: list[dict[str, Any]], chosen: list[dict[str, Any]], lines: list[str]) -> None:
    old = [group(f"g{i}", **settings) for i, settings in enumerate(saved)]
    new = [group(f"g{i}", **settings) for i, settings in enumerate(chosen)]
    assert setting_changes(old, new) == lines
