"""Compare the learning rate of an imported ``param_scheduler`` with recorded rates of mmengine at every step.

It is also compared with mmengine's schedulers, restated here from their rules, which agree with the recorded rates.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_1, below, convert_source, lr_policy, rates, read
from support.paths import GOLDEN_DIR

from vexp.config.defaults import defaults_of
from vexp.tools.mmaction2.param_schedulers import convert_schedulers
from vexp.tools.mmaction2.result import ConversionResult

GOLDEN = json.loads((GOLDEN_DIR / "mmengine_schedulers.json").read_text())
WARMUPS, SCHEDULES = GOLDEN["warmups"], GOLDEN["schedules"]
ALONE = ("restart", "onecycle", "onecycle_steps")  # set the rate by themselves
END = 10**9

Schedulers = list[dict[str, Any]]


class Scheduler:
    """One scheduler of mmengine by its rule for the next rate; ``t`` counts from its own beginning."""

    def __init__(self, given: dict[str, Any], base: float, epochs: int, iters: int) -> None:
        given = {"begin": 0, "by_epoch": True, **given}
        self.kind, self.by_epoch, self.base = given.pop("type"), given.pop("by_epoch"), base
        given.setdefault("end", epochs if self.by_epoch else epochs * iters)
        if given.pop("convert_to_iter_based", False):
            given |= {key: int(given[key] * iters) for key in ("begin", "end", "T_max", "step_size") if key in given}
            given |= {key: [iters * t for t in given[key]] for key in ("milestones",) if key in given}
            self.by_epoch = False
        self.given, self.clock, self.t = given, -1, -1
        self.n = given["end"] - given["begin"]

    def step(self, rate: float) -> float:
        self.clock += 1
        if not self.given["begin"] <= self.clock < self.given["end"]:
            return rate
        self.t += 1
        arguments = {key: value for key, value in self.given.items() if key not in ("begin", "end")}
        return float(getattr(self, self.kind)(rate, self.t, **arguments))

    def MultiStepLR(self, rate, t, milestones, gamma=0.1):  # noqa: N802
        return rate * gamma if t in milestones else rate

    def StepLR(self, rate, t, step_size, gamma=0.1):  # noqa: N802
        return rate * gamma if t and t % step_size == 0 else rate

    def ExponentialLR(self, rate, t, gamma):  # noqa: N802
        return rate * gamma if t else rate

    def LinearLR(self, rate, t, start_factor=1 / 3, end_factor=1.0):  # noqa: N802
        if t == 0:
            return rate * start_factor
        gain = end_factor - start_factor
        return rate * (1 + gain / ((self.n - 1) * start_factor + (t - 1) * gain))

    def ConstantLR(self, rate, t, factor=1 / 3):  # noqa: N802
        if t == 0:
            return rate * factor
        return rate / factor if t == self.n - 1 else rate

    def PolyLR(self, rate, t, power=1.0, eta_min=0.0):  # noqa: N802
        return rate if t == 0 else (rate - eta_min) * (1 - 1 / (self.n - t)) ** power + eta_min

    def CosineAnnealingLR(self, rate, t, T_max=None, eta_min=0.0, eta_min_ratio=0.0):  # noqa: N802, N803
        wave, floor = T_max or self.n, eta_min or eta_min_ratio * self.base
        if t == 0:
            return rate
        if (t - 1 - wave) % (2 * wave) == 0:  # on the floor: up again
            return rate + (self.base - floor) * (1 - math.cos(math.pi / wave)) / 2
        now, before = (1 + math.cos(math.pi * time / wave) for time in (t, t - 1))
        return now / before * (rate - floor) + floor


def mmengine(schedulers: Schedulers, *, base: float, epochs: int, iters: int) -> list[float]:
    """The rate of every step of a run: those by step move after each, then those by epoch after the epoch's last."""
    peers = [Scheduler(given, base, epochs, iters) for given in schedulers]
    rate, used = base, []
    for scheduler in peers:
        rate = scheduler.step(rate)
    for step in range(epochs * iters):
        used.append(rate)
        for by_epoch in (False, True):
            for scheduler in peers:
                if scheduler.by_epoch == by_epoch and (not by_epoch or (step + 1) % iters == 0):
                    rate = scheduler.step(rate)
    return used


def of(warmup: str | None, schedule: str | None) -> Schedulers:
    return [*([WARMUPS[warmup]] if warmup else []), *(SCHEDULES[schedule] if schedule else [])]


def imported(schedulers: Schedulers, epochs: int, folder: Path) -> ConversionResult:
    """Check that the policy of a list equals it, and that every leaf is in the report without a difference."""
    text = f"train_cfg = dict(max_epochs={epochs})\nparam_scheduler = {schedulers!r}\n"
    config = read(folder / "config.py", text).config
    result = ConversionResult(defaults_of, config, generation=1)
    node = config.items["param_scheduler"]
    convert_schedulers(result, node)
    result.drop_defaults()
    for path, leaf in node.leaves():
        assert result.outcomes[id(leaf)].status not in ("changed", "unsupported"), (path, result.outcomes[id(leaf)])
    return result


def assert_equal(schedulers: Schedulers, folder: Path, *, epochs: int, iters: int) -> str:
    """The same rate at every step, for two groups; the policy."""
    result = imported(schedulers, epochs, folder)
    policy = lr_policy(result)
    policy.check(iters, epochs * iters)
    for base in (0.1, 0.02):
        run = {"base": base, "epochs": epochs, "iters": iters}
        # abs: a rate that has fallen to 0, where the recursion keeps a rest of rounding
        assert rates(policy, **run) == pytest.approx(mmengine(schedulers, **run), rel=1e-9, abs=1e-17), schedulers
    return result.choices["lr_policy"]


@pytest.mark.parametrize("case", GOLDEN["recorded"], ids=lambda case: f"{case['warmup']}+{case['schedule']}")
def test_rates_equal_recorded_rates(case: dict[str, Any], tmp_path: Path) -> None:
    schedulers = of(case["warmup"], case["schedule"])
    policy = lr_policy(imported(schedulers, 10, tmp_path))
    for base, runs in zip((0.1, 0.02), case["runs"], strict=True):
        expected = list(chain.from_iterable([rate] * count for rate, count in runs))
        run = {"base": base, "epochs": 10, "iters": 4}
        assert rates(policy, **run) == pytest.approx(expected, rel=1e-9, abs=1e-17)
        if case["schedule"] not in ALONE:  # so that the tests below may trust it
            assert mmengine(schedulers, **run) == pytest.approx(expected, rel=1e-9, abs=1e-17)


@pytest.mark.parametrize("warmup", [None, *WARMUPS])
def test_every_schedule_under_every_warmup(warmup: str | None, tmp_path: Path) -> None:
    for schedule in SCHEDULES:
        if schedule not in ALONE:
            assert_equal(of(warmup, schedule), tmp_path, epochs=10, iters=5)


def test_every_published_list(tmp_path: Path) -> None:
    """Those of mmaction2 1.2.0, at their own lengths; the policies that they become, by number of configs."""
    taken: Counter[str] = Counter()
    for entry in GOLDEN["published"]:
        taken[assert_equal(entry["schedulers"], tmp_path, epochs=entry["epochs"], iters=2)] += entry["configs"]
    assert taken == {"chain": 67, "step": 38, "cosine": 3}


@pytest.mark.parametrize(
    ("schedulers", "policy", "given"),
    [
        # a schedule that a single policy expresses keeps its form
        ([{"type": "MultiStepLR", "milestones": [4, 8], "begin": 1}], "step", {"step": [5, 9]}),
        ([{"type": "CosineAnnealingLR", "T_max": 16}], "cosine_restart", {"periods": [16]}),
        ([{"type": "CosineAnnealingLR", "T_max": 6, "begin": 4}], "flat_cosine", {"start_percent": 0.4}),
        (of("steps", "cos"), "cosine", {"warmup": "linear", "warmup_iters": 11}),
        # the rest is a chain
        (
            of("converted", "multi"), "chain",
            {
                "phases.warmup.shape": "linear", "phases.warmup.start_factor": 0.01, "phases.warmup.end": 2.5,
                "phases.warmup.every_step": True, "phases.step.shape": "step", "phases.step.step": [4, 8],
            },
        ),
        (
            of("steps", "cos_floor"), "chain",
            {
                "phases.warmup.shape": "linear", "phases.warmup.by_epoch": False, "phases.warmup.end": 12,
                "phases.cosine.shape": "cosine", "phases.cosine.min_lr": 0.01,
            },
        ),
        (
            of(None, "two"), "chain",
            {
                "phases.step.shape": "step", "phases.step.step": 2, "phases.step.end": 5,
                "phases.exp.shape": "exp", "phases.exp.gamma": 0.5, "phases.exp.begin": 5,
            },
        ),
        (
            of(None, "two_cos"), "chain",
            {
                "phases.cosine.shape": "cosine", "phases.cosine.end": 5, "phases.cosine.min_lr": 0.02,
                "phases.cosine_2.shape": "cosine", "phases.cosine_2.begin": 5, "phases.cosine_2.min_lr": 0.001,
            },
        ),
    ],
)  # fmt: skip
def test_list_of_schedulers_becomes_one_policy(
    schedulers: Schedulers, policy: str, given: dict[str, Any], tmp_path: Path
) -> None:
    result = imported(schedulers, 10, tmp_path)
    assert result.choices["lr_policy"] == policy
    values = below(result, "lr_policy.")
    assert values == values | given
    if policy == "chain":
        assert values == given


@pytest.mark.parametrize(
    ("text", "policy", "remark"),
    [
        ("dict(type='CosineAnnealingMomentum', T_max=10)", "fixed", "only the learning rate is scheduled"),
        ("dict(type='ReduceOnPlateauLR', monitor='loss')", "???", "vexp has no scheduler ReduceOnPlateauLR"),
        (
            "dict(type='LinearLR', end=2), dict(type='CosineRestartLR', periods=[4, 6], restart_weights=[1, 1], "
            "eta_min=0.0)", "cosine_restart", "CosineRestartLR sets the rate by itself",
        ),
        (
            "dict(type='CosineRestartLR', periods=[4, 6], restart_weights=[1, 0.5], eta_min_ratio=0.1)",
            "cosine_restart", "scales its floor, too",
        ),
        ("dict(type='StepLR', step_size=STEPS)", "???", "cannot be evaluated without running the file; choose"),
    ],
)  # fmt: skip
def test_unsupported_schedulers_have_a_remark(text: str, policy: str, remark: str, tmp_path: Path) -> None:
    config = f"import os\n{SMALL_1}\nSTEPS = os.cpu_count()\nparam_scheduler = [{text}]\n"
    result = convert_source(read(tmp_path / "config.py", config))
    assert result.choices["lr_policy"] == policy
    assert any(remark in " ".join(outcome.remarks) for outcome in result.outcomes.values())


def test_phases_are_rescaled_by_accumulation(tmp_path: Path) -> None:
    """As other times of the policy are."""
    schedulers = """param_scheduler = [
        dict(type='LinearLR', by_epoch=False, end=9), dict(type='PolyLR', begin=2, end=8),
        dict(type='ExponentialLR', gamma=0.5, begin=8, convert_to_iter_based=True)]"""
    wrapped = SMALL_1.replace("optim_wrapper = dict(", "optim_wrapper = dict(accumulative_counts=4, ")
    times = below(convert_source(read(tmp_path / "config.py", f"{wrapped}\n{schedulers}\n")), "lr_policy.phases.")
    assert (times["warmup.end"], times["poly.begin"], times["poly.end"], times["exp.gamma"]) == (3, 2, 8, 0.5**4)
