"""The names of sweeps and jobs, and what is a job of its own."""

from __future__ import annotations

import re

import pytest

from vexp.core.errors import UserError
from vexp.sweep.job_overrides import SweepOverrides, digest, job_label, job_name


def overrides(*typed: str) -> SweepOverrides:
    return SweepOverrides.parse(typed, loader=None)


def test_job_name_has_swept_overrides() -> None:
    fixed = [f"data.train.ann_file=/a/very/long/path/{'x' * 200}.txt", "epochs=3"]
    read = overrides(*fixed, "lr_policy=step,cosine", "++optimizer.lr=0.1,0.01")
    names = [job_name(job, read.keys) for job in read.grid()]
    assert [name[:-9] for name in names] == [
        "lr_policy=step_lr=0.1", "lr_policy=step_lr=0.01", "lr_policy=cosine_lr=0.1", "lr_policy=cosine_lr=0.01",
    ]  # fmt: skip
    assert len({name[-8:] for name in names}) == 4
    assert job_label(read.grid()[0], read.keys) == "lr_policy=step optimizer.lr=0.1"


@pytest.mark.parametrize(
    ("typed", "readable"),
    [
        ("a.lr=1,2", "lr=1"),
        ("a.lr=1 b.lr=1,2", "lr=1"),  # the fixed one is none of its names
        ("a.lr=1,2 b.lr=3,4", "a.lr=1_b.lr=3"),  # whose lr?
        ("data.train.indices=[1],[2]", "indices=-1-"),
        ("x='a b/c:d',e", "x=-a-b-c-d-"),
        (f"x={'y' * 300},z", "x=" + "y" * 98),  # bounded
        ("transform@pipeline.train.crop=center_crop,flip", "crop=center_crop"),
    ],
)
def test_job_name_is_safe_and_bounded(typed: str, readable: str) -> None:
    read = overrides(*re.findall(r"(?:'[^']*'|\S)+", typed))
    name = job_name(read.grid()[0], read.keys)
    assert name[:-9] == readable
    assert re.fullmatch(r"[A-Za-z0-9._=,+-]+-[0-9a-f]{8}", name)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["a=1", "b=2"], ["b=2", "a=1"], True),  # in whichever order
        (["++optimizer.lr=1"], ["optimizer.lr=1"], True),  # as typed
        (["a=1"], ["a=1", "sweep.name=x", "sweep.fail_fast=true", "out_root=/x", "hydra.launcher.n_jobs=2"], True),
        (["a=1"], ["a=2"], False),
        (["a=1"], ["a=1", "b=2"], False),
        (["flip=1"], ["~flip"], False),
    ],
)
def test_digest_identifies_what_a_job_computes(one: list[str], other: list[str], same: bool) -> None:
    assert (digest(one) == digest(other)) is same


def test_sweep_name_defaults_to_swept_keys() -> None:
    name = overrides("optimizer=sgd,adamw", "lr_policy=step,cosine").name()
    assert name == "lr_policy_x_optimizer"
    assert overrides("lr_policy=step,cosine,exp", "optimizer=sgd,adamw").name() == name  # a larger grid: the same sweep
    fixed = overrides("lr_policy=step,cosine", "optimizer=sgd,adamw", "epochs=3").name()
    assert re.fullmatch(r"lr_policy_x_optimizer-[0-9a-f]{8}", fixed)
    assert fixed != overrides("lr_policy=step,cosine", "optimizer=sgd,adamw", "epochs=4").name()
    assert overrides("epochs=3").name().startswith("one_job-")


def test_grid_is_product_of_swept_values() -> None:
    read = overrides("c=9", "a=1,2", "b=range(2)")
    assert read.grid() == [["c=9", f"a={a}", f"b={b}"] for a in (1, 2) for b in (0, 1)]
    assert len(overrides("a=1,1,2").grid()) == 2
    assert overrides("~x", "a=1").grid() == [["~x", "a=1"]]
    assert overrides("a=7", "b=1", "++a=1,2").grid() == [["b=1", "++a=1"], ["b=1", "++a=2"]]  # the last word for a key
    assert overrides("a=1,2", "a=7").grid() == [["a=7"]]
    with pytest.raises(UserError, match="a grid needs values"):
        overrides("a=interval(0,1)").grid()


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("seed=range(0)", "has no value"),
        ("seed=range(3,3)", "has no value"),
        ("seed=range(3),1", "cannot be among several values"),
        ("seed=1,interval(0,1)", "cannot be among several values"),
        ("seed=shuffle(1,2),3", "cannot be among several values"),
        ("seed=range(1.5,1)", "has no value"),
        ("seed=range(0,3,0)", "must not be 0"),
        ("seed=sort(range(1e9))", "more than 100,000 values"),
        ("seed=range(1e9)", "more than 100,000 values"),
        ("seed=range(0,1,1e-30)", "more than 100,000 values"),
        ("seed=shuffle(range(1000000000))", "more than 100,000 values"),
        ("seed=range(400) epochs=range(1,1001)", "400 x 1000 = 400,000 jobs"),
    ],
)
def test_grid_without_jobs_or_of_absurd_size_is_refused(typed: str, fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(fault)):
        overrides(*typed.split()).grid()


def test_glob_that_matches_nothing_is_refused() -> None:
    class Loader:
        def get_group_options(self, *_: object, **__: object) -> list[str]:
            return []

    with pytest.raises(UserError, match="has no value"):
        SweepOverrides.parse(["seed=glob(*)"], loader=Loader()).grid()
