"""Saving in the background: independent snapshots, one job at a time, and errors that are raised later."""

import errno
import os
import threading
import time

import pytest
import torch
from torch import nn

from vexp.checkpoint import Background, Snapshot, load, save
from vexp.core.errors import UserError


def state(model, optimizer):
    return {
        "step": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "rows": [[1, {"loss": 0.5}]],
        "pair": (1, torch.ones(2, dtype=torch.bfloat16)), "empty": torch.empty(0), "none": None,
    }  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[3].weight = model[2].weight  # tied
    return model.to(memory_format=torch.channels_last_3d)


@pytest.fixture
def optimizer(model):
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def test_snapshot_saves_equal_file(tmp_path, model, optimizer):
    """Tied tensors, memory formats and the metadata of a state dict are kept."""
    save(tmp_path / "direct.pth", state(model, optimizer))
    copy = Snapshot().take(state(model, optimizer))
    save(tmp_path / "background.pth", copy)
    direct, copied = load(tmp_path / "direct.pth"), load(tmp_path / "background.pth")
    for key, tensor in direct["model"].items():
        assert torch.equal(copied["model"][key], tensor)
        assert copied["model"][key].stride() == tensor.stride()
    assert copied["model"]["3.weight"].data_ptr() == copied["model"]["2.weight"].data_ptr()
    assert copied["model"]._metadata == model.state_dict()._metadata
    assert str(copied["optimizer"]) == str(direct["optimizer"])
    assert (copied["pair"][0], copied["empty"].shape, copied["none"]) == (1, (0,), None)


def test_snapshot_is_independent_of_later_training(model, optimizer):
    contents = state(model, optimizer)
    before = {key: value.clone() for key, value in contents["model"].items()}
    copy = Snapshot().take(contents)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model[1].running_mean.fill_(9)
    contents["rows"][0][1]["loss"] = 99
    assert all(torch.equal(copy["model"][key], before[key]) for key in before)
    assert copy["rows"] == [[1, {"loss": 0.5}]]


def test_snapshot_reuses_memory_of_equal_shapes(model, optimizer):
    snapshot = Snapshot()
    first = snapshot.take(state(model, optimizer))["model"]["0.weight"]
    with torch.no_grad():
        model[0].weight.fill_(7)
    second = snapshot.take(state(model, optimizer))["model"]["0.weight"]
    assert first.data_ptr() == second.data_ptr()
    assert torch.equal(second, model[0].weight)
    other = snapshot.take({"model": {"0.weight": torch.zeros(5)}})  # another shape takes new memory
    assert torch.equal(other["model"]["0.weight"], torch.zeros(5))


@pytest.mark.gpu
def test_snapshot_of_gpu_tensor_is_in_pinned_memory():
    source = torch.randn(1000, 1000, device="cuda")
    copy = Snapshot().take({"w": source})["w"]
    assert copy.is_pinned()
    assert torch.equal(copy, source.cpu())


def test_background_start_returns_at_once_and_joins_previous_job():
    background, gate, done = Background(), threading.Event(), []

    def job():
        gate.wait(10)
        done.append("first")

    background.start(job)
    assert done == []  # start returns while the job runs
    threading.Timer(0.05, gate.set).start()
    background.start(lambda: done.append("second"))  # waits for the first job
    background.join()
    assert done == ["first", "second"]
    background.join()  # no job is left


def test_background_failed_save_raises_at_next_start(tmp_path, monkeypatch):
    """The error names the path, the error of the system and the free space; earlier checkpoints are intact."""
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
        background.start(lambda: pytest.fail("started although the previous job has failed"))
    background.join()  # raises once only
    assert load(tmp_path / "epoch_1.pth")["step"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_1.pth", "manifest.json"]
