"""What the machine does to a run, in one paragraph a user can act on: a full disk, a killed worker, no memory left."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import torch

from vexp.checkpoint.manifest import Manifest
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import free_space, write_error_message
from vexp.experiment.run_dir import checkpoint_folder
from vexp.runtime.distributed import is_peer_failure

_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (\w[\w ]*)|exited)")
_SHARED_MEMORY = re.compile(r"shared memory|torch_shm|/torch_\d+", re.IGNORECASE)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)


def describe_failure(error: BaseException, config: Config, folder: Path) -> UserError | None:
    """What happened, where, and what to do; None for a fault that is not of the machine.

    Args:
        error: that ended the run.
        config: of the run.
        folder: of the run.
    """
    text = _explain(error, config, folder)
    return (
        UserError(f"{text}. {_last_checkpoint(folder, checkpoint_folder(config, folder))}")
        if text is not None
        else None
    )


def _explain(error: BaseException, config: Config, folder: Path) -> str | None:
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"{_device_memory(error)}: a step of data.batch_size={config.data.batch_size} does not fit; lower "
            "data.batch_size (grad.accumulate=2 keeps the samples of a step), take amp=bf16, or a smaller clip or net; "
            "for evaluation alone data.eval_batch_size or eval.max_views_per_forward"
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        path = Path(str(error.filename)) if error.filename else folder
        what = write_error_message(path if path.is_absolute() else folder, error)
        return f"{path}: cannot be written: {what}; make room, or take another disk with out_root=FOLDER"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return (
            f"the machine's memory is used up ({_first_line(error)}); lower data.batch_size or data.num_workers, "
            "each worker holds whole videos"
        )
    if not isinstance(error, RuntimeError | OSError):
        return None
    if is_peer_failure(error):
        return (
            "another process of the run has ended without a word, and this one cannot go on alone: as a rule it was "
            "killed because the memory of its machine was used up (dmesg tells)"
        )
    if "Expected to have finished reduction" in str(error):  # torch's DistributedDataParallel
        return (
            "some parameters of the net got no gradient, and the processes wait for them: grad.detect_anomalous_params="
            "true with nproc=1 names them, dist.find_unused_parameters=true goes on without them"
        )
    killed = _WORKER.search(str(error))
    if killed is not None and killed[2] != "Bus error":
        return _worker_text(killed[1], killed[2], config)
    if killed is not None or _SHARED_MEMORY.search(str(error)):
        return (
            f"/dev/shm is too small for the batches of the workers ({free_space(Path('/dev/shm'))}); enlarge it "
            "(docker run --shm-size=8g), lower data.num_workers or data.batch_size, or data.num_workers=0"
        )
    return None


def _worker_text(pid: str, signal_name: str | None, config: Config) -> str:
    memory = (
        f"the machine's or the job's memory was used up (dmesg tells); lower data.num_workers or data.batch_size="
        f"{config.data.batch_size}, or ask for more memory"
    )
    crash = "a decoder that crashed on a damaged video; data.num_workers=0 shows on which"
    if signal_name == "Killed":
        why = f"SIGKILL: as a rule {memory}"
    elif signal_name is None:
        why = f"it left without a word: {memory}. Or {crash}"
    else:
        why = f"{signal_name}: as a rule {crash}"
    return f"a data worker (process {pid}) was ended by the system, {why}"


def _device_memory(error: BaseException) -> str:
    tried = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    wanted = f" for {tried[1]} more" if tried else ""
    return f"the GPU's memory is used up, there is no room{wanted}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _last_checkpoint(folder: Path, checkpoints: Path) -> str:
    try:
        rows = [row for row in Manifest.read(checkpoints).entries if (checkpoints / row.name).exists()]
    except UserError:
        rows = []
    if not rows:
        return "No checkpoint had been written yet"
    return f"The last checkpoint (step {rows[-1].step}) is intact; go on with: python -m vexp.train --resume {folder}"
