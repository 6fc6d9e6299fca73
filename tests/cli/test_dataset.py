"""``vexp dataset``, killed in the middle of its work and started again, gives what an undisturbed run gives."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.encode import write_video

COMMAND = [sys.executable, "-m", "vexp", "dataset"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        path = folder / "abc"[number % 3] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, frames=150 + number, size=(320, 240))
    return folder


def content(path: Path) -> dict[str, object]:
    """Of every file a checksum; of a proxy the number of its frames, for x264 does not give the same bytes twice."""
    from vexp.data.decoding.pyav import VideoReader

    found: dict[str, object] = {}
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.suffix == ".mp4":
            with VideoReader(file) as reader:
                found[str(file.relative_to(path))] = reader.num_frames
        elif file.is_file() and file.name != ".lock":
            found[str(file.relative_to(path))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def progress(target: Path) -> int:
    """Lines of the journal, or what is whole under its name."""
    journal = target.with_name(f".{target.name}.journal")
    if journal.exists():
        return journal.read_bytes().count(b"\n") - 1
    walked = [(folder, files) for folder, _, files in os.walk(target) if not folder.endswith(".tmp")]
    return sum(name.endswith(".mp4") or name == ".frames.json" for _, files in walked for name in files)


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [([], "nothing found; damaged frames are found only with --decode"), (["--decode"], "nothing is wrong")],
)
def test_check_verdict_depends_on_decode(arguments: list[str], verdict: str, tmp_path: Path) -> None:
    (tmp_path / "videos" / "a").mkdir(parents=True)
    write_video(tmp_path / "videos" / "a" / "0.mp4", frames=5)
    command = [
        *COMMAND,
        "check",
        str(tmp_path / "videos"),
        str(tmp_path / "x.json"),
        "--workers",
        "0",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert f"{verdict}; full report: " in " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(
    ("verb", "name", "arguments"),
    [
        ("index", "x.csv", []),
        ("check", "x.json", ["--decode"]),
        ("frames", "x", []),
        ("rescale", "x", ["--sample", "0"]),
    ],
)
def test_killed_command_resumes_to_same_result(
    verb: str, name: str, arguments: list[str], how: signal.Signals, videos: Path, tmp_path: Path
) -> None:
    def command(target: Path) -> list[str]:
        return [*COMMAND, verb, str(videos), str(target), "--workers", "2", *arguments]

    whole, target, stopped = tmp_path / "whole" / name, tmp_path / "killed" / name, 0
    subprocess.run(command(whole), check=True, capture_output=True, timeout=120)
    for done in (1, 5, 9):
        run = subprocess.Popen(
            command(target), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while run.poll() is None and progress(target) < done:
            time.sleep(0.002)
        if run.poll() is None:
            os.killpg(run.pid, how)
        _, error = run.communicate(timeout=60)
        if run.returncode != 0:
            stopped += 1
            assert how == signal.SIGKILL or (run.returncode, error) == (
                130,
                "vexp: interrupted; run the same command again to resume\n",
            )
        for record in target.rglob(".frames.json"):  # a folder under its own name is whole
            if not record.parent.name.endswith(".tmp"):
                assert content(record.parent) == content(whole / record.parent.relative_to(target))
    assert stopped
    subprocess.run(command(target), check=True, capture_output=True, timeout=120)
    assert content(target) == content(whole)
    assert not [path for path in target.parent.rglob("*") if path.name.endswith((".tmp", ".journal"))]
