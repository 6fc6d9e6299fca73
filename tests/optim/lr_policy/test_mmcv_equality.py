"""Learning-rate policies against their peers: the rates that mmcv 1.7 was recorded to use, and torch's schedulers."""

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp.optim import lr_policy
from vexp.optim.lr_policy import Cosine, CosineRestart, Cyclic, Exp, Fixed, FlatCosine, Linear, OneCycle, Poly, Step

GOLDEN = json.loads((GOLDEN_DIR / "lr_policies.json").read_text())


def rates(policy, *, base=0.1, epochs=6, iters=4):
    """The rate of every step of a run."""
    total = epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total)]


# --- mmcv -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=[f"{i}-{case['policy']}" for i, case in enumerate(GOLDEN["cases"])]
)
def test_lr_at_equals_mmcv(case):
    policy = getattr(lr_policy, case["policy"])(**case["args"])
    policy.check(case["iters"], case["epochs"] * case["iters"])
    begin = case.get("start_epoch", 0) * case["iters"]  # a resumed run: the same function, later steps
    for base, expected in zip(case["base"], case["lrs"], strict=True):
        got = rates(policy, base=base, epochs=case["epochs"], iters=case["iters"])[begin:]
        assert got == pytest.approx(expected, rel=1e-9, abs=0)


def test_golden_cases_cover_every_policy():
    assert {case["policy"] for case in GOLDEN["cases"]} == set(lr_policy.__all__) - {
        "LrPolicy",
        "WarmedPolicy",
        "Chain",
        "Phase",
    }


# Where vexp differs from mmcv 1.7 on purpose, first column: what mmcv does.
REFUSED_HERE = [
    ("drops twice at epoch 2", Step, {"step": [2, 2, 4]}, r"step=\[2,2,4\]: must be strictly increasing"),
    ("waits until 4 and then drops twice", Step, {"step": [4, 2]}, r"step=\[4,2\]: must be strictly increasing"),
    (
        "takes a list, one peak a group",
        OneCycle,
        {"max_lr": [0.5, 0.05]},
        "the peak of each group is its base rate",
    ),
    ("takes a negative floor", Cosine, {"min_lr": -0.1}, "min_lr=-0.1: must be >= 0"),
    ("grows without bound", Exp, {"gamma": 1.5}, "gamma=1.5: must be <= 1"),
]
ACCEPTED_HERE = [
    # (what mmcv does, policy, the same thing in words that mmcv accepts)
    ("TypeError: a tuple", Step(step=(2, 4)), Step(step=[2, 4])),
    ("ValueError: an int", FlatCosine(start_percent=1), Fixed()),
    ("ValueError: a list, all that YAML has", Cyclic(target_ratio=[5.0, 5e-5]), Cyclic(target_ratio=5.0)),
    ("AssertionError: no minimum", Cosine(), Cosine(min_lr=0.0)),
    (
        "AssertionError: no weights",
        CosineRestart(periods=[2, 4]),
        CosineRestart(periods=[2, 4], restart_weights=[1, 1]),
    ),
]


@pytest.mark.parametrize(("mmcv", "policy", "args", "message"), REFUSED_HERE)
def test_check_value_accepted_by_mmcv_raises(mmcv, policy, args, message):
    with pytest.raises(ValueError, match=message):
        policy(**args)


@pytest.mark.parametrize(("mmcv", "policy", "same_as"), ACCEPTED_HERE)
def test_lr_at_value_refused_by_mmcv_works(mmcv, policy, same_as):
    assert rates(policy) == rates(same_as)


def test_cosine_restart_short_periods_raise():  # mmcv: ValueError at epoch 10
    with pytest.raises(ValueError, match=r"periods=\[5,5\]: must cover the run of 12 epochs, got 10 epochs"):
        CosineRestart(periods=[5, 5]).check(steps_per_epoch=3, total_steps=36)
    with pytest.raises(ValueError, match="must cover the run of 11 steps, got 10 steps"):
        CosineRestart(periods=[5, 5], by_epoch=False).check(steps_per_epoch=3, total_steps=11)
    with pytest.raises(ValueError, match=r"must cover the run of 10.33 epochs, got 10 epochs"):
        CosineRestart(periods=[5, 5]).check(steps_per_epoch=3, total_steps=31)
    assert CosineRestart(periods=[5, 5]).check(steps_per_epoch=3, total_steps=30) == []


def test_lr_at_by_epoch_counts_epochs_with_max_steps():
    """The iteration runner of mmcv ignores milestones and warm-up, and refuses warmup_by_epoch."""
    policy = Step(step=[2, 4], warmup="linear", warmup_iters=1, warmup_ratio=0.5, warmup_by_epoch=True)
    got = rates(policy, base=1.0, epochs=6, iters=2)
    assert got == pytest.approx([0.5, 0.75, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])


def test_check_one_cycle_shorter_than_run_raises():
    with pytest.raises(ValueError, match="total_steps=10: must be at least the run of 12 steps"):
        OneCycle(total_steps=10).check(steps_per_epoch=3, total_steps=12)


# --- torch ----------------------------------------------------------------------------------------------------------

TORCH = [
    # (torch scheduler, its arguments, our policy), over 20 steps
    ("StepLR", {"step_size": 6, "gamma": 0.3}, Step(step=6, gamma=0.3)),
    ("MultiStepLR", {"milestones": [4, 8], "gamma": 0.1}, Step(step=[4, 8])),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}, Cosine(min_lr=0.01)),
    # 2 + 4 + 8 + 16: the last cycle is cut by the end of the run
    (
        "CosineAnnealingWarmRestarts",
        {"T_0": 2, "T_mult": 2, "eta_min": 0.01},
        CosineRestart(periods=[2, 4, 8, 16], min_lr=0.01),
    ),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 20}, OneCycle()),
    (
        "OneCycleLR",
        {"max_lr": 0.7, "total_steps": 20, "pct_start": 0.45, "div_factor": 4.0},
        OneCycle(max_lr=0.7, pct_start=0.45, div_factor=4.0),
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 20, "three_phase": True, "anneal_strategy": "linear"},
        OneCycle(three_phase=True, anneal_strategy="linear"),
    ),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 20, "final_div_factor": 10.0}, OneCycle(final_div_factor=10.0)),
    ("PolynomialLR", {"total_iters": 20, "power": 0.9}, Poly(power=0.9)),
    ("ExponentialLR", {"gamma": 0.8}, Exp(gamma=0.8)),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.05, "total_iters": 20}, Linear(min_lr_ratio=0.05)),
    # warm-ups: a scheduler of torch's own
    (
        "LinearLR",
        {"start_factor": 0.2, "end_factor": 1.0, "total_iters": 5},
        Fixed(warmup="linear", warmup_iters=5, warmup_ratio=0.2),
    ),
    ("ConstantLR", {"factor": 0.25, "total_iters": 7}, Fixed(warmup="constant", warmup_iters=7, warmup_ratio=0.25)),
]


@pytest.mark.parametrize(("scheduler", "args", "policy"), TORCH)
def test_lr_at_one_cycle_equals_torch(scheduler, args, policy):
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **args)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 20:
            schedule.step()
    # one epoch is one step, so policies by epoch and by step follow the same clock
    assert rates(policy, epochs=20, iters=1) == pytest.approx(expected, rel=1e-9, abs=1e-18)
