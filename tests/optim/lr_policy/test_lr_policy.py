"""Learning-rate policies: the documented examples, properties over every length of run, a policy of your own."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from vexp.optim.lr_policy import (
    Chain,
    Cosine,
    CosineRestart,
    Cyclic,
    Exp,
    Fixed,
    FlatCosine,
    Inv,
    Linear,
    LrPolicy,
    OneCycle,
    Poly,
    Step,
)

POLICIES = [Fixed, Step, Cosine, CosineRestart, Exp, Poly, Inv, Linear, FlatCosine, Cyclic, OneCycle, Chain]


def rates(policy, *, base=0.1, epochs=6, iters=4, steps=None):
    """The rate of every step of a run of ``steps`` (default: epochs * iters), and the value at which it would end."""
    total = steps or epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total + 1)]


def per_epoch(policy, epochs, base=1.0):
    """One rate an epoch, without the value at which the curve would end."""
    return [round(rate, 12) for rate in rates(policy, base=base, epochs=epochs, iters=1)[:-1]]


# --- the documented examples ----------------------------------------------------------------------------------------


def test_step_example_of_documentation():
    """The text: step=[4, 8], gamma=0.1: "lr = lr * 0.1 after epoch 4 and 8"."""
    assert per_epoch(Step(step=[4, 8], gamma=0.1), epochs=10) == [1.0] * 4 + [0.1] * 4 + [0.01] * 2
    # two steps an epoch: by_epoch changes between epochs only
    by_step = rates(Step(step=[4, 8], gamma=0.1), base=1.0, epochs=10, iters=2)
    assert by_step[:20] == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.01] * 4)


def test_cosine_restart_example_of_documentation():
    """The text: periods 5, 10, 15, weights 1, 1, 0.5, ratio 0.1: the last cycle from 0.5 base to 0.05 base."""
    policy = CosineRestart(periods=[5, 10, 15], restart_weights=[1, 1, 0.5], min_lr_ratio=0.1)
    got = rates(policy, base=0.2, epochs=30, iters=7)
    assert [got[epoch * 7] for epoch in (0, 5, 15)] == pytest.approx([0.2, 0.2, 0.1])  # starts of the three cycles
    assert got[-1] == pytest.approx(0.05 * 0.2)  # where the last would end
    assert got[22 * 7] == pytest.approx(0.01 + 0.045 * (1 + math.cos(math.pi * 7 / 15)))  # epoch 7 of the last 15
    assert policy.check(7, 210) == []
    # without periods and weights the same, divided 1 : 2 : 3
    assert rates(CosineRestart(min_lr_ratio=0.1), base=0.2, epochs=30, iters=7) == got
    # mmcv's formula: the weight scales the distance to the floor
    fixed = CosineRestart(periods=[5, 10, 15], restart_weights=[1, 1, 0.5], min_lr_ratio=0.1, restart_floor="fixed")
    fixed_rates = rates(fixed, base=0.2, epochs=30, iters=7)
    assert fixed_rates[: 15 * 7] == got[: 15 * 7]
    assert [fixed_rates[15 * 7], fixed_rates[-1]] == pytest.approx([0.55 * 0.2, 0.1 * 0.2])


def test_cosine_restart_min_lr_is_floor_of_every_cycle():
    scaled = CosineRestart(periods=[2, 2], restart_weights=[1, 0.5], min_lr=0.1)
    assert per_epoch(scaled, epochs=4) == [1.0, 0.55, 0.5, 0.3]
    assert rates(scaled, base=1.0, epochs=4)[-1] == pytest.approx(0.1)  # the floor is not scaled
    fixed = CosineRestart(periods=[2, 2], restart_weights=[1, 0.5], min_lr=0.1, restart_floor="fixed")
    assert per_epoch(fixed, epochs=4) == [1.0, 0.55, 0.55, 0.325]
    # a group below the floor under a weight above 1: mmcv's peak would be 0.1 + 3 * (0.01 - 0.1) < 0
    high = CosineRestart(periods=[4], restart_weights=[3], min_lr=0.1, restart_floor="fixed")
    assert per_epoch(high, epochs=4, base=0.01)[0] == 0.0


@pytest.mark.parametrize(
    ("epochs", "starts"),
    [
        (1, [1.0]),  # one epoch: the base rate
        (2, [1.0, 0.5]),  # no room for the second cycle
        (3, [1.0, 1.0, 0.5]),  # an epoch each
        (6, [1.0, 1.0, 0.5, 0.5, 0.375, 0.125]),  # 1, 2, 3 epochs
        (7, [1.0, 0.5, 1.0, 0.5, 0.5, 0.375, 0.125]),  # 7/6 and 7/2 rounded up: 2, 2, 3 epochs
    ],
)
def test_cosine_restart_without_periods_divides_run(epochs, starts):
    assert per_epoch(CosineRestart(), epochs) == starts
    assert CosineRestart().check(5, 5 * epochs) == ([] if epochs > 1 else CosineRestart().check(5, 5))


@pytest.mark.parametrize(
    ("epochs", "drops"),
    [
        (1, [0]),  # one epoch: no drop
        (2, [0, 1]),  # 0.4 * 2 = 0.8 -> 1; 1.6 -> beyond
        (5, [0, 0, 1, 1, 2]),  # 2 and 4
        (10, [0] * 4 + [1] * 4 + [2] * 2),  # the text's [4, 8]
        (50, [0] * 20 + [1] * 20 + [2] * 10),  # mmaction2's TSM
    ],
)
def test_step_without_milestones_drops_at_two_and_four_fifths(epochs, drops):
    assert per_epoch(Step(), epochs) == [round(0.1**count, 12) for count in drops]


def test_lr_at_by_epoch_samples_same_curve():
    stairs = rates(Cosine(), epochs=5, iters=3)
    smooth = rates(Cosine(by_epoch=False), epochs=5, iters=3)
    assert stairs[::3] == smooth[::3]  # equal at every epoch's start
    assert all(stairs[step] == stairs[step - step % 3] for step in range(15))  # and kept until the next
    # max_steps ending in the middle of the third epoch: 2.5 epochs, so the third starts at 0.8 of the run
    cut = rates(Linear(), base=1.0, iters=4, steps=10)
    assert cut[:10] == pytest.approx([1.0] * 4 + [0.6] * 4 + [0.2] * 2)


# --- warm-up and lengths: properties --------------------------------------------------------------------------------

positive = st.floats(1e-6, 1e3)
rate = st.floats(0, 10)
floors = st.one_of(st.just({}), rate.map(lambda x: {"min_lr": x}), st.floats(0, 1).map(lambda x: {"min_lr_ratio": x}))
gamma = st.floats(1e-3, 1)
anneal = st.sampled_from(["cos", "linear"])
restarts = st.lists(st.tuples(st.integers(1, 20), st.floats(0, 3)), min_size=1, max_size=4)
when = st.fixed_dictionaries(
    {"by_epoch": st.none() | st.booleans(), "every_step": st.booleans(), "begin": st.integers(0, 5)},
    optional={"end": st.integers(6, 50)},
)
phases = st.one_of(
    *(
        st.builds(lambda time, own, shape=shape: {**time, **own, "shape": shape}, when, own)
        for shape, own in {
            "linear": st.fixed_dictionaries({"start_factor": gamma, "end_factor": st.floats(0, 1)}),
            "constant": st.fixed_dictionaries({"start_factor": gamma}),
            "step": st.fixed_dictionaries({"step": st.integers(1, 40), "gamma": gamma}),
            "exp": st.fixed_dictionaries({"gamma": gamma}),
            "poly": st.builds(lambda power, floor: {"power": power, **floor}, positive, floors),
            "cosine": st.builds(lambda period, floor: {"period": period, **floor}, st.floats(1, 40), floors),
        }.items()
    )
)
ARGUMENTS = {
    Fixed: st.just({}),
    Step: st.fixed_dictionaries(
        {
            "step": st.none() | st.integers(1, 40) | st.sets(st.integers(1, 40)).map(sorted),
            "gamma": gamma,
            "min_lr": st.none() | rate,
        }
    ),
    Cosine: floors,
    CosineRestart: st.builds(
        lambda cycles, floor, word: {
            **({"periods": [c[0] for c in cycles], "restart_weights": [c[1] for c in cycles]} if cycles else {}),
            **floor,
            "restart_floor": word,
        },
        st.none() | restarts,
        floors,
        st.sampled_from(["scaled", "fixed"]),
    ),
    Exp: st.fixed_dictionaries({"gamma": gamma}),
    Poly: st.fixed_dictionaries({"power": positive, "min_lr": rate}),
    Inv: st.fixed_dictionaries({"gamma": st.floats(0, 1e3), "power": st.floats(0, 1e3)}),
    Linear: floors,
    FlatCosine: st.builds(lambda floor, start: {**floor, "start_percent": start}, floors, st.floats(0, 1)),
    Cyclic: st.fixed_dictionaries(
        {
            "target_ratio": rate | st.lists(rate, min_size=2, max_size=2),
            "cyclic_times": st.integers(1, 9),
            "step_ratio_up": st.floats(0, 1, exclude_max=True),
            "anneal_strategy": anneal,
            "gamma": gamma,
        }
    ),
    OneCycle: st.fixed_dictionaries(
        {
            "max_lr": st.none() | positive,
            "total_steps": st.none() | st.integers(1, 100),
            "pct_start": st.floats(0, 1),
            "anneal_strategy": anneal,
            "div_factor": st.floats(1, 1e3),
            "final_div_factor": positive,
            "three_phase": st.booleans(),
        }
    ),
    Chain: st.fixed_dictionaries({"phases": st.dictionaries(st.sampled_from("abc"), phases)}),
}
warmups = st.fixed_dictionaries(
    {
        "warmup": st.sampled_from(["constant", "linear", "exp"]),
        "warmup_iters": st.integers(1, 12),
        "warmup_ratio": st.floats(1e-3, 1),
        "warmup_by_epoch": st.booleans(),
    }
)


def legal(policy):
    """Any arguments that ``policy`` takes, without warm-up."""
    if policy in (Cyclic, OneCycle):
        return ARGUMENTS[policy]
    return st.builds(lambda args, by_epoch: {**args, "by_epoch": by_epoch}, ARGUMENTS[policy], st.booleans())


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40)
@given(st.data())
def test_lr_at_is_finite_and_not_negative(policy, data):
    args = {**data.draw(legal(policy)), **data.draw(st.just({}) | warmups)}
    base, iters, steps = data.draw(st.tuples(st.floats(0, 10), st.integers(1, 12), st.integers(1, 60)))
    got = rates(policy(**args), base=base, iters=iters, steps=steps)
    assert all(math.isfinite(rate) and rate >= 0 for rate in got), got


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40)
@given(st.data())
def test_warmup_ends_at_regular_rate(policy, data):
    args, warmup = data.draw(legal(policy)), data.draw(warmups)
    base, iters, steps = data.draw(st.tuples(st.floats(1e-3, 10), st.integers(1, 12), st.integers(1, 60)))
    regular = rates(policy(**args), base=base, iters=iters, steps=steps)
    warmed = rates(policy(**args, **warmup), base=base, iters=iters, steps=steps)
    length = warmup["warmup_iters"] * (iters if warmup["warmup_by_epoch"] else 1)
    assert warmed[length:] == regular[length:]  # exactly, from the first step after the warm-up
    assert warmed[0] == pytest.approx(regular[0] * warmup["warmup_ratio"])
    assert all(below <= above * (1 + 1e-15) for below, above in zip(warmed, regular, strict=True))  # 1e-15: rounding


@pytest.mark.parametrize(
    ("policy", "steps", "expected"),
    [
        (Cyclic(cyclic_times=5), 1, [10]),  # no whole step a cycle: one each, at the peak
        (Cyclic(cyclic_times=5), 3, [10, 10, 10]),
        (OneCycle(), 1, [1 / 25e4]),  # torch too: the only step is the last
        (OneCycle(pct_start=1.0), 1, [1]),  # a rise of no length ends at its peak (torch: ZeroDivisionError)
        (OneCycle(pct_start=0.5), 2, [1, 1 / 25e4]),
        (OneCycle(three_phase=True, pct_start=0.5), 4, [1 / 25, 1, 1 / 25, 1 / 25e4]),
    ],
)
def test_cyclic_short_cycles_have_rates(policy, steps, expected):
    assert rates(policy, base=1.0, steps=steps)[:-1] == pytest.approx(expected)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("iters", "steps"), [(1, 1), (10, 1), (10, 10), (3, 7), (2, 4), (1, 3), (9, 270)])
def test_lr_at_defaults_work_for_any_length(policy, iters, steps):
    bare = policy()
    bare.check(iters, steps)
    got = rates(bare, base=0.1, iters=iters, steps=steps)
    assert all(math.isfinite(rate) for rate in got)
    assert min(got[:-1]) > 0  # every step trains
    if policy not in (Cyclic, OneCycle):
        assert got[0] == 0.1


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ("constant", [0.25, 0.25, 0.25, 0.25, 1, 1]),
        ("linear", [0.25, 0.4375, 0.625, 0.8125, 1, 1]),
        ("exp", [0.25, 0.25**0.75, 0.5, 0.25**0.25, 1, 1]),
    ],
)
def test_warmup_shape_equals_definition(shape, factors):
    steps = Fixed(warmup=shape, warmup_iters=4, warmup_ratio=0.25)
    assert rates(steps, base=1.0, epochs=5, iters=1) == pytest.approx(factors)
    epochs = Fixed(warmup=shape, warmup_iters=2, warmup_ratio=0.25, warmup_by_epoch=True)  # 2 epochs of 2 steps
    assert rates(epochs, base=1.0, iters=2, steps=5) == pytest.approx(factors)


def test_lr_at_after_run_keeps_last_value():
    assert Cosine(min_lr=0.01).lr_at(0.1, step=1000, steps_per_epoch=5, total_steps=50) == pytest.approx(0.01)


# --- a policy of the user's own, and policies as config -------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class InverseRoot(LrPolicy):
    def curve_lr(self, base_lr, t, total):
        return base_lr / math.sqrt(1 + t)


def test_custom_policy_implements_curve_lr_only():
    own = InverseRoot(by_epoch=False, warmup="linear", warmup_iters=2, warmup_ratio=0.5)
    assert rates(own, base=1.0, steps=4)[:4] == pytest.approx([0.5, 0.75 / math.sqrt(2), 1 / math.sqrt(3), 0.5])
    assert own.check(2, 4) == []
    with pytest.raises(TypeError, match="abstract"):
        LrPolicy()


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_structured_configs(policy):
    assert OmegaConf.to_object(OmegaConf.structured(policy)) == policy()


def test_compose_policy_lists_are_parsed():
    step = OmegaConf.merge(OmegaConf.structured(Step), OmegaConf.from_dotlist(["step=[4,8]"]))
    assert OmegaConf.to_object(step) == Step(step=[4, 8])
    restart = OmegaConf.from_dotlist(["periods=[5,10,15]", "restart_weights=[1,1,0.5]"])
    merged = OmegaConf.merge(OmegaConf.structured(CosineRestart), restart)
    assert OmegaConf.to_object(merged) == CosineRestart(periods=[5, 10, 15], restart_weights=[1.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("policy", "epochs", "events"),
    [
        (Fixed(), 10, []),
        (Step(step=[4, 8]), 10, [(12, "drop x 0.1"), (24, "drop x 0.1")]),
        (Step(step=3), 10, [(9, "drop x 0.1"), (18, "drop x 0.1"), (27, "drop x 0.1")]),
        (Step(), 10, [(12, "drop x 0.1"), (24, "drop x 0.1")]),  # 0.4 and 0.8 of the run
        (Step(step=[4, 80]), 10, [(12, "drop x 0.1")]),  # what lies beyond the end is left out
        (CosineRestart(), 30, [(15, "restart at weight 1"), (45, "restart at weight 0.5")]),
        (CosineRestart(periods=[2, 8], restart_weights=[1, 0.3]), 10, [(6, "restart at weight 0.3")]),
        (FlatCosine(), 8, [(18, "cosine begins")]),
        (OneCycle(), 10, [(8, "peak")]),  # at 0.3 * 30 - 1
        (Cyclic(cyclic_times=2), 10, [(6, "peak"), (15, "cycle begins"), (21, "peak")]),
        (
            Step(step=[4], warmup="linear", warmup_iters=2, warmup_by_epoch=True), 10,
            [(6, "warm-up (linear) ends"), (12, "drop x 0.1")],
        ),
    ],
)  # fmt: skip
def test_timeline_lists_events_in_steps(policy, epochs, events):
    assert policy.timeline(3, 3 * epochs) == events
    for step, what in events:  # the curve does turn there
        around = (step - 1, step, step + 1)
        before, there, after = (policy.lr_at(1, step=at, steps_per_epoch=3, total_steps=3 * epochs) for at in around)
        if "drop" in what or "restart" in what:
            assert there != before
        if what == "peak":
            assert there > max(before, after)
