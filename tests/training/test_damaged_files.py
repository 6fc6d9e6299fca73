"""Damaged and hostile files of a run folder: an error that names the file, or a run that continues without it."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import GOLDEN_DIR
from torch import nn

from vexp import train
from vexp.cli import compare, evaluate
from vexp.config.command import run_command
from vexp.config.compose import compose
from vexp.config.saved import read_saved_config
from vexp.core.errors import UserError
from vexp.experiment.result import read_result
from vexp.experiment.setup import Experiment, build_experiment
from vexp.training.resume import resume as restore
from vexp.training.run import new_state

RUN = GOLDEN_DIR / "run_folders" / "by_type"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    return tmp_path / "runs" / "a"


def resume(run: Path, *overrides: str) -> int:
    return train.main(["--resume", str(run), "device=cpu", *overrides])


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a JSON file or checkpoint; of a checkpoint also remove the checksum that refuses it."""
    if path.suffix == ".pth":
        (path.parent / "manifest.json").unlink(missing_ok=True)
        torch.save(change(torch.load(path, weights_only=True)), path)
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


#: File, its content: a resumed run continues, because the file is not needed or the rest of it is read.
CONTINUES = [
    ("result.json", "[]"),
    ("result.json", "5"),
    ("result.json", DEEP),
    ("result.json", '{"status": "done", "best": 5}'),
    ("result.json", '{"status": "done", "metrics": {"val/loss": "x"}}'),
    ("metrics.jsonl", "5\n"),
    ("metrics.jsonl", '{}\n{"step": null, "mode": "val", "epoch": 1}\n'),
    ("metrics.jsonl", DEEP),
    ("metrics.jsonl", "1" * 5000),
    ("env.json", "[]"),
    ("checkpoints/best.json", "[]"),
    ("checkpoints/manifest.json", "[]"),
    ("checkpoints/manifest.json", '{"files": []}'),
    ("checkpoints/manifest.json", '{"sha256": 5, "files": []}'),
    ("checkpoints/manifest.json", '{"sha256": "x", "files": [{"name": 1}]}'),
    ("checkpoints/manifest.json", '{"sha256": "x", "files": [{"name": "../x", "sha256": "", "step": 1, "size": 1}]}'),
    ("checkpoints/manifest.json", DEEP),
]  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize(("name", "content"), CONTINUES, ids=[f"{name} {content[:40]}" for name, content in CONTINUES])
def test_resume_continues_without_damaged_file(name: str, content: str, run: Path) -> None:
    (run / name).write_text(content)
    assert resume(run, "epochs=3") == 0
    result = read_result(run) or {}
    assert (result["status"], result["step"]) == ("done", 12)
    assert sorted(path.name for path in run.parent.parent.iterdir()) == ["runs"]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "overrides.yaml", "env.json", "checkpoints/best.json"])
def test_resume_names_folder_in_place_of_file(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    assert resume(run, "epochs=3") == 2
    assert f"{run / name}: " in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["pipe", "loop", "empty"])
def test_resume_takes_earlier_checkpoint_in_place_of_special_file(
    kind: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / "last.pth"
    last.unlink()
    make = {"pipe": lambda: os.mkfifo(last), "loop": lambda: last.symlink_to(last.name)}
    make.get(kind, last.touch)()
    assert resume(run, "epochs=3", "checkpoint.save_last=false") == 0
    assert "/checkpoints/step_8.pth after step 8" in capsys.readouterr().out


def _with_momentum(state: dict[str, Any], value: Any) -> dict[str, Any]:
    """Replace the momentum of every parameter."""
    optimizer = state["optimizer"]
    values = {index: {"momentum_buffer": value} for index in optimizer["state"]}
    return {**state, "optimizer": {**optimizer, "state": values}}


def _with_group(state: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Change the parameter groups of the optimizer."""
    groups = [group | values for group in state["optimizer"]["param_groups"]]
    return {**state, "optimizer": {**state["optimizer"], "param_groups": groups}}


def _with_numpy_position(state: dict[str, Any], position: int) -> dict[str, Any]:
    (generators,) = state["rng"]
    return {**state, "rng": [{**generators, "numpy": {**generators["numpy"], "pos": position}}]}


#: Change of the content of last.pth, and a fragment of the error message.
CHECKPOINTS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda state: {**state, "step": "x"}, "step: must be a whole number, not text"),
    (lambda state: {**state, "step": -5}, "is damaged: step -5"),
    (lambda state: {key: value for key, value in state.items() if key != "step"}, "has no 'step'"),
    (lambda state: {key: value for key, value in state.items() if key != "rng"}, "has no 'rng'"),
    (lambda state: {**state, "rng": []}, "is damaged"),
    (lambda state: {**state, "rng": [{"python": [], "numpy": {}, "torch": 1, "cuda": []}]}, "random generators"),
    (lambda state: _with_numpy_position(state, 10**6), "the position 1000000 of NumPy's generator"),
    (lambda state: {**state, "plan": 5}, "plan: must be a mapping"),
    (lambda state: {**state, "plan": {"x": 1}}, "the number of steps per epoch has changed"),
    (lambda state: {**state, "optimizer": 5}, "optimizer: must be a mapping"),
    (lambda state: {**state, "optimizer": {"state": {}, "param_groups": [5]}}, "param_groups: item 0"),
    (lambda state: _with_momentum(state, torch.zeros(7)), "momentum_buffer of a parameter of shape"),
    (lambda state: _with_momentum(state, "x"), "momentum_buffer of a parameter of shape"),
    (lambda state: _with_momentum(state, torch.zeros(3, device="meta")), "does not fit this model and optimizer"),
    (lambda state: _with_group(state, param_names=5), "param_groups: item 0: param_names: must be a list"),
    (lambda state: _with_group(state, params="x"), "param_groups: item 0: params: must be a list"),
    (lambda state: _with_group(state, params=[99]), "does not fit this model and optimizer"),
    (lambda state: {**state, "best": 5}, "best: must be a mapping"),
    (lambda state: {**state, "ema": 5}, "ema: must be a mapping"),
    (lambda state: {**state, "classes": 5}, "classes: must be a list"),
    (lambda state: {**state, "classes": None, "config": 5}, "config: must be a mapping"),
    (lambda state: {**state, "model": {1: 2}}, "must be text"),
    (lambda state: {**state, "model": dict.fromkeys(state["model"], 5)}, "does not fit this model"),
    (lambda state: {**state, "model": {n: t.to_sparse() for n, t in state["model"].items()}}, "does not fit"),
    (lambda state: {**state, "model": {n: t.to("meta") for n, t in state["model"].items()}}, "does not fit"),
    (lambda state: {**state, "meter": {}}, "averages"),
    (lambda state: {**state, "scaler": 5}, "scaler: must be a mapping"),
    (lambda state: [state], "holds a list"),
]  # fmt: skip


@pytest.fixture(scope="module")
def longer(motion_cache: Path) -> tuple[Experiment, nn.Module]:
    """The experiment of the run folder with an epoch more, and its model."""
    exp = build_experiment(compose(["epochs=3", "device=cpu"], saved=read_saved_config(RUN / "config.yaml")))
    return exp, exp.config.model.build(len(exp.classes))


@pytest.mark.parametrize(
    ("change", "fragment"), CHECKPOINTS, ids=[f"{n} {row[1]}" for n, row in enumerate(CHECKPOINTS)]
)
def test_resume_refuses_damaged_checkpoint_by_name(
    change: Callable[[dict[str, Any]], Any], fragment: str, longer: tuple[Experiment, nn.Module], tmp_path: Path
) -> None:
    exp, model = longer
    path = tmp_path / "last.pth"
    torch.save(change(torch.load(RUN / "checkpoints" / "last.pth", weights_only=True)), path)
    with pytest.raises(UserError) as caught:
        restore(exp, new_state(exp, copy.deepcopy(model)), path)
    assert fragment in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.integration
def test_resume_with_damaged_checkpoint_prints_one_error(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, fragment = CHECKPOINTS[0]
    path = run / "checkpoints" / "last.pth"
    rewrite(path, change)
    assert resume(run, "epochs=3", f"resume={path}") == 2
    printed = capsys.readouterr().err
    assert fragment in printed
    assert str(path) in printed


@pytest.mark.integration
def test_resume_skips_damaged_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(run / "checkpoints" / "last.pth", lambda state: {**state, "step": "x"})
    assert resume(run, "epochs=3") == 0
    assert f"skipped: {run}/checkpoints/last.pth: step: must be a whole number" in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda state: {**state, "config": 5}, "must be a mapping, not a whole number"),
        (lambda state: {**state, "config": None}, "must be a mapping, not null"),
        (lambda state: {**state, "classes": 5}, "classes: must be a list"),
        (lambda state: {**state, "classes": [5]}, "classes: item 0: must be text"),
        (lambda state: {**state, "model": [5]}, "model: must be a mapping"),
        (lambda state: {**state, "model": {}}, "last.pth"),
        (lambda state: {**state, "step": "x"}, "step: must be a whole number"),
        (lambda state: {**state, "ema": 5}, "ema: must be a mapping"),
    ],
)
def test_evaluate_refuses_damaged_checkpoint_by_name(
    change: Callable[[dict[str, Any]], Any], fragment: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "checkpoints" / "last.pth"
    rewrite(path, change)
    assert run_command(evaluate.main, [f"run={path}", "device=cpu"]) == 2
    assert fragment in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize(("name", "content"), [row for row in CONTINUES if "/" not in row[0]])
def test_compare_shows_run_with_damaged_file(
    name: str, content: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, run.parent / "b")
    (run / name).write_text(content)
    assert run_command(compare.main, [str(run.parent), "metric=val/loss"]) == 0
    assert "2 runs" in capsys.readouterr().out


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.integration
def test_resume_replaces_manifest_of_another_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All names are the same, so every checkpoint seems to be damaged; one of them is."""
    manifest = run / "checkpoints" / "manifest.json"
    shutil.copy(GOLDEN_DIR / "run_folders" / "as_of_targets" / "checkpoints" / "manifest.json", manifest)
    flip_bit(run / "checkpoints" / "step_6.pth")
    assert resume(run, "epochs=3") == 0
    printed = capsys.readouterr().out
    assert f"{manifest}: does not describe the checkpoints of this folder" in printed
    assert "intact: best.pth, step_8.pth, last.pth" in printed
    assert "/checkpoints/last.pth after step 8" in printed
    assert run_command(evaluate.main, [f"run={run}", "device=cpu"]) == 0  # best.pth, of step 4


@pytest.mark.integration
def test_resume_keeps_manifest_if_all_checkpoints_are_damaged(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run / "checkpoints" / "manifest.json"
    before = manifest.read_bytes()
    for path in run.glob("checkpoints/*.pth"):
        flip_bit(path)
    assert resume(run, "epochs=3") == 2
    assert "none of its checkpoints can be read" in capsys.readouterr().err
    assert manifest.read_bytes() == before


@pytest.mark.integration
def test_resume_reports_damaged_best_checkpoint_before_training(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_bit(run / "checkpoints" / "best.pth")
    assert resume(run, "epochs=3") == 0
    before, _, _ = capsys.readouterr().out.partition("resumed from")
    assert f"warning: {run}/checkpoints/best.pth: is damaged" in before
    assert "it is only written again if a later evaluation is better" in before


@pytest.mark.integration
@pytest.mark.parametrize("name", [".lock", "log.txt", "metrics.jsonl", "bad_samples.jsonl", "eval", "checkpoints"])
def test_resume_refuses_link_out_of_run_folder(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run folder of somebody else does not choose what is written: a run appends to log.txt, and empties .lock."""
    victim = run.parent.parent / "victim"
    if name in ("eval", "checkpoints"):
        (run / name).rename(victim)
    else:
        victim.write_text("precious")
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    before = [path.stat().st_mtime_ns for path in [victim, *victim.glob("*")]]
    assert resume(run, "epochs=3") == 2
    assert f"{run / name}: is a symbolic link out of the run folder" in capsys.readouterr().err
    assert [path.stat().st_mtime_ns for path in [victim, *victim.glob("*")]] == before


@pytest.mark.integration
def test_images_replace_links(run: Path) -> None:
    victim = run.parent.parent / "victim"
    victim.write_text("precious")
    for name in ("curves.png", "eval/confusion.png"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)
    assert resume(run, "epochs=3", "log.plots=true") == 0
    assert victim.read_text() == "precious"
    assert (run / "curves.png").is_file()
    assert not (run / "curves.png").is_symlink()


@pytest.mark.integration
def test_evaluate_refuses_report_folder_that_is_a_link(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "eval").rename(run.parent.parent / "victim")
    (run / "eval").symlink_to(run.parent.parent / "victim")
    assert run_command(evaluate.main, [f"run={run}", "device=cpu"]) == 2
    assert f"{run / 'eval'}: is a symbolic link out of the run folder" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("name", ["x" * 5000, "a\nb.pth", "", "..", "/etc/passwd"])
def test_resume_ignores_manifest_with_impossible_file_name(
    name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"name": name, "sha256": "x", "size": 1, "step": 1}]
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    (run / "checkpoints" / "manifest.json").write_text(json.dumps({"sha256": digest, "files": entries}))
    assert resume(run, "epochs=3") == 0
    assert "manifest.json: names a file of another folder, or one that cannot exist" in capsys.readouterr().out
