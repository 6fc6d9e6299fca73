"""Signals: a checkpoint of the current step, an exit status for requeueing, and a bit-exact resume."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.evaluation.view_forward import ViewForward
from vexp.runtime.signals import SignalHandler
from vexp.training.recorder import Recorder

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_recorded_and_previous_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with SignalHandler() as stop:
        assert not stop.check()
        signal.raise_signal(number)
        assert stop.requested is None  # changes in check() only, in all processes at once
        assert stop.check()
        assert stop.requested == number.name
    assert signal.getsignal(number) == before


def test_inner_handler_starts_with_the_signal_of_the_outer_one() -> None:
    """A sweep receives a signal while a job is still being set up."""
    with SignalHandler() as outer:
        signal.raise_signal(signal.SIGTERM)
        with SignalHandler() as inner:
            assert inner.check()
            assert inner.requested == "SIGTERM"
        assert outer.received == "SIGTERM"
    with SignalHandler() as fresh:
        assert not fresh.check()


def test_second_sigint_raises_and_second_sigterm_does_not() -> None:
    """Schedulers repeat SIGTERM; only a person at the keyboard means it."""
    with SignalHandler() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.check()
        assert stop.requested == "SIGTERM"


def signal_after(monkeypatch: pytest.MonkeyPatch, steps: int, *numbers: signal.Signals) -> None:
    """This process gets the signals in the middle of training."""
    real, done = Recorder.record, []

    def record(self: Recorder, *arguments: Any) -> None:
        real(self, *arguments)
        done.append(1)
        if len(done) == steps:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(Recorder, "record", record)


def test_interrupted_run_resumes_to_the_bit(tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of the very step, exit status 75; resumed, the same weights and lines as without the signal."""
    words = [*tiny, "model.dropout=0.2", "checkpoint.interval=-1"]
    train.run(compose(words), tmp_path / "straight")
    with monkeypatch.context() as patch:
        signal_after(patch, 3, signal.SIGTERM)
        status = train.main([*words, f"out_root={tmp_path}", "run_name=stopped"])
    assert status == 75
    (folder,) = (tmp_path / "stopped").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert checkpoint.load(folder / "checkpoints" / "step_3.pth")["step"] == 3
    train.main(["--resume", str(folder)])
    assert lines(folder) == lines(tmp_path / "straight")
    a, b = (checkpoint.load(run / "checkpoints" / "last.pth") for run in (folder, tmp_path / "straight"))
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in b["model"])


def test_signal_interrupts_an_evaluation(tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends the evaluation before training, then the last one; each comes first in the resumed run.

    The result is that of a run without signals.
    """
    words = [*tiny, "epochs=1", "eval.start=0"]
    train.run(compose(words), tmp_path / "straight")
    real, folder = ViewForward.__call__, tmp_path / "stopped"
    for wanted, step in ((1, 0), (3, 4)):  # batches of the evaluation: two of step 0, two of step 4
        seen = []

        def logits(self: ViewForward, *args: Any, wanted: int = wanted, seen: list[int] = seen) -> torch.Tensor:
            seen.append(1)
            if len(seen) == wanted:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(ViewForward, "__call__", logits)
            result = train.run(compose([*words, *(["resume=auto"] if step else [])]), folder)
        assert (result["status"], result["step"]) == ("interrupted", step)
        assert len(seen) == wanted  # not one batch more
        assert checkpoint.load(folder / "checkpoints" / "last.pth")["unmeasured"]
    assert train.run(compose([*words, "resume=auto", "eval.start=null"]), folder)["status"] == "done"
    assert lines(folder) == lines(tmp_path / "straight")
    a, b = (checkpoint.load(run / "checkpoints" / "best.pth") for run in (folder, tmp_path / "straight"))
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in b["model"])
    assert a["best"] == b["best"]


def lines(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def test_second_sigint_does_not_wait_for_the_checkpoint(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before is whole; what was being written is not there."""
    words = [*tiny, "checkpoint.by_epoch=false"]
    signal_after(monkeypatch, 3, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train.run(compose(words), tmp_path)
    assert checkpoint.load(tmp_path / "checkpoints" / "last.pth")["step"] in (1, 2)  # 2 was under way
    assert json.loads((tmp_path / "result.json").read_text())["error"].startswith("KeyboardInterrupt")
