"""Saving while training goes on: the copy is whole and apart, one job at a time, no failure gets lost."""

import errno
import os
import threading
import time

import pytest
import torch
from torch import nn

from vexp.checkpoint import Background, Snapshot, load, save
from vexp.core.errors import UserError


def state(net, optimizer):
    return {
        "step": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "rows": [[1, {"loss": 0.5}]],
        "pair": (1, torch.ones(2, dtype=torch.bfloat16)), "empty": torch.empty(0), "none": None,
    }  # fmt: skip


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[3].weight = net[2].weight  # tied
    return net.to(memory_format=torch.channels_last_3d)


@pytest.fixture
def optimizer(net):
    optimizer = torch.optim.AdamW(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def test_the_copy_makes_the_same_file(tmp_path, net, optimizer):
    """Ties between tensors, memory formats and what a state dict carries beside its tensors included."""
    save(tmp_path / "waiting.pth", state(net, optimizer))
    copy = Snapshot().take(state(net, optimizer))
    save(tmp_path / "background.pth", copy)
    direct, copied = load(tmp_path / "waiting.pth"), load(tmp_path / "background.pth")
    for key, tensor in direct["model"].items():
        assert torch.equal(copied["model"][key], tensor)
        assert copied["model"][key].stride() == tensor.stride()
    assert copied["model"]["3.weight"].data_ptr() == copied["model"]["2.weight"].data_ptr()
    assert copied["model"]._metadata == net.state_dict()._metadata
    assert str(copied["optimizer"]) == str(direct["optimizer"])
    assert (copied["pair"][0], copied["empty"].shape, copied["none"]) == (1, (0,), None)


def test_what_training_does_afterwards_does_not_reach_the_copy(net, optimizer):
    taken = state(net, optimizer)
    before = {key: value.clone() for key, value in taken["model"].items()}
    copy = Snapshot().take(taken)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    net[1].running_mean.fill_(9)
    taken["rows"][0][1]["loss"] = 99
    assert all(torch.equal(copy["model"][key], before[key]) for key in before)
    assert copy["rows"] == [[1, {"loss": 0.5}]]


def test_the_memory_of_a_copy_is_used_again(net, optimizer):
    snapshot = Snapshot()
    first = snapshot.take(state(net, optimizer))["model"]["0.weight"]
    with torch.no_grad():
        net[0].weight.fill_(7)
    second = snapshot.take(state(net, optimizer))["model"]["0.weight"]
    assert first.data_ptr() == second.data_ptr()
    assert torch.equal(second, net[0].weight)
    other = snapshot.take({"model": {"0.weight": torch.zeros(5)}})  # of another shape: memory of its own
    assert torch.equal(other["model"]["0.weight"], torch.zeros(5))


@pytest.mark.gpu
def test_what_is_on_a_gpu_is_copied_to_pinned_memory():
    source = torch.randn(1000, 1000, device="cuda")
    copy = Snapshot().take({"w": source})["w"]
    assert copy.is_pinned()
    assert torch.equal(copy, source.cpu())


def test_training_goes_on_while_the_job_runs_and_the_next_waits_for_it():
    background, gate, done = Background(), threading.Event(), []

    def job():
        gate.wait(10)
        done.append("first")

    background.start(job)
    assert done == []  # start returned while the job is under way
    threading.Timer(0.05, gate.set).start()
    background.start(lambda: done.append("second"))  # joins the first
    background.join()
    assert done == ["first", "second"]
    background.join()  # nothing to wait for


def test_a_failing_disk_is_an_error_of_the_next_join_not_a_lost_thread(tmp_path, monkeypatch):
    """With the path, the system's word for it and the free space; earlier checkpoints are intact."""
    save(tmp_path / "epoch_1.pth", {"step": 1})
    background = Background()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    background.start(lambda: save(tmp_path / "epoch_2.pth", {"step": 2}))
    deadline = time.monotonic() + 10
    while background._thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"epoch_2.pth: .*No space left on device \(ENOSPC\); .* free on its disk"):
        background.start(lambda: pytest.fail("begun although the one before had failed"))
    background.join()  # said once
    assert load(tmp_path / "epoch_1.pth")["step"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_1.pth", "manifest.json"]
