"""What learning-rate policies refuse, in the constructor and against a run's length, and what they warn of."""

import math

import pytest

from vexp.optim.lr_policy import Cosine, CosineRestart, Cyclic, Fixed, FlatCosine, Inv, Linear, OneCycle, Poly, Step

REFUSALS = [
    (Cosine, {"min_lr": 0.0, "min_lr_ratio": 0.1}, "min_lr=0.0: conflicts with min_lr_ratio=0.1"),
    (CosineRestart, {"min_lr": 0.0, "min_lr_ratio": 0.1}, "set one of them to null"),
    (Linear, {"min_lr": math.inf}, "min_lr=inf: must be finite"),
    (FlatCosine, {"min_lr_ratio": 1.5}, "min_lr_ratio=1.5: must be <= 1"),
    (FlatCosine, {"start_percent": 1.1}, "start_percent=1.1: must be <= 1"),
    (Step, {"step": 0}, "step=0: must be >= 1"),
    (Step, {"step": [0, 2]}, r"step=\[0,2\]: must be >= 1"),
    (Step, {"step": 2.5}, "step=2.5: must be an integer"),
    (Step, {"step": [2, 4.5]}, r"step=\[2,4.5\]: must be an integer"),
    (Step, {"step": True}, "step=true: must be an integer"),
    (Step, {"gamma": 0.0}, "gamma=0.0: must be > 0"),
    (CosineRestart, {"periods": []}, "periods=.*needs at least one period"),
    (CosineRestart, {"periods": [5, 0]}, r"periods=\[5,0\]: must be >= 1"),
    (CosineRestart, {"periods": [5, 5], "restart_weights": [1.0]}, r"restart_weights=\[1.0\]: needs 2 values"),
    (CosineRestart, {"restart_weights": [1.0, 0.5]}, "needs 3 values.*periods=null"),
    (CosineRestart, {"restart_weights": [1.0, -1.0, 1.0]}, "must be >= 0"),
    (CosineRestart, {"restart_floor": "mmcv"}, "restart_floor=mmcv: must be one of scaled, fixed"),
    (Poly, {"power": 0.0}, "power=0.0: must be > 0"),
    (Inv, {"gamma": -0.1}, "gamma=-0.1: must be >= 0"),
    (Cyclic, {"by_epoch": True}, "by_epoch=true: must be false, since the rate changes"),
    (Cyclic, {"target_ratio": [1.0]}, "target_ratio=.*in multiples of the base rate"),
    (Cyclic, {"target_ratio": [10.0, -1.0]}, "target_ratio=.*must be >= 0"),
    (Cyclic, {"step_ratio_up": 1.0}, "step_ratio_up=1.0: must be < 1"),
    (OneCycle, {"by_epoch": True}, "by_epoch=true: must be false"),
    (OneCycle, {"anneal_strategy": "cosine"}, "anneal_strategy=cosine: must be one of cos, linear"),
    (OneCycle, {"max_lr": math.inf}, "max_lr=inf: must be finite"),
    (Fixed, {"warmup": "linear"}, "warmup=linear: needs warmup_iters >= 1"),
    (Fixed, {"warmup": "linear", "warmup_iters": 3, "warmup_ratio": 1.5}, "warmup_ratio=1.5: must be <= 1"),
    (Fixed, {"warmup": "linear", "warmup_iters": 3, "warmup_ratio": 0.0}, "warmup_ratio=0.0: must be > 0"),
    (Fixed, {"warmup": "gradual", "warmup_iters": 3}, "warmup=gradual: must be one of constant, linear, exp"),
    (Fixed, {"warmup_iters": -1}, "warmup_iters=-1: must be >= 0"),
]


@pytest.mark.parametrize(("policy", "args", "message"), REFUSALS)
def test_check_invalid_policy_raises(policy, args, message):
    with pytest.raises(ValueError, match=message):
        policy(**args)


WARNINGS = [
    # (policy, words of the one warning) over 6 epochs of 4 steps
    (Step(step=[4, 8, 12]), "step=[4,8,12]: the run ends after 6 epochs, so there is no drop at [8,12]"),
    (Step(step=6), "step=6: the run ends after 6 epochs, so there is no drop at [6]"),
    (Step(step=[24], by_epoch=False), "the run ends after 24 steps, so there is no drop at [24]"),
    (CosineRestart(periods=[5, 5]), "periods=[5,5]: they last 10 epochs, but the run ends after 6 epochs"),
    (Cyclic(cyclic_times=30), "cyclic_times=30: the run has only 24 steps"),
    (OneCycle(total_steps=40), "total_steps=40: the run ends after 24 steps, before the cycle"),
    (FlatCosine(start_percent=0.9), "start_percent=0.9: the cosine would begin after 5 epochs of a run of 6 epochs"),
    (Fixed(warmup="exp", warmup_iters=24), "warmup_iters=24: the warm-up takes 24 steps and the run has 24 steps"),
    (Fixed(warmup="exp", warmup_iters=7, warmup_by_epoch=True), "warmup_iters=7: the warm-up takes 28 steps"),
    (Fixed(warmup_iters=7), "warmup_iters=7: has no effect with warmup=null"),
]


@pytest.mark.parametrize(("policy", "words"), WARNINGS)
def test_check_setting_without_effect_warns(policy, words):
    (warning,) = policy.check(steps_per_epoch=4, total_steps=24)
    assert words in warning


def test_check_effective_settings_do_not_warn():
    fine = [Fixed(), Step(), Cosine(), CosineRestart(), Linear(), FlatCosine(), Poly(), Inv(), Cyclic(), OneCycle()]
    fine += [
        Step(step=[4, 5]),
        Step(step=5),
        CosineRestart(periods=[2, 4]),
        OneCycle(total_steps=24),
        Cyclic(cyclic_times=24),
    ]
    fine += [FlatCosine(start_percent=0.75), Fixed(warmup="linear", warmup_iters=23)]
    assert [policy.check(steps_per_epoch=4, total_steps=24) for policy in fine] == [[]] * len(fine)


def test_check_single_epoch_by_epoch_warns():
    (warning,) = Cosine().check(steps_per_epoch=100, total_steps=50)  # max_steps within the first epoch
    assert "by_epoch=true" in warning
    assert "0.50 epochs" in warning
    assert len(Cosine().check(steps_per_epoch=100, total_steps=100)) == 1  # exactly one epoch
    assert Cosine(by_epoch=False).check(steps_per_epoch=100, total_steps=50) == []
    assert Fixed().check(steps_per_epoch=100, total_steps=50) == []


def test_check_empty_run_raises():
    with pytest.raises(ValueError, match="total_steps=0"):
        Cosine().check(steps_per_epoch=10, total_steps=0)
    with pytest.raises(ValueError, match="steps_per_epoch=0"):
        Cosine().check(steps_per_epoch=0, total_steps=10)
