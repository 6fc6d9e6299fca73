"""``lr=chain``: the shapes of its phases, their combinations, and invalid phases.

Its rates are compared with those of mmengine in tests/tools/mmaction2/test_param_schedulers.py.
"""

import math

import pytest

from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.core.errors import ConfigError
from vexp.optim.lr_policy import Chain, Fixed, Phase, Step


def rates(policy, *, base=1.0, epochs=6, iters=1):
    """The rate of every step of a run."""
    total = epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total)]


def chain(*phases, **arguments):
    return Chain(phases={f"phase{number}": phase for number, phase in enumerate(phases)}, **arguments)


WAVE = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(9)]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        # the last epoch of a phase, end - 1, has its last value, and the rate stays there
        ({"shape": "linear", "end": 4}, [0.1, 0.4, 0.7, 1, 1, 1]),
        ({"shape": "linear", "begin": 2, "start_factor": 1.0, "end_factor": 0.0}, [1, 1, 1, 2 / 3, 1 / 3, 0]),
        ({"shape": "constant", "start_factor": 0.5, "end": 4}, [0.5, 0.5, 0.5, 1, 1, 1]),
        ({"shape": "poly", "power": 2.0, "begin": 1, "end": 4}, [1, 1, 0.25, 0, 0, 0]),
        ({"shape": "poly", "min_lr": 0.2}, [1, 0.84, 0.68, 0.52, 0.36, 0.2]),
        # drops and waves count from begin
        ({"shape": "step", "step": [1, 3], "begin": 2, "gamma": 0.5}, [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"shape": "step", "step": 2, "end": 5, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"shape": "exp", "gamma": 0.5, "begin": 2, "end": 5}, [1, 1, 1, 0.5, 0.25, 0.25]),
        ({"shape": "cosine", "begin": 1, "end": 5}, [1, *WAVE[:4], WAVE[3]]),
        ({"shape": "cosine", "min_lr_ratio": 0.5, "period": 4}, [0.5 + w / 2 for w in (*WAVE[:4], 0, WAVE[3])]),
        ({"shape": "cosine", "period": 4}, [*WAVE[:5], WAVE[3]]),  # past its period it rises again
    ],
)
def test_chain_shape_equals_definition(phase, expected):
    assert rates(chain(phase)) == pytest.approx(expected, abs=1e-15)
    # counted in steps; and in epochs of one step, moving at every step
    assert rates(chain(phase, by_epoch=False), epochs=2, iters=3) == pytest.approx(expected, abs=1e-15)
    assert rates(chain({**phase, "every_step": True})) == pytest.approx(expected, abs=1e-15)
    # a staircase over epochs of two steps
    assert rates(chain(phase), iters=2)[::2] == rates(chain(phase), iters=2)[1::2] == rates(chain(phase))


def test_chain_every_step_changes_rate_within_epochs():
    warm = {"shape": "linear", "start_factor": 0.2, "end": 1.25, "every_step": True}  # five steps of four an epoch
    assert rates(chain(warm), epochs=2, iters=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    drop = {"shape": "step", "step": 1, "every_step": True}
    assert rates(chain(drop), epochs=2, iters=3) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_chain_phases_multiply_and_continue():
    warm, drops = {"shape": "linear", "start_factor": 0.25, "end": 4}, {"shape": "step", "step": [2, 5]}
    assert rates(chain(warm, drops)) == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1, 0.01])
    assert rates(chain(drops, warm)) == pytest.approx(rates(chain(warm, drops)))
    falls = {"shape": "exp", "gamma": 0.5, "begin": 4}
    assert rates(chain({"shape": "step", "step": 2, "end": 4}, falls)) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.05])


def test_chain_floor_applies_to_current_rate():
    """The rule by hand: r becomes floor + (r - floor) s(k) / s(k - 1), then the factor."""
    both = chain({"shape": "exp", "gamma": 0.5}, {"shape": "poly", "min_lr": 0.2, "end": 4})
    first = (0.2 + (1 * 0.5 - 0.2) * 2 / 3) * 1
    second = 0.2 + (first * 0.5 - 0.2) * (1 / 3) / (2 / 3)
    assert rates(both)[:3] == pytest.approx([1, first, second])


def test_chain_groups_keep_ratio_without_min_lr():
    phases = {"shape": "cosine", "min_lr_ratio": 0.1}, {"shape": "linear", "end": 3}
    assert rates(chain(*phases), base=0.02) == pytest.approx([0.02 * rate for rate in rates(chain(*phases))])
    low = rates(chain({"shape": "poly", "min_lr": 0.2}), base=0.1)
    assert (low[0], low[-1]) == pytest.approx((0.1, 0.2))  # a group below min_lr rises to it, as in poly


def test_chain_warmup_multiplies_rate():
    warmup = {"warmup": "linear", "warmup_iters": 3, "warmup_ratio": 0.1}
    drops = chain({"shape": "step", "step": [2, 4]}, **warmup)
    assert rates(drops) == pytest.approx(rates(Step(step=[2, 4], **warmup)))
    assert rates(Chain()) == rates(Fixed())


def test_chain_rates_equal_torch_chained_scheduler():
    """The example of its documentation; torch gives the full rate back one step later."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.1, total_iters=20)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    both = torch.optim.lr_scheduler.ChainedScheduler([constant, falling], optimizer=optimizer)
    expected = []
    for _ in range(25):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        both.step()
    ours = chain({"shape": "constant", "end": 21}, {"shape": "exp", "gamma": 0.9})
    assert rates(ours, base=0.05, epochs=25) == pytest.approx(expected, rel=1e-9)


def test_chain_run_ending_within_epoch_has_rates():
    policy = chain({"shape": "exp", "gamma": 0.5})
    assert [policy.lr_at(1, step=step, steps_per_epoch=2, total_steps=5) for step in (0, 1, 2, 3, 4, 5, 99)] == [
        1, 1, 0.5, 0.5, 0.25, 0.25, 0.25,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({}, "phases.phase0={}: must have a shape .constant, linear, step, exp, poly, cosine., begin, end"),
        (0.1, "phases.phase0=0.1: must have a shape"),
        ({"shape": "inv"}, "phases.phase0.shape=inv: must be one of constant, linear"),
        ({"shape": "linear", "until": 5}, "phases.phase0.until=5: unknown argument; use shape, begin, end, by_epoch"),
        ({"shape": "linear", "end": "late"}, "phases.phase0.end=late: must be a number"),
        ({"shape": "linear", "end": True}, "phases.phase0.end=true: must be a number"),
        ({"shape": "linear", "begin": None}, "phases.phase0.begin=null: must be a number"),
        ({"shape": "linear", "every_step": 1}, "phases.phase0.every_step=1: must be true or false"),
        ({"shape": "linear", "begin": 5, "end": 5}, "phases.phase0.end=5: must be after begin=5"),
        ({"shape": "linear", "end": 2.5}, "phases.phase0.end=2.5: must be an integer unless every_step=true"),
        (
            {"shape": "linear", "by_epoch": False, "every_step": True, "end": 2.5},
            "phases.phase0.end=2.5: must be an integer, since the phase is counted in steps",
        ),
        ({"shape": "linear", "gamma": 0.5}, "phases.phase0.gamma=0.5: has no effect with shape=linear"),
        ({"shape": "step"}, "phases.phase0.step=null: shape=step needs an interval"),
        ({"shape": "step", "step": [4, 2]}, r"phases.phase0.step=\[4,2\]: must be strictly increasing"),
        ({"shape": "poly", "min_lr": 0.1, "min_lr_ratio": 0.1}, "min_lr=0.1: conflicts with min_lr_ratio=0.1"),
        ({"shape": "poly", "min_lr": math.inf}, "phases.phase0.min_lr=inf: must be finite"),
    ],
)
def test_chain_invalid_phase_raises_with_key(phase, message):
    with pytest.raises(ValueError, match=message):
        chain(phase)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Chain(), "phases={}: the rate is constant"),
        (chain({"shape": "exp", "begin": 6}), "phases.phase0: begins after the end of the run, which has 24 steps"),
        (chain({"shape": "linear", "end": 1}), "only start_factor=0.1 and not end_factor is used; set every_step=true"),
    ],
)
def test_chain_check_phase_without_effect_warns(policy, words):
    (warning,) = policy.check(steps_per_epoch=4, total_steps=24)
    assert words in warning
    assert chain({"shape": "linear", "end": 1, "every_step": True}).check(4, 24) == []


def test_timeline_lists_events_in_steps():
    policy = Chain(
        phases={
            "warmup": {"shape": "linear", "end": 2},
            "drops": {"shape": "step", "step": [3, 9], "begin": 1},
            "tail": {"shape": "cosine", "begin": 15, "by_epoch": False},
        }
    )
    assert policy.timeline(3, 18) == [
        (3, "drops begins"), (6, "warmup ends"), (12, "drop x 0.1"), (15, "tail begins"),
    ]  # fmt: skip


def test_chain_phases_round_trip_through_config():
    words = ["lr=chain", "lr.phases.warmup={shape: linear, end: 5}", "lr.phases.drops.shape=step"]
    policy = compose([*words, "lr.phases.drops.step=[7,10]"]).lr_policy
    phases = {"warmup": Phase(shape="linear", end=5), "drops": Phase(shape="step", step=[7, 10])}
    assert policy == Chain(phases=phases)
    assert Chain(**to_dict(policy)) == policy  # as a run folder keeps it
    with pytest.raises(ConfigError, match=r"lr_policy.phases.warmup.end=never: must be a number \(command line: lr_"):
        compose([words[0], "lr.phases.warmup={shape: linear, end: never}"])
