"""scripts/dataset.py, killed in the middle of its work and started again, ends where an undisturbed run ends."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts/dataset.py")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.append(str(ROOT / "tests/data"))
    from encode import write_video

    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        path = folder / "abc"[number % 3] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, frames=150 + number, size=(320, 240))
    return folder


def content(path: Path) -> dict[str, str]:
    """A checksum of every file."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(
    ("verb", "name", "words"),
    [
        ("index", "x.csv", ()),
        ("check", "x.json", ("--decode",)),
        ("frames", "x", ()),
        ("rescale", "x", ("--sample", "0")),
    ],
)
def test_killed_and_started_again(
    verb: str, name: str, words: tuple[str, ...], how: signal.Signals, videos: Path, tmp_path: Path
) -> None:
    def command(target: Path) -> list[str]:
        return [sys.executable, SCRIPT, verb, str(videos), str(target), "--workers", "2", *words]

    whole, target = tmp_path / "whole" / name, tmp_path / "killed" / name
    began = time.monotonic()
    subprocess.run(command(whole), check=True, capture_output=True, timeout=120)
    seconds, rng, stopped = time.monotonic() - began, random.Random(0), 0
    for _ in range(4):
        run = subprocess.Popen(
            command(target), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            run.communicate(timeout=rng.uniform(0.5, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, how)
            _, error = run.communicate(timeout=30)
            stopped += 1
            if how == signal.SIGINT and run.returncode != -signal.SIGINT:  # that: Python had not begun with the script
                assert (run.returncode, error) == (130, "stopped; run it again to go on\n")
        for record in target.rglob(".frames.json"):  # a folder under its own name is whole
            if not record.parent.name.endswith(".tmp"):
                assert content(record.parent) == content(whole / record.parent.relative_to(target))
    assert stopped
    subprocess.run(command(target), check=True, capture_output=True, timeout=120)
    assert content(target) == content(whole)
    assert not [path for path in target.parent.rglob("*") if path.name.endswith((".tmp", ".journal"))]
