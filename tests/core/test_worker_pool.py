"""Jobs in worker processes: crashes, interrupts and a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vexp.core.errors import UserError
from vexp.core.files import atomic_write
from vexp.core.worker_pool import run_jobs


def work(job: str) -> str:
    if job == "bad":
        raise UserError("no good")
    if job == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    return job.upper()


def test_run_jobs_without_workers() -> None:
    outcomes = list(run_jobs(["a", "bad", "b"], work, 0))
    assert [(each.job, each.result, each.error) for each in outcomes] == [
        ("a", "A", ""),
        ("bad", None, "bad: no good"),  # the job is added to messages without it
        ("b", "B", ""),
    ]


def test_run_jobs_full_disk_raises() -> None:
    done = []
    with pytest.raises(UserError, match="No space left on device; free disk space"):
        done += [each.job for each in run_jobs(["a", "full", "b"], work, 0)]
    assert list(run_jobs([], work, 3)) == []


@pytest.mark.slow
def test_run_jobs_crash_fails_one_job() -> None:
    jobs = [f"j{number}" for number in range(8)]
    outcomes = {each.job: each for each in run_jobs([*jobs[:4], "crash", *jobs[4:], "crash", "bad"], work, 2)}
    assert [outcomes[job].result for job in jobs] == [job.upper() for job in jobs]
    assert outcomes["crash"].error == "crash: the process that worked on it died (SIGKILL)"
    assert outcomes["bad"].error == "bad: no good"


def ignores_sigint(job: str) -> bool:
    """Return whether the process was started with SIGINT blocked."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_ignore_ctrl_c_from_their_start() -> None:
    assert [outcome.result for outcome in run_jobs(["a"], ignores_sigint, workers=1)] == [True]
    assert not ignores_sigint("here")


def write_slowly(path: str) -> None:
    with atomic_write(Path(path)) as part:
        part.write_text("half")
        time.sleep(60)


PARENT = """
import sys
from contextlib import closing
sys.path.append({folder!r})
from test_worker_pool import write_slowly
from vexp.core.worker_pool import run_jobs
if __name__ == "__main__":
    with closing(run_jobs({jobs!r}, write_slowly, 2)) as outcomes:
        list(outcomes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_exit_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    """Workers exit after Ctrl-C, which also removes temporary files, and after a kill."""
    jobs = [str(tmp_path / name) for name in "abc"]
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(__file__).parent), jobs=jobs))
    parent = subprocess.Popen([sys.executable, script], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.tmp"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    group = parent.pid
    if how == signal.SIGINT:
        os.killpg(group, how)  # the terminal also sends it to the workers
    else:
        parent.kill()
    parent.wait(30)
    while _alive(group):
        assert time.monotonic() < deadline, "a worker is still running"
        time.sleep(0.05)
    assert not any(Path(job).exists() for job in jobs)
    assert how == signal.SIGKILL or not list(tmp_path.glob("*.tmp"))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
