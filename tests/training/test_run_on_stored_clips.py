"""Runs on clips of archives and servers: no secret in the run folder, bad samples, a kill and resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archives import write_shards, write_tar, write_zip
from support.file_server import FileServer, serving
from support.run_files import assert_same_weights, read_metrics
from support.tables import default_lane_has

from vexp import compose, train
from vexp.__main__ import main as vexp_main
from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.config import Motion
from vexp.data.storage import archives, remote
from vexp.experiment.run_dir import write_settings

OVERRIDES = [
    "data=video_list", "data.batch_size=4", "model.width=8", "epochs=2", "log=text", "log.plots=false",
    "log.interval=1", "device=cpu", "model.norm=group",
]  # fmt: skip


@pytest.fixture
def served(motion_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FileServer, Path]]:
    """A server with a password of 16 clips, and their folder."""
    motion = Motion(train_clips=2, val_clips=1)
    motion.prepare()
    source = motion.source("train")
    assert source is not None
    rows = source.annotation
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "".join(f"{rows.name(i)},{rows.labels(i)[0]}\n" for i in range(len(rows)))
    )
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    with serving(Path(rows.prefix)) as server:
        yield server, Path(rows.prefix)
    archives.open_archives.cache_clear()
    remote.file_status.cache_clear()


def overrides(folder: Path, prefix: str, *more: str) -> list[str]:
    lists = [f"data.{split}.ann_file={folder}/list.csv" for split in ("train", "val")]
    return [*OVERRIDES, *lists, *(f"data.{split}.data_prefix='{prefix}'" for split in ("train", "val")), *more]


@pytest.mark.integration
def test_run_folder_shows_no_secret(
    served: tuple[FileServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, clips = served
    server.password, server.query = "me:s3cr3t", "key=t0ken"
    monkeypatch.setenv("CLIPS_URL", f"{server.url.replace('://', '://me:s3cr3t@')}?key=t0ken")
    short = ["epochs=1", "data.num_workers=0", "data.on_error=skip", "data.max_bad_fraction=0.5"]
    words = overrides(tmp_path, "$CLIPS_URL", *short)
    with (tmp_path / "list.csv").open("a") as file:
        file.write("missing.mp4,1\n")
    train.run(compose(words), tmp_path / "run", overrides=words)
    plain = overrides(tmp_path, str(clips), *short)
    train.run(compose(plain), tmp_path / "plain", overrides=plain)
    assert_same_weights(tmp_path / "run", tmp_path / "plain")
    assert "the server has no such file" in (tmp_path / "run" / "bad_samples.jsonl").read_text()
    files = [path for folder in ("run", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes() + os.fsencode(path.name)
        assert b"s3cr3t" not in content
        assert b"t0ken" not in content
    assert "$CLIPS_URL" in (tmp_path / "run" / "config.yaml").read_text()


def test_compose_refuses_password_without_showing_it(tmp_path: Path) -> None:
    for url in ("https://me:s3cr3t@host/clips", "https://host/clips?key=s3cr3t"):
        with pytest.raises(ConfigError, match=r"data\.train\.data_prefix=https://.*\*\*\*.*CLIPS_URL") as caught:
            compose(overrides(tmp_path, url))
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    default_lane_has(
        2,
        [
            ["train"],
            ["train", "-m", "seed=1,2"],
            ["train", "-m", "data.train.data_prefix='http://host/a','URL'"],
            ["train", "-m", "hydra/sweeper=optuna", "data.train.data_prefix='http://host/a','URL'"],
            ["explain", "data.train.data_prefix"],
            ["show", "batch"],
        ],
    ),
    ids=lambda command: " ".join(command[:3]),
)
def test_commands_refuse_password_before_they_write(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the records of a sweep, which are written before and between its jobs, nor a message hold it."""
    url = "https://me:s3/cr3t@host/clips?key=s3cr3t"
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    (tmp_path / "list.csv").write_text("path,label\na.mp4,0\nb.mp4,1\n")
    words = [word.replace("URL", url) for word in command]
    if words == command:
        words.append(f"data.train.data_prefix='{url}'")
    lists = [f"data.{split}.ann_file={tmp_path}/list.csv" for split in ("train", "val")]
    assert vexp_main([*words, "data=video_list", *lists, f"out_root={tmp_path}/out"]) == 2
    shown = "".join(capsys.readouterr())
    assert "has a password or a query" in shown
    assert "cr3t" not in shown
    for path in (tmp_path / "out").rglob("*"):
        assert "cr3t" not in path.name
        assert path.is_dir() or b"cr3t" not in path.read_bytes()


def test_command_in_environment_file_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of Optuna may be in a database with a password, which is no setting of the run."""
    monkeypatch.setattr(sys, "argv", ["train", "hydra.sweeper.storage=postgresql://me:s3cr3t@host/studies"])
    write_settings(tmp_path, {}, [])
    assert "postgresql://***@host/studies" in (tmp_path / "env.json").read_text()


@pytest.mark.integration
def test_run_fails_with_a_sentence_if_the_server_refuses(served: tuple[FileServer, Path], tmp_path: Path) -> None:
    server, _ = served
    server.password = "me:word"
    words = overrides(tmp_path, server.url, "data.num_workers=0")
    with pytest.raises(UserError, match=r"http://127.*\.mp4: .*the server answered 401"):
        train.run(compose(words), tmp_path / "run", overrides=words)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar", "shards", "http"])
def test_run_killed_and_resumed_equals_run_on_folder(
    kind: str, served: tuple[FileServer, Path], tmp_path: Path
) -> None:
    """Killed on stored clips with workers and resumed; and with two processes the same samples in each step."""
    server, clips = served
    prefix = {
        "zip": lambda: str(write_zip(tmp_path / "clips.zip", clips)),
        "tar": lambda: str(write_tar(tmp_path / "clips.tar", clips)),
        "shards": lambda: str(write_shards(tmp_path, clips, 3)),
        "http": lambda: server.url,
    }[kind]()
    saving = ["checkpoint=all", "checkpoint.by_epoch=false", "eval=never", "data.num_workers=2"]

    def start(prefix: str, name: str, *more: str) -> subprocess.Popen[str]:
        words = overrides(tmp_path, prefix, *saving, f"out_root={tmp_path}", f"run_name={name}")
        return _process([*words, *more])

    _finish(start(str(clips), "plain"))
    killed = start(prefix, "killed")
    until = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("*/checkpoints/step_3.pth")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (folder,) = (tmp_path / "killed").iterdir()
    _finish(_process(["--resume", str(folder)]))
    (plain,) = (tmp_path / "plain").iterdir()
    assert read_metrics(folder, "train") == read_metrics(plain, "train")
    assert_same_weights(folder, plain)
    if kind in ("zip", "shards"):
        return
    _finish(start(prefix, "two", "nproc=2", "data.batch_size=2"))
    (two,) = (tmp_path / "two").iterdir()
    for a, b in zip(read_metrics(two, "train"), read_metrics(plain, "train"), strict=True):
        assert a.pop("mode") == b.pop("mode")
        assert a == pytest.approx(b, rel=1e-4)


def _process(words: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [sys.executable, "-m", "vexp.train", *words], env=environment, stdout=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip


def _finish(process: subprocess.Popen[str]) -> None:
    try:
        assert process.wait(600) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
