"""Contract with torch's private DataLoader interface: one test per attribute that vexp uses."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data._utils import signal_handling

from vexp.core.errors import UserError
from vexp.data.loading import torch_internals

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")


@pytest.fixture
def loader():
    return DataLoader(TensorDataset(torch.arange(8)), num_workers=2, persistent_workers=True, timeout=30)


@pytest.fixture
def iterator(loader):
    iterator = iter(loader)
    yield iterator
    iterator._shutdown_workers()


def exited(processes):
    deadline = time.monotonic() + 20
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [process.exitcode for process in processes]


def test_is_worker_iterator_recognizes_worker_iterators(iterator):
    assert torch_internals.is_worker_iterator(iterator)
    assert not torch_internals.is_worker_iterator(iter(DataLoader(TensorDataset(torch.arange(2)))))
    assert not torch_internals.is_worker_iterator(iter([1]))


@pytest.mark.parametrize("name", torch_internals.ATTRIBUTES)
def test_is_worker_iterator_missing_attribute_raises(iterator, monkeypatch, name):
    monkeypatch.setattr(torch_internals, "ATTRIBUTES", (f"{name}_renamed",))
    with pytest.raises(UserError, match=rf"torch {torch.__version__[:4]}.*{name}_renamed.*data\.num_workers=0"):
        torch_internals.is_worker_iterator(iterator)


def test_is_worker_iterator_missing_remove_worker_pids_raises(iterator, monkeypatch):
    monkeypatch.delattr(signal_handling, "_remove_worker_pids")
    with pytest.raises(UserError, match="_remove_worker_pids"):
        torch_internals.is_worker_iterator(iterator)


def test_worker_processes_returns_running_processes(iterator):
    processes = torch_internals.worker_processes(iterator)
    assert [process.is_alive() for process in processes] == [True, True]


def test_shutdown_workers_ends_all_workers(iterator):
    processes = torch_internals.worker_processes(iterator)
    torch_internals.shut_down(iterator)
    assert exited(processes) == [0, 0]
    assert iterator._shutdown is True  # set by torch


def test_workers_done_event_and_index_queues_make_workers_exit(iterator):
    assert iterator._shutdown is False
    list(iterator)
    torch_internals.ask_workers_to_exit(iterator)
    assert exited(torch_internals.worker_processes(iterator)) == [0, 0]


def test_worker_pids_set_and_remove_worker_pids_disable_the_exit_handler(iterator):
    assert iterator._worker_pids_set is True
    torch_internals.disable_exit_handler(iterator)
    assert iterator._worker_pids_set is False
    process = torch_internals.worker_processes(iterator)[0]
    process.kill()
    process.join()
    time.sleep(0.05)  # torch's handler of SIGCHLD would raise here
    torch_internals.disable_exit_handler(iterator)  # a second call does nothing


def test_iterator_of_persistent_workers_can_be_forgotten(loader):
    first = iter(loader)
    list(first)
    assert iter(loader) is first
    list(first)
    torch_internals.forget_iterator(loader)
    second = iter(loader)
    assert second is not first
    for iterator in (first, second):
        torch_internals.shut_down(iterator)


@pytest.mark.integration
def test_timeout_message_starts_as_watchdog_expects():
    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            time.sleep(3)

    with pytest.raises(RuntimeError, match=r"^DataLoader timed out"):
        next(iter(DataLoader(Slow(), num_workers=1, timeout=0.1)))
