"""Plans whose batches are of one list each: the order of the lists, their samples, and the parts of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vexp.core.errors import ConfigError
from vexp.data.loading.class_balance import balanced_order, epoch_length
from vexp.data.loading.dataloader import TrainSampler
from vexp.data.loading.step_plan import ListPlan
from vexp.data.sources.base import Source
from vexp.data.sources.splits import TrainSplit


class Listed(Source):
    """The samples of several lists of given sizes, of one class."""

    def __init__(self, sizes: list[int]) -> None:
        self.parts = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self.labels, self.classes = np.zeros(len(self.parts), np.int64), ["a"]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return str(index)

    def open(self, index: int) -> None:  # type: ignore[override]
        raise NotImplementedError


def plan_of(sizes: list[int], *, together: bool, ratio: tuple[int, ...] = (), **plan: int) -> ListPlan:
    batches = tuple(range(2, 2 + len(sizes)))
    values = {"accumulate": 1, "world_size": 1, **plan}
    ratio = ratio or (1,) * len(sizes)
    return ListPlan(sizes[0], 2, drop_last=False, sizes=batches, ratio=ratio, together=together, **values)


def sampler_of(sizes: list[int], plan: ListPlan, *, first_step: int = 0, rank: int | None = None) -> TrainSampler:
    split = TrainSplit(ann_file=["list"] * len(sizes), mix="losses" if plan.together else "steps")
    assert epoch_length(Listed(sizes), split) == sizes[0]
    balanced = balanced_order(Listed(sizes), split, seed=3, sections=plan.sections)
    steps = {"first_step": first_step, "total_steps": 2 * plan.steps_per_epoch}
    return TrainSampler(plan, seed=3, shuffle=True, balanced=balanced, rank=rank, **steps)


def runner_order(main: int, ratio: tuple[int, ...]) -> list[int]:
    """The list of every step of an epoch with ``main`` batches of the first list in mmaction2's OmniSourceRunner."""
    order = []
    for i in range(main):
        order += [0, *(part for part, count in enumerate(ratio[1:], 1) for _ in range(count) if i % ratio[0] == 0)]
    return order


@pytest.mark.parametrize("ratio", [(1, 1), (2, 1, 1, 1), (3, 2, 1), (2, 3)])
@pytest.mark.parametrize("samples", [1, 7, 12, 13])
def test_steps_of_lists_have_the_order_of_mmaction2(ratio: tuple[int, ...], samples: int) -> None:
    plan = plan_of([samples] * len(ratio), together=False, ratio=ratio)
    parts = [{batch.part for batch in plan.batches(step)} for step in range(2 * plan.steps_per_epoch)]
    assert parts == [{part} for part in runner_order(-(-samples // 2), ratio)] * 2


@given(
    st.lists(st.integers(1, 15), min_size=2, max_size=3), st.booleans(), st.integers(1, 3), st.integers(1, 3),
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
)  # fmt: skip
@settings(deadline=None, max_examples=50)
def test_batches_of_lists_have_samples_of_one_list(
    sizes: list[int], together: bool, accumulate: int, processes: int, shares: list[int]
) -> None:
    """The first list once in an epoch; the others evenly; each process a part of every batch; any step to start at."""
    ratio = tuple(shares[: len(sizes)])
    plan = plan_of(sizes, together=together, ratio=ratio, accumulate=accumulate, world_size=processes)
    source, planned = Listed(sizes), [batch for step in range(plan.steps_per_epoch) for batch in plan.batches(step)] * 2
    keys = list(sampler_of(sizes, plan))
    assert [len(batch) for batch in keys] == [batch.size for batch in planned]
    for batch, expected in zip(keys, planned, strict=True):
        assert {source.parts[index] for _, index, *_ in batch} == {expected.part}
    for epoch in (0, 1):
        first = sorted(index for batch in keys for at, index, *_ in batch if at == epoch and index < sizes[0])
        assert first == list(range(sizes[0]))
    drawn = np.bincount([index for batch in keys for _, index, *_ in batch], minlength=len(source))
    assert all(np.ptp(drawn[source.parts == part]) <= 1 for part in range(len(sizes)))
    per_step = len(plan.batches(0)) if together else None
    if per_step is not None and plan.steps_per_epoch > 1:
        done = sum(len(plan.batches(step)) for step in range(1))
        assert list(sampler_of(sizes, plan, first_step=1)) == keys[done:]
    of_rank = [list(sampler_of(sizes, plan, rank=rank)) for rank in range(processes)]
    for batch, *parts in zip(keys, *of_rank, strict=True):
        own = [part[: plan.own(len(batch), rank)] for rank, part in enumerate(parts)]
        assert [key for part in own for key in part] == batch


def test_losses_of_lists_are_averaged_each_over_its_samples() -> None:
    plan = plan_of([9, 4], together=True, accumulate=2, world_size=2)
    assert [(batch.part, batch.size, batch.averaged) for batch in plan.batches(0)] == [
        (0, 4, 8), (0, 4, 8), (1, 6, 12), (1, 6, 12),
    ]  # fmt: skip
    assert [(batch.part, batch.size, batch.averaged) for batch in plan.batches(1)][:1] == [(0, 1, 1)]


def test_list_without_selected_samples_is_rejected() -> None:
    split = TrainSplit(ann_file=["a", "b"], mix="losses")
    with pytest.raises(ConfigError, match="no sample of file 2"):
        balanced_order(Listed([3, 0]), split, seed=0, sections=[3, 4])
