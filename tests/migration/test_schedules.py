"""The learning rate of an imported config, step by step: against rates that mmcv was recorded to use, and against
mmengine's schedulers, restated here from their rules."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from imported import SMALL_0, SMALL_1, below, drafted, lr_policy, read

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lr_policies.json").read_text())

#: Our policies by mmcv's names.
MMCV = {
    "Fixed": "fixed", "Step": "step", "Cosine": "CosineAnnealing", "CosineRestart": "CosineRestart", "Exp": "exp",
    "Poly": "poly", "Inv": "inv", "Linear": "LinearAnnealing", "FlatCosine": "FlatCosineAnnealing",
    "Cyclic": "cyclic", "OneCycle": "OneCycle",
}  # fmt: skip


def rates(policy: Any, *, base: float, epochs: int, iters: int) -> list[float]:
    total = epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total)]


def recorded() -> list[Any]:
    """The recorded cases that a config can say; those whose peak was a list are the groups' own base rates here."""
    cases = [c for c in GOLDEN["cases"] if c["policy"] != "OneCycle" or c["args"].get("max_lr") is not None]
    return [pytest.param(case, id=f"{i}-{case['policy']}") for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", recorded())
def test_rates_equal_mmcv(case: dict[str, Any], tmp_path: Path) -> None:
    given = {key: value for key, value in case["args"].items() if key != "restart_floor"}
    text = ", ".join(f"{key}={value!r}" for key, value in given.items())
    config = f"{SMALL_0}\ntotal_epochs = {case['epochs']}\nlr_config = dict(policy={MMCV[case['policy']]!r}, {text})\n"
    draft = drafted(read(tmp_path / "config.py", config))
    policy = lr_policy(draft)
    begin = case.get("start_epoch", 0) * case["iters"]
    for base, expected in zip(case["base"], case["lrs"], strict=True):
        got = rates(policy, base=base, epochs=case["epochs"], iters=case["iters"])[begin:]
        assert got == pytest.approx(expected, rel=1e-9, abs=0)


def test_every_policy_was_recorded() -> None:
    assert {case.values[0]["policy"] for case in recorded()} == set(MMCV)


# --- mmengine: a chain of schedulers, each of which changes the rate of the moment -----------------------------------

END = 10**9


class Scheduler:
    """One scheduler by its rule for the next rate; times counted from its own beginning."""

    def __init__(self, kind: str, given: dict[str, Any], base: float, iters: int) -> None:
        given = {"begin": 0, "end": END, "by_epoch": True, **given}
        if given.pop("convert_to_iter_based", False):
            for key in ("begin", "end", "T_max"):
                if given.get(key, END) != END:
                    given[key] *= iters
            given["by_epoch"] = False
        self.kind, self.given, self.base = kind, given, base
        self.clock, self.t = -1, -1

    def step(self, rate: float) -> float:
        self.clock += 1
        if not self.given["begin"] <= self.clock < self.given["end"]:
            return rate
        self.t += 1
        return getattr(self, self.kind)(rate, self.t, **self.given)

    def MultiStepLR(self, rate, t, *, milestones, gamma=0.1, **_):  # noqa: N802
        return rate * gamma if t in milestones else rate

    def StepLR(self, rate, t, *, step_size, gamma=0.1, **_):  # noqa: N802
        return rate * gamma if t and t % step_size == 0 else rate

    def ExponentialLR(self, rate, t, *, gamma, **_):  # noqa: N802
        return rate * gamma if t else rate

    def LinearLR(self, rate, t, *, begin, end, start_factor=1 / 3, end_factor=1.0, **_):  # noqa: N802
        if t == 0:
            return rate * start_factor
        gain = end_factor - start_factor
        return rate * (1 + gain / ((end - begin - 1) * start_factor + (t - 1) * gain))

    def ConstantLR(self, rate, t, *, begin, end, factor=1 / 3, **_):  # noqa: N802
        if t == 0:
            return rate * factor
        return rate / factor if t == end - begin - 1 else rate

    def CosineAnnealingLR(self, rate, t, *, T_max, eta_min=0.0, **_):  # noqa: N802, N803
        if t == 0:
            return rate
        now, before = (1 + math.cos(math.pi * time / T_max) for time in (t, t - 1))
        return now / before * (rate - eta_min) + eta_min

    def CosineRestartLR(self, rate, t, *, periods, restart_weights=(1,), eta_min=0.0, **_):  # noqa: N802
        start = 0
        for period, weight in zip(periods, restart_weights, strict=True):
            if t < start + period:
                wave = (1 + math.cos(math.pi * (t - start) / period)) / 2
                return eta_min + weight * (self.base - eta_min) * wave
            start += period
        return rate  # after the last step of the run


def mmengine(chain: list[tuple[str, dict[str, Any]]], *, base: float, epochs: int, iters: int) -> list[float]:
    """The rate of every step of a run."""
    schedulers = [Scheduler(kind, given, base, iters) for kind, given in chain]
    rate, used = base, []
    for scheduler in schedulers:
        rate = scheduler.step(rate)
    for step in range(epochs * iters):
        used.append(rate)
        for scheduler in schedulers:
            if not scheduler.given["by_epoch"] or (step + 1) % iters == 0:
                rate = scheduler.step(rate)
    return used


WARM = ("LinearLR", {"start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 9})
#: Chains that are one policy here, and give the same rates to the last step.
CHAINS = [
    [("MultiStepLR", {"milestones": [4, 8], "gamma": 0.1})],
    [("MultiStepLR", {"milestones": [3, 5], "gamma": 0.3, "begin": 2, "end": 10})],  # counted from the beginning
    [("StepLR", {"step_size": 3, "gamma": 0.5})],
    [("ExponentialLR", {"gamma": 0.8})],
    [("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01, "by_epoch": True, "begin": 0, "end": 10})],
    [("CosineAnnealingLR", {"T_max": 10, "by_epoch": True, "convert_to_iter_based": True})],
    [("CosineAnnealingLR", {"T_max": 16, "eta_min": 1e-3})],  # longer than the run
    [("CosineRestartLR", {"periods": [4, 6], "restart_weights": [1, 0.5], "eta_min": 0.02})],
    [WARM, ("MultiStepLR", {"milestones": [4, 8]})],
    [WARM, ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0, "begin": 0, "end": 10})],
    [WARM],
    [("ConstantLR", {"factor": 0.25, "by_epoch": False, "end": 6}), ("ExponentialLR", {"gamma": 0.9})],
    # MViT's: the warm-up, then the cosine from where it ends
    [
        ("LinearLR", {"start_factor": 0.01, "by_epoch": False, "end": 15}),
        ("CosineAnnealingLR", {"T_max": 7, "eta_min": 1e-3, "begin": 3, "end": 10, "convert_to_iter_based": True}),
    ],
    [("CosineAnnealingLR", {"T_max": 6, "eta_min": 1e-3, "begin": 4, "end": 10})],
]  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "+".join(kind for kind, _ in chain))
def test_rates_equal_mmengine(chain: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    got, expected = both(chain, tmp_path)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-15)


def both(chain: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> tuple[list[float], list[float]]:
    """(rates here, rates there) of a run of ten epochs of five steps."""
    text = ", ".join(f"dict(type={kind!r}, **{given!r})" for kind, given in chain)
    draft = drafted(read(tmp_path / "config.py", f"{SMALL_1}\nparam_scheduler = [{text}]\n"))
    assert draft.choices["lr_policy"] != "fixed" or [kind for kind, _ in chain] == ["LinearLR"]
    run = {"base": 0.1, "epochs": 10, "iters": 5}
    return rates(lr_policy(draft), **run), mmengine(chain, **run)


@pytest.mark.parametrize(
    ("chain", "most"),
    [
        # given in epochs: mmengine's warm-up is a step shorter than the epochs say (here 9 of 10 steps)
        (
            [
                ("LinearLR", {"start_factor": 0.1, "end": 2, "convert_to_iter_based": True}),
                ("MultiStepLR", {"milestones": [5]}),
            ],
            0.1,
        ),
        # the last epoch of a polynomial, or of a line, lies at the end there
        ([("PolyLR", {"power": 1.0, "eta_min": 0.01, "end": 10})], 0.1),
    ],
)
def test_small_differences_are_reported(chain: list[Any], most: float, tmp_path: Path) -> None:
    text = ", ".join(f"dict(type={kind!r}, **{given!r})" for kind, given in chain)
    draft = drafted(read(tmp_path / "config.py", f"{SMALL_1}\nparam_scheduler = [{text}]\n"))
    assert "changed" in {outcome.status for outcome in draft.outcomes.values()}
    if chain[0][0] == "LinearLR":
        got, expected = both(chain, tmp_path)
        assert max(abs(a - b) / b for a, b in zip(got, expected, strict=True)) <= most
        assert got[0] == pytest.approx(expected[0])
        assert got[10:] == pytest.approx(expected[10:])  # after the warm-up


def test_what_no_policy_says_is_refused_and_constant(tmp_path: Path) -> None:
    for text in ("lr_config = dict(policy='TIN', min_lr=0)", "lr_config = None"):
        assert drafted(read(tmp_path / "config.py", f"{SMALL_0}\n{text}\n")).choices["lr_policy"] == "fixed"
    two = "param_scheduler = [dict(type='StepLR', step_size=2, end=5), dict(type='ExponentialLR', gamma=0.5, begin=5)]"
    draft = drafted(read(tmp_path / "config.py", f"{SMALL_1}\n{two}\n"))
    assert draft.choices["lr_policy"] == "step"
    assert sum("not part of it" in " ".join(o.notes) for o in draft.outcomes.values()) == 3  # type, gamma, begin
    assert sum("goes on to the end of the run" in " ".join(o.notes) for o in draft.outcomes.values()) == 1


def test_counts_of_batches_become_counts_of_steps(tmp_path: Path) -> None:
    """mmcv's iterations are batches: under accumulation a step is several."""
    more = """
optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4)
lr_config = dict(policy='exp', gamma=0.9, by_epoch=False, warmup='linear', warmup_iters=10)
evaluation = dict(interval=8, by_epoch=False)
checkpoint_config = dict(interval=2)
"""
    draft = drafted(read(tmp_path / "config.py", SMALL_0 + more))
    assert below(draft, "lr_policy.") == {
        "gamma": pytest.approx(0.9**4), "by_epoch": False, "warmup": "linear", "warmup_iters": 3,
    }  # fmt: skip
    assert (draft.values["eval.interval"].value, draft.values["checkpoint.interval"].value) == (2, 2)


def test_a_repeated_set_takes_as_many_more_epochs(tmp_path: Path) -> None:
    more = """
data['train'] = dict(type='RepeatDataset', times=3, dataset=data['train'])
lr_config = dict(policy='step', step=[4, 8], warmup='linear', warmup_iters=2, warmup_by_epoch=True)
checkpoint_config = dict(interval=2)
"""
    draft = drafted(read(tmp_path / "config.py", SMALL_0 + more))
    assert draft.values["epochs"].value == 30
    assert below(draft, "lr_policy.")["step"] == [12, 24]
    assert (draft.values["eval.interval"].value, draft.values["checkpoint.interval"].value) == (3, 6)
    # one epoch of mmcv is 3 * 4 steps here: the rate falls at the same ones
    policy = lr_policy(draft)
    got = rates(policy, base=1.0, epochs=30, iters=4)
    assert [step for step in range(24, 120) if got[step] < got[step - 1]] == [4 * 12, 8 * 12]
