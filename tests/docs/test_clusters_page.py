"""The SkyPilot file of docs/howto/clusters.md: its fields, its commands, and its script after a preemption."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.documents import ROOT, blocks, check_command, write_files

PAGE = ROOT / "docs" / "howto" / "clusters.md"
#: Fields of a SkyPilot task and of its parts that the file may use, with their types (SkyPilot 0.14).
FIELDS: dict[str, Any] = {
    "name": str,
    "resources": {
        "accelerators": str,
        "use_spot": bool,
        "job_recovery": {"recover_on_exit_codes": list, "max_restarts_on_errors": int},
    },
    "file_mounts": dict,
    "setup": str,
    "run": str,
}
MOUNT_FIELDS = {"name": str, "source": str, "mode": str}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_files(PAGE, tmp_path)
    return tmp_path / "sky" / "train.yaml"


@pytest.fixture
def task(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def check_fields(value: dict[str, Any], fields: dict[str, Any], place: str = "") -> None:
    for key, item in value.items():
        assert key in fields, f"{place}{key}"
        if isinstance(fields[key], dict):
            check_fields(item, fields[key], f"{place}{key}.")
        else:
            assert isinstance(item, fields[key]), f"{place}{key}"


def test_file_has_the_fields_of_a_task(task: dict[str, Any]) -> None:
    check_fields(task, FIELDS)
    for folder, mount in task["file_mounts"].items():
        check_fields(mount, MOUNT_FIELDS, f"{folder}.")
        assert mount["mode"] in ("MOUNT", "COPY", "MOUNT_CACHED")
        assert re.fullmatch(r"/\w+", folder)


def test_skypilot_parses_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sky = pytest.importorskip("sky", reason="skypilot is not installed")
    monkeypatch.setenv("HOME", str(path.parent))  # where SkyPilot keeps its files
    task = sky.Task.from_yaml_config(yaml.safe_load(path.read_text()) | {"file_mounts": None})  # buckets need accounts
    assert "vexp train --resume" in task.run
    assert next(iter(task.resources)).use_spot


def test_commands_compose_and_follow_the_mounts(task: dict[str, Any]) -> None:
    commands = [line.strip() for line in task["run"].splitlines() if line.strip().startswith("vexp ")]
    assert len(commands) == 2
    for command in commands:
        check_command(command.replace('"$(dirname "$previous")"', "RUN").replace("$SKYPILOT_TASK_ID", "id"))
    for key in ("data.root", "out_root"):
        (folder,) = re.findall(rf"\b{key}=(\S+)", task["run"])
        assert folder in task["file_mounts"]
    assert blocks(PAGE)


def test_script_starts_a_run_and_resumes_it_after_a_preemption(task: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "bin" / "vexp"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SKYPILOT_TASK_ID": "sky-managed-7"}
    script = task["run"].replace("/runs", f"{tmp_path}/runs")

    def run() -> str:
        done = subprocess.run(["bash", "-ec", script], env=variables, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.strip()

    assert run().endswith(f"out_root={tmp_path}/runs run_name=sky-managed-7")
    folder = tmp_path / "runs" / "sky-managed-7" / "2026-11-22_14-03-07"
    folder.mkdir(parents=True)
    assert run().startswith("train experiment=")  # preempted before its settings were uploaded
    (folder / "config.yaml").touch()
    assert run() == f"train --resume {folder}"
