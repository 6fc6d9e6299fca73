"""The batch script of torchrun: its directives, and that its job trains, is requeued and resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def write(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vexp", "sbatch", *arguments], capture_output=True, text=True, check=False
    )


def test_sbatch_script_has_directives_and_overrides(tmp_path: Path) -> None:
    shown = write("--dry-run", "--nodes", "2", "--gpus-per-node", "8", "--account", "me", "--", "lr.step=[8, 11]")
    assert shown.returncode == 0
    text = shown.stdout
    lines = text.splitlines()
    for directive in (
        "nodes=2", "ntasks-per-node=1", "gpus-per-node=8", "cpus-per-task=64", "account=me", "signal=TERM@120",
        "requeue",
    ):  # fmt: skip
        assert f"#SBATCH --{directive}" in lines
    assert "partition" not in text
    assert "--nproc-per-node=8 --nnodes=2 --rdzv-backend=c10d" in text
    assert "overrides=('lr.step=[8, 11]' out_root=runs" in text
    file = tmp_path / "train.sbatch"
    assert write(str(file), "--gpus-per-node", "0", "--setup", "echo 'a b'", "--", "seed=1").returncode == 0
    assert "#SBATCH --gpus" not in file.read_text()
    for parsed in (text, file.read_text()):
        subprocess.run(["bash", "-n"], input=parsed, text=True, check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the file to write"),
        (["x", "--nodes", "0"], ">= 1"),
        (["x", "--name", "a b"], "may have only letters"),
        (["x", "--", "data.train.data_prefix='https://me:s3cr3t@host'"], "an override has a password"),
    ],
)
def test_sbatch_rejects_invalid_options(arguments: list[str], message: str) -> None:
    refused = write(*arguments)
    assert (refused.returncode, message in refused.stderr, "s3cr3t" in refused.stderr) == (2, True, False)


@pytest.mark.slow
def test_sbatch_job_is_requeued_after_preemption(tmp_path: Path) -> None:
    """Under stand-ins for srun and scontrol. The first time the step gets SIGTERM after an epoch, as Slurm sends it."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    stand_ins = {
        "srun": """
            "$@" & step=$!
            if [ ! -e preempted ]; then
              until ls runs/*/*/checkpoints/epoch_1.pth >/dev/null 2>&1; do sleep 0.1; done
              touch preempted
              kill -TERM $step
            fi
            wait $step
            """,
        "scontrol": 'echo "$@" >> scontrol.log',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }
    for name, text in stand_ins.items():
        (bin_folder / name).write_text("#!/usr/bin/env bash\n" + text)
        (bin_folder / name).chmod(0o755)
    arguments = [
        "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8",
        "epochs=12", "log=text", "device=cpu", "checkpoint.max_keep_ckpts=50",
    ]  # fmt: skip
    written = write(f"{tmp_path}/job.sbatch", "--gpus-per-node", "0", "--", *arguments)
    assert written.returncode == 0, written.stderr
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}

    def submit() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "job.sbatch"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    first = submit()
    assert first.returncode != 0
    assert (tmp_path / "scontrol.log").read_text() == "requeue 77\n", first.stderr
    second = submit()
    assert second.returncode == 0, second.stderr
    (run,) = (tmp_path / "runs" / "vexp-77").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "done"
    assert "resumed from" in (run / "log.txt").read_text()
    assert (tmp_path / "scontrol.log").read_text() == "requeue 77\n"
