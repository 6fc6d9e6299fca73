"""Signals: a checkpoint of the current step, an exit status for requeueing, and a bit-exact resume."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose, train
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


def test_inner_handler_starts_with_signal_of_outer_handler() -> None:
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
    """Schedulers send SIGTERM repeatedly; a second Ctrl-C is meant to end the process."""
    with SignalHandler() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.check()
        assert stop.requested == "SIGTERM"


def signal_after(monkeypatch: pytest.MonkeyPatch, steps: int, *numbers: signal.Signals) -> None:
    """Send signals to this process after a number of training steps."""
    real, steps_done = Recorder.record, []

    def record(self: Recorder, *arguments: Any) -> None:
        real(self, *arguments)
        steps_done.append(1)
        if len(steps_done) == steps:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(Recorder, "record", record)


@pytest.mark.integration
def test_interrupted_run_resumes_with_equal_weights(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM saves a checkpoint of the step and exits with status 75; weights and metrics equal those without it."""
    overrides = [*tiny, "model.dropout=0.2", "checkpoint.interval=-1"]
    train.run(compose(overrides), tmp_path / "straight")
    with monkeypatch.context() as patch:
        signal_after(patch, 3, signal.SIGTERM)
        status = train.main([*overrides, f"out_root={tmp_path}", "run_name=stopped"])
    assert status == 75
    (folder,) = (tmp_path / "stopped").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert read_checkpoint(folder, "step_3.pth")["step"] == 3
    train.main(["--resume", str(folder)])
    assert read_metrics(folder) == read_metrics(tmp_path / "straight")
    assert_same_weights(folder, tmp_path / "straight")


@pytest.mark.integration
def test_signal_during_evaluation_resumes_with_equal_result(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt the evaluation before training, then the last one; a resumed run first repeats the interrupted one."""
    overrides = [*tiny, "epochs=1", "eval.start=0"]
    train.run(compose(overrides), tmp_path / "straight")
    real, folder = ViewForward.__call__, tmp_path / "stopped"
    for last_batch, step in ((1, 0), (3, 4)):  # evaluations have two batches: (1, 2) at step 0, (3, 4) at step 4
        batches = []

        def logits(
            self: ViewForward, *args: Any, last_batch: int = last_batch, batches: list[int] = batches
        ) -> torch.Tensor:
            batches.append(1)
            if len(batches) == last_batch:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(ViewForward, "__call__", logits)
            result = train.run(compose([*overrides, *(["resume=auto"] if step else [])]), folder)
        assert (result["status"], result["step"]) == ("interrupted", step)
        assert len(batches) == last_batch  # no batch after the signal
        assert read_checkpoint(folder)["unmeasured"] is True
    assert train.run(compose([*overrides, "resume=auto", "eval.start=null"]), folder)["status"] == "done"
    assert read_metrics(folder) == read_metrics(tmp_path / "straight")
    assert_same_weights(folder, tmp_path / "straight", "best.pth")
    assert read_checkpoint(folder, "best.pth")["best"] == read_checkpoint(tmp_path / "straight", "best.pth")["best"]


@pytest.mark.integration
def test_second_sigint_raises_without_saving(tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous checkpoint stays intact; the one being written may be missing."""
    overrides = [*tiny, "checkpoint.by_epoch=false"]
    signal_after(monkeypatch, 3, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train.run(compose(overrides), tmp_path)
    assert read_checkpoint(tmp_path)["step"] in (1, 2)  # step 2 may still be in the background
    assert json.loads((tmp_path / "result.json").read_text())["error"].startswith("KeyboardInterrupt")
