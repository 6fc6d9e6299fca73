"""Failures of the machine during a run: one paragraph with cause and remedy, and an intact last checkpoint."""

from __future__ import annotations

import errno
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.checkpoint.file import _HashingFile
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.sources.base import VideoSource
from vexp.experiment.run_dir import lock_run_dir
from vexp.training.failure_messages import describe_failure


@functools.cache
def config() -> Config:
    return compose(["data.batch_size=4"])


def killed_worker(pid: int, name: str) -> RuntimeError:
    """Return the error that torch raises for a killed worker."""
    text = f"DataLoader worker (pid {pid}) is killed by signal: {name}. "
    if name == "Bus error":
        text += "It is possible that dataloader's workers are out of shared memory. Please try to raise your shared "
    return RuntimeError(text)


@pytest.mark.parametrize(
    ("error", "fragments"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x/metrics.jsonl"), [
            "/data/x/metrics.jsonl: cannot be written: No space left on device (ENOSPC)", "are free on its disk",
            "free some space",
        ]),
        (OSError(errno.EROFS, "Read-only file system"), ["{folder}: cannot be written: Read-only file system (EROFS)"]),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), ["/root/x: cannot be written: Permission den"]),
        (killed_worker(7, "Killed"), ["worker (process 7)", "SIGKILL", "ran out of memory", "num_workers"]),
        (killed_worker(7, "Segmentation fault"), ["(process 7)", "Segmentation fault", "decoder crashed"]),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), ["(process 7, 8)", "without a message"]),
        (killed_worker(7, "Bus error"), ["/dev/shm is too small", "--shm-size=8g", "data.num_workers=0"]),
        (RuntimeError("unable to open shared memory object </torch_12_3> in read-write mode: No space left (28)"), [
            "/dev/shm is too small",
        ]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of ..."), [
            "the GPU is out of memory (an allocation of 2.50 GiB failed)", "data.batch_size=4",
            "grad.accumulate=2", "amp=bf16",
        ]),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"), [
            "out of memory", "data.num_workers",
        ]),
        (MemoryError(), ["out of memory (MemoryError)"]),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 2.50 GB on private pool."), [
            "the GPU is out of memory (an allocation of 2.50 GB failed)",
        ]),
        (NotImplementedError("The operator 'aten::avg_pool3d.out' is not currently implemented for the MPS device."), [
            "torch has no aten::avg_pool3d.out for device=mps", "PYTORCH_ENABLE_MPS_FALLBACK=1",
        ]),
        (RuntimeError("adaptive_avg_pool3d_backward_cuda does not have a deterministic implementation, but you set "
                      "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this"), [
            "deterministic=true: torch has no deterministic implementation of adaptive_avg_pool3d_backward_cuda",
            "set deterministic=false",
        ]),
    ],
)  # fmt: skip
def test_describe_failure_names_cause_in_one_paragraph(tmp_path: Path, error: Exception, fragments: list[str]) -> None:
    text = str(describe_failure(error, config(), tmp_path))
    for fragment in fragments:
        assert fragment.format(folder=tmp_path) in text
    assert text.endswith(". No checkpoint has been written yet")
    assert "\n" not in text


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("x"), OSError(errno.ENOENT, "gone", "/x")])
def test_describe_failure_of_other_error_returns_none(tmp_path: Path, error: Exception) -> None:
    assert describe_failure(error, config(), tmp_path) is None


def failing_run(folder: Path, overrides: list[str]) -> UserError:
    """Train until the expected UserError; return it."""
    with pytest.raises(UserError) as caught:
        train.run(compose(overrides), folder)
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["error"]) == ("failed", str(caught.value))
    return caught.value


def assert_step_2_is_intact(folder: Path, message: str) -> None:
    newest = checkpoint.find(folder / "checkpoints")
    assert newest is not None
    assert checkpoint.load(newest)["step"] == 2
    assert "earlier checkpoints are intact" in message.lower() or "The last checkpoint (step 2) is intact" in message
    assert not list(folder.rglob(".*.tmp"))


@pytest.mark.integration
def test_full_disk_ends_run_with_intact_checkpoint(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the third checkpoint on, which is written in the background."""
    opened = []
    real = _HashingFile.write

    def write(self: _HashingFile, data: bytes) -> int:
        opened.append(self) if self not in opened else None
        if len(opened) < 3:
            return real(self, data)
        self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise self.error

    monkeypatch.setattr(_HashingFile, "write", write)
    error = failing_run(tmp_path, [*tiny, "checkpoint.by_epoch=false"])
    assert "step_3.pth: the checkpoint cannot be written: No space left on device (ENOSPC)" in str(error)
    assert_step_2_is_intact(tmp_path, str(error))


@pytest.mark.integration
def test_killed_worker_ends_run_with_intact_checkpoint(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoSource.open
    main_process = os.getpid()
    counter = tmp_path / "opened"

    def open_or_die(self: VideoSource, index: int) -> object:
        with counter.open("a") as file:
            file.write("x")
        if os.getpid() != main_process and counter.stat().st_size > 16:  # in the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, index)

    monkeypatch.setattr(VideoSource, "open", open_or_die)
    overrides = [*tiny, "data.num_workers=1", "eval=never", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1"]
    error = failing_run(tmp_path / "run", overrides)
    assert "worker (process " in str(error)
    assert "ran out of memory" in str(error)
    assert "is intact; resume with: vexp train --resume" in str(error)
    newest = checkpoint.find(tmp_path / "run" / "checkpoints")
    assert newest is not None
    assert f"The last checkpoint (step {checkpoint.load(newest)['step']}) is intact" in str(error)


@pytest.mark.integration
def test_error_in_worker_leaves_no_worker_process(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of the error held the loader, and the process waited for ever for its workers at exit."""

    def no_memory(self: VideoSource, index: int) -> object:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )

    monkeypatch.setattr(VideoSource, "open", no_memory)
    workers_of_others = set(multiprocessing.active_children())  # of loaders that failed in earlier tests
    error = failing_run(tmp_path, [*tiny, "data.num_workers=2"])
    assert "/dev/shm is too small" in str(error)
    assert error.__traceback__ is not None  # the frames are still referenced
    assert set(multiprocessing.active_children()) <= workers_of_others


@pytest.mark.integration
def test_gpu_out_of_memory_ends_run_with_intact_checkpoint(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vexp.model.architectures.tiny3d import Tiny3d

    real, calls = Tiny3d.forward, []

    def forward(self: Tiny3d, clips: torch.Tensor) -> torch.Tensor:
        if not clips.is_meta:  # its operations are counted
            calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return real(self, clips)

    monkeypatch.setattr(Tiny3d, "forward", forward)
    error = failing_run(tmp_path, [*tiny, "checkpoint.by_epoch=false"])
    assert "an allocation of 1.00 GiB failed" in str(error)
    assert_step_2_is_intact(tmp_path, str(error))


def test_run_in_unwritable_folder_raises_user_error(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        train.run(compose(tiny), tmp_path / "taken" / "run")


def test_lock_run_dir_rejects_folder_of_other_process(tmp_path: Path) -> None:
    """A requeued job can start before the previous one has ended; both would write the same files."""
    text = (
        "import sys; from vexp.experiment.run_dir import lock_run_dir; from pathlib import Path\n"
        "with lock_run_dir(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"in use by another process .process {other.pid} on "),
            lock_run_dir(tmp_path),
        ):
            pass
        other.kill()
    with lock_run_dir(tmp_path):  # the lock of a killed process is released
        pass
