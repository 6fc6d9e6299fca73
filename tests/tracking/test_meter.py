"""Averages over the last steps, by hand; and when a line is written."""

import math

import pytest
import torch

from vexp.tracking.config import Log
from vexp.tracking.meter import DeferredTop1, Meter


def test_meter_reduces_each_step_once():
    """This happens when they are first read; a checkpoint has the means."""
    asked = []

    def mean(numbers):  # the other process has 2 more of everything
        asked.append(list(numbers))
        return [number + 1 for number in numbers]

    meter = Meter(3, reset=False, all_reduce_mean=mean)
    meter.add(1, 4, {"loss": torch.tensor(1.0)})
    meter.add(2, 4, {"loss": torch.tensor(3.0)})
    assert meter.first_not_finite("loss") is None
    assert meter.mean() == {"loss": 3.0}
    meter.add(3, 4, {"loss": torch.tensor(math.nan)})
    assert meter.first_not_finite("loss") == 3  # wherever it came up
    assert [len(numbers) for numbers in asked] == [2, 1]
    resumed = Meter(3, reset=False, all_reduce_mean=mean)
    resumed.load_state_dict(meter.state_dict())
    assert resumed.first_not_finite("loss") == 3
    assert len(asked) == 2


def fed(window, rows, *, reset=False):
    """A meter that saw (samples, value of "loss") from step 1 on."""
    meter = Meter(window, reset=reset)
    for step, (samples, loss) in enumerate(rows, 1):
        meter.add(step, samples, {"loss": torch.tensor(loss)})
    return meter


@pytest.mark.parametrize(
    ("window", "rows", "mean"),
    [
        (10, [(4, 1.0)], 1.0),
        (10, [(4, 1.0), (4, 2.0)], 1.5),
        (10, [(4, 1.0), (2, 4.0)], 2.0),  # (4 * 1 + 2 * 4) / 6: every sample counts alike
        (2, [(4, 9.0), (4, 1.0), (4, 2.0)], 1.5),  # only the last two steps
        (2, [(1, 9.0), (1, 1.0), (3, 2.0)], 1.75),
        (1, [(4, 9.0), (1, 1.0)], 1.0),
        (10, [(1, 0.0), (1, 0.0)], 0.0),
    ],
)
def test_meter_mean_is_weighted_by_samples(window, rows, mean):
    meter = fed(window, rows)
    assert meter.mean() == {"loss": mean}
    assert meter.mean() == {"loss": mean}  # asking changes nothing


def test_meter_reset_averages_since_last_mean():
    meter = fed(10, [(1, 1.0), (1, 3.0)], reset=True)
    assert meter.mean() == {"loss": 2.0}
    assert meter.mean() == {}
    meter.add(3, 1, {"loss": 7.0})
    assert meter.mean() == {"loss": 7.0}


def test_meter_restart_clears_window():
    meter = fed(10, [(1, 1.0), (1, 3.0)])
    meter.restart()
    assert meter.mean() == {}
    meter.add(3, 1, {"loss": 7.0})
    assert meter.mean() == {"loss": 7.0}


def test_meter_averages_value_over_steps_that_have_it():
    meter = Meter(3, reset=False)
    meter.add(1, 1, {"loss": 1.0, "grad_norm": 8.0})
    meter.add(2, 2, {"loss": 2.0})
    meter.add(3, 1, {"loss": 3.0, "grad_norm": 4.0})
    assert meter.mean() == {"loss": 2.0, "grad_norm": 6.0}
    meter.add(4, 1, {"loss": 1.0})  # the first leaves the window
    assert meter.mean() == {"loss": 2.0, "grad_norm": 4.0}
    meter.add(5, 1, {"loss": 1.0})
    meter.add(6, 1, {"loss": 1.0})
    assert meter.mean() == {"loss": 1.0}


@pytest.mark.parametrize(
    "value",
    [3, 3.0, torch.tensor(3), torch.tensor(3.0), torch.tensor(3.0, dtype=torch.bfloat16), torch.tensor([3.0])[0]],
)
def test_meter_accepts_numbers_and_tensors(value):
    meter = Meter(2, reset=False)
    meter.add(1, 1, {"x": value})
    meter.add(2, 1, {"x": torch.tensor(1.0, requires_grad=True)})
    mean = meter.mean()
    assert mean == {"x": 2.0}
    assert type(mean["x"]) is float


def test_meter_keeps_value_at_time_of_add():
    total = torch.zeros(())
    meter = Meter(4, reset=False)
    for step in (1, 2):
        total = total + step
        meter.add(step, 1, {"x": total})
    assert meter.mean() == {"x": 2.0}  # (1 + 3) / 2


def test_meter_fetches_tensors_in_one_copy(monkeypatch):
    meter = Meter(10, reset=False)
    for step in range(1, 6):
        meter.add(step, 1, {"loss": torch.tensor(1.0), "top1_acc": torch.tensor(0.5), "time/step": 0.1})
    copies = []
    real = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: copies.append(self.shape) or real(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a copy of one value"))
    assert meter.mean() == {"loss": 1.0, "top1_acc": 0.5, "time/step": pytest.approx(0.1)}
    assert copies == [(10,)]
    meter.mean()
    assert copies == [(10,)]  # nothing is fetched twice


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([1.0, 2.0], None),
        ([1.0, math.nan, 2.0, math.inf], 2),
        ([1.0, 2.0, math.inf], 3),
        ([-math.inf], 1),
        ([math.nan, 1.0, 1.0, 1.0, 1.0], None),  # has left the window of 4
        ([], None),
    ],
)
def test_first_not_finite(losses, step):
    assert fed(4, [(1, loss) for loss in losses]).first_not_finite("loss") == step


@pytest.mark.parametrize("reset", [False, True])
def test_meter_state_restores_window(reset):
    straight, resumed = Meter(4, reset=reset), Meter(4, reset=reset)
    for step in range(1, 10):
        for meter in (straight, resumed):
            meter.add(step, step % 3 + 1, {"loss": torch.tensor(0.1 * step)})
        if step == 4:  # a line is written
            assert resumed.mean() == straight.mean()
        if step == 6:
            state = resumed.state_dict()
            assert {type(values["loss"]) for _, _, values in state["rows"]} == {float}  # plain, on no device
            resumed = Meter(4, reset=reset)
            resumed.load_state_dict(state)
        assert resumed.state_dict() == straight.state_dict()
    assert resumed.mean() == straight.mean()


def test_meter_state_dict_is_a_copy():
    meter = fed(4, [(1, 1.0)])
    state = meter.state_dict()
    meter.restart()
    other = Meter(4, reset=False)
    other.load_state_dict(state)
    other.add(2, 1, {"loss": 3.0})
    assert state == {"rows": [[1, 1, {"loss": 1.0}]]}


@pytest.mark.parametrize(
    ("interval", "by_epoch", "ignore_last", "steps"),
    [
        (3, True, True, [3, 6, 10, 13, 17, 20]),  # counted anew in each epoch
        (3, True, False, [3, 6, 7, 10, 13, 14, 17, 20, 21]),  # and the epoch's last steps
        (3, False, True, [3, 6, 9, 12, 15, 18, 21]),  # counted on
        (3, False, False, [3, 6, 7, 9, 12, 14, 15, 18, 21]),
        (7, True, True, [7, 14, 21]),
        (10, True, True, []),  # an epoch is shorter
        (10, True, False, [7, 14, 21]),
        (10, False, True, [10, 20]),
        (1, True, True, list(range(1, 22))),
    ],
)
def test_log_due_in_three_epochs_of_seven_steps(interval, by_epoch, ignore_last, steps):
    log = Log(interval=interval, by_epoch=by_epoch, ignore_last=ignore_last)
    assert [step for step in range(1, 22) if log.due(step, 7)] == steps


def test_deferred_top1_counts_batches_of_each_step():
    """Steps of batches of 2 and 1 clips, then of 1: 2 of 3 right, then none; ties go to the lower class."""
    meter = Meter(10, reset=False)
    logits = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.5]])]
    first = DeferredTop1(logits, [torch.tensor([0, 0]), torch.tensor([0])])
    meter.add(1, 3, {"top1_acc": first})
    meter.add(2, 1, {"top1_acc": DeferredTop1([torch.tensor([[0.0, 1.0]])], [torch.tensor([0])])})
    assert [values for _, _, values in meter.history()] == [{"top1_acc": 2 / 3}, {"top1_acc": 0.0}]
    assert meter.mean() == {"top1_acc": 0.5}
