"""Runs with ``data.cache=proxy``: repeatable to the bit whatever is in the cache, and different from runs without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose, train
from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.proxy_writer import ProxyWriter
from vexp.tools.explain.effects import key_effects
from vexp.training import loop
from vexp.training.step import train_step

PROXY = ["data.cache=proxy", "data.cache_short_side=32", "epochs=3"]


@pytest.fixture
def cache(motion_cache: Path) -> Path:
    """The folder of proxies, empty."""
    shutil.rmtree(motion_cache / "proxies", ignore_errors=True)
    return motion_cache / "proxies"


def log_of(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.mark.integration
def test_run_does_not_depend_on_the_state_of_the_cache(tiny: list[str], cache: Path, tmp_path: Path) -> None:
    plain, cold, warm = (tmp_path / name for name in ("plain", "cold", "warm"))
    train.run(compose([*tiny, "epochs=3"]), plain)
    result = train.run(compose([*tiny, *PROXY]), cold)
    assert len(list(cache.rglob("*.mkv"))) == 16
    assert "16 of 16 videos" in log_of(cold)
    next(cache.rglob("*.mkv")).unlink()
    assert train.run(compose([*tiny, *PROXY, "data.num_workers=2"]), warm)["proxies"] == result["proxies"]
    assert read_metrics(cold) == read_metrics(warm)
    assert_same_weights(cold, warm)
    before, after = read_metrics(plain, "train"), read_metrics(cold, "train")
    assert before[:4] == after[:4]  # epoch 1 reads the videos
    assert before[4]["loss"] != after[4]["loss"]


@pytest.mark.integration
def test_resumed_run_equals_the_whole_run(
    tiny: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.run(compose([*tiny, *PROXY]), whole)

    def stop(exp: Any, state: Any, *_: Any) -> Any:
        if state.step == 5:  # within the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(exp, state, *_)

    monkeypatch.setattr(loop, "train_step", stop)
    assert train.run(compose([*tiny, *PROXY]), parts)["step"] == 6
    monkeypatch.undo()
    shutil.rmtree(cache)
    train.run(compose([*tiny, *PROXY, "resume=auto"]), parts)
    assert read_metrics(whole) == read_metrics(parts)
    assert_same_weights(whole, parts)
    assert "not those that the run has read before" not in log_of(parts)


@pytest.mark.integration
def test_resume_reports_another_cache_and_other_proxies(tiny: list[str], cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.run(compose([*tiny, *PROXY, "epochs=2"]), run)
    train.run(compose([*tiny, *PROXY, "data.cache_short_side=48", "resume=auto"]), run)
    assert "changed since: data.cache_short_side 32 -> 48" in log_of(run)
    assert "not those that the run has read before" in log_of(run)


@pytest.mark.integration
def test_videos_beyond_cache_size_are_read_from_their_originals(tiny: list[str], cache: Path, tmp_path: Path) -> None:
    plain, bounded = tmp_path / "plain", tmp_path / "bounded"
    train.run(compose(tiny), plain)
    train.run(compose([*tiny, *PROXY, "epochs=2", "data.cache_size=1e-6"]), bounded)
    assert "0 of 16 videos" in log_of(bounded)
    assert read_metrics(plain) == read_metrics(bounded)
    assert not list(cache.rglob("*.mkv"))


@pytest.mark.integration
def test_interrupted_wait_saves_a_checkpoint(
    tiny: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.run(compose([*tiny, *PROXY]), whole)

    def is_running(_: ProxyWriter) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    monkeypatch.setattr(ProxyWriter, "is_running", property(is_running))
    result = train.run(compose([*tiny, *PROXY, "checkpoint.interval=-1"]), parts)
    assert (result["status"], result["step"]) == ("interrupted", 4)
    monkeypatch.undo()
    train.run(compose([*tiny, *PROXY, "resume=auto"]), parts)
    assert read_metrics(whole) == read_metrics(parts)
    assert_same_weights(whole, parts)


@pytest.mark.integration
def test_failed_writer_ends_the_run_with_its_message(
    tiny: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file where a folder has to be")
    with pytest.raises(UserError, match=r"data.cache=proxy.*cannot be made.*set VEXP_CACHE.*lower data.cache_size"):
        train.run(compose([*tiny, *PROXY]), tmp_path / "run")
    cache.unlink()


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["data=raw_frames", "data.train.ann_file=x", "data.val.ann_file=x"], "images already"),
        (["data=motion_boxes"], "clips of recognition"),
        (["data.cache_features=true"], "conflicts with cache_features"),
    ],
)
def test_cache_is_rejected_where_no_video_files_are_read_again(overrides: list[str], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        compose([*overrides, "data.cache=proxy"])
    assert "data.cache" in str(caught.value)


def test_explain_describes_which_epochs_read_proxies() -> None:
    assert "every epoch reads the videos" in key_effects(compose([]), "data.cache")[0]
    assert "later epochs train on the proxies" in key_effects(compose(PROXY), "data.cache_size")[0]


def start(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own."""
    code = f"from vexp import compose, train; train.run(compose({list(overrides)}), {str(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_run_of_two_processes_does_not_depend_on_the_state_of_the_cache(
    tiny: list[str], cache: Path, tmp_path: Path
) -> None:
    cold, warm = tmp_path / "cold", tmp_path / "warm"
    for folder in (cold, warm):
        train.run(compose([*tiny, *PROXY, "data.batch_size=2", "dist.nproc=2"]), folder)
    assert read_metrics(cold) == read_metrics(warm)
    assert_same_weights(cold, warm)
    assert len(list(cache.rglob("*.mkv"))) == 16
    assert read_checkpoint(cold)["proxies"]


@pytest.mark.slow
def test_run_continues_to_the_bit_after_kills(tiny: list[str], cache: Path, tmp_path: Path) -> None:
    """Kills of the run during the first epoch, the wait and the second epoch; its writer ends with it."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.run(compose([*tiny, *PROXY]), whole)
    shutil.rmtree(cache)
    for marks in ("epoch 1/3 step 2", "epoch 1/3 step 4", "epoch 2/3 step 6"):
        run = start(parts, *tiny, *PROXY, "resume=auto")
        deadline = time.monotonic() + 120
        while run.poll() is None and not ((parts / "log.txt").exists() and marks in log_of(parts)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.kill()
        run.wait()
    train.run(compose([*tiny, *PROXY, "resume=auto"]), parts)
    assert read_metrics(whole) == read_metrics(parts)
    assert_same_weights(whole, parts)
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.slow
def test_concurrent_runs_share_the_proxies(tiny: list[str], cache: Path, tmp_path: Path) -> None:
    runs = [start(tmp_path / str(number), *tiny, *PROXY) for number in range(2)]
    assert [run.wait(timeout=300) for run in runs] == [0, 0]
    assert_same_weights(tmp_path / "0", tmp_path / "1")
    assert len(list(cache.rglob("*.mkv"))) == 16
