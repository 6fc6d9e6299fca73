"""The learning rate of an imported config of 0.x, step by step, against rates that mmcv was recorded to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_0, below, convert_source, lr_policy, rates, read
from support.paths import GOLDEN_DIR

GOLDEN = json.loads((GOLDEN_DIR / "lr_policies.json").read_text())

#: Our policies by mmcv's names.
MMCV = {
    "Fixed": "fixed", "Step": "step", "Cosine": "CosineAnnealing", "CosineRestart": "CosineRestart", "Exp": "exp",
    "Poly": "poly", "Inv": "inv", "Linear": "LinearAnnealing", "FlatCosine": "FlatCosineAnnealing",
    "Cyclic": "cyclic", "OneCycle": "OneCycle",
}  # fmt: skip


def recorded() -> list[Any]:
    """Cases that a config can express; a list of peaks becomes the base learning rates of the groups."""
    cases = [c for c in GOLDEN["cases"] if c["policy"] != "OneCycle" or c["args"].get("max_lr") is not None]
    return [pytest.param(case, id=f"{i}-{case['policy']}") for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", recorded())
def test_rates_equal_mmcv(case: dict[str, Any], tmp_path: Path) -> None:
    given = {key: value for key, value in case["args"].items() if key != "restart_floor"}
    text = ", ".join(f"{key}={value!r}" for key, value in given.items())
    config = f"{SMALL_0}\ntotal_epochs = {case['epochs']}\nlr_config = dict(policy={MMCV[case['policy']]!r}, {text})\n"
    result = convert_source(read(tmp_path / "config.py", config))
    policy = lr_policy(result)
    begin = case.get("start_epoch", 0) * case["iters"]
    for base, expected in zip(case["base"], case["lrs"], strict=True):
        got = rates(policy, base=base, epochs=case["epochs"], iters=case["iters"])[begin:]
        assert got == pytest.approx(expected, rel=1e-9, abs=0)


def test_every_policy_was_recorded() -> None:
    assert {case.values[0]["policy"] for case in recorded()} == set(MMCV)


def test_unknown_policy_is_left_to_the_user(tmp_path: Path) -> None:
    for text, option in (("lr_config = dict(policy='TIN', min_lr=0)", "???"), ("lr_config = None", "fixed")):
        assert convert_source(read(tmp_path / "config.py", f"{SMALL_0}\n{text}\n")).choices["lr_policy"] == option


def test_arguments_of_another_policy_are_a_pitfall(tmp_path: Path) -> None:
    """Seven published configs lay a cosine over a base's steps."""
    text = "lr_config = dict(policy='CosineAnnealing', step=[4, 8], min_lr=0, by_epoch=False)"
    result = convert_source(read(tmp_path / "config.py", f"{SMALL_0}\n{text}\n"))
    assert (result.choices["lr_policy"], below(result, "lr_policy.")) == ("cosine", {"by_epoch": False, "min_lr": 0})
    assert [what for _, what in result.pitfalls if what.startswith("step is another policy's")]
    assert "unsupported" not in {
        result.outcomes[id(leaf)].status for _, leaf in result.config.items["lr_config"].leaves()
    }


def test_accumulation_converts_batches_to_steps(tmp_path: Path) -> None:
    """Iterations of mmcv are batches; with accumulation a step is several of them."""
    more = """
optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4)
lr_config = dict(policy='exp', gamma=0.9, by_epoch=False, warmup='linear', warmup_iters=10)
evaluation = dict(interval=8, by_epoch=False)
checkpoint_config = dict(interval=2)
"""
    result = convert_source(read(tmp_path / "config.py", SMALL_0 + more))
    assert below(result, "lr_policy.") == {
        "gamma": pytest.approx(0.9**4), "by_epoch": False, "warmup": "linear", "warmup_iters": 3,
    }  # fmt: skip
    assert (result.values["eval.interval"].value, result.values["checkpoint.interval"].value) == (2, 2)


def test_repeat_dataset_repeats_the_samples(tmp_path: Path) -> None:
    more = """
data['train'] = dict(type='RepeatDataset', times=3, dataset=data['train'])
lr_config = dict(policy='step', step=[4, 8], warmup='linear', warmup_iters=2, warmup_by_epoch=True)
checkpoint_config = dict(interval=2)
"""
    result = convert_source(read(tmp_path / "config.py", SMALL_0 + more))
    assert (result.values["epochs"].value, result.values["data.train.repeat"].value) == (10, 3)
    assert below(result, "lr_policy.")["step"] == [4, 8]
    assert result.values["checkpoint.interval"].value == 2
