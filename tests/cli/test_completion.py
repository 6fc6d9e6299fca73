"""``vexp completion SHELL``: what each shell offers, and how long a key press takes."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from vexp.__main__ import main
from vexp.cli.complete_words import candidates
from vexp.cli.completion import script

#: Command line -> the words that may follow its last one.
OFFERED = {
    "vexp tr": ["train"],
    "vexp train optimizer=sg": ["optimizer=sgd"],
    "vexp train opti": ["optimizer=", "optimizer."],
    "vexp train lr=cos": ["lr=cosine", "lr=cosine_restart"],
    "vexp train -m lr=step,cosine_": ["lr=step,cosine_restart"],
    "vexp train optimizer=sgd optimizer.nest": ["optimizer.nesterov="],
    "vexp train optimizer=adamw optimizer.nest": [],
    "vexp train optimizer.nest": ["optimizer.nesterov="],
    "vexp plan lr_policy.warmup_i": ["lr_policy.warmup_iters="],
    "vexp train log.wandb.mode=": [f"log.wandb.mode={value}" for value in ("auto", "online", "offline", "null")],
    "vexp train deterministic=": ["deterministic=true", "deterministic=false"],
    "vexp train pipeline.train.f": ["pipeline.train.flip."],
    "vexp train ~pipeline.train.f": ["~pipeline.train.flip"],
    "vexp train pipeline.train.flip.flip_r": ["pipeline.train.flip.flip_ratio="],
    "vexp train +transform@pipeline.train.x=three": ["+transform@pipeline.train.x=three_crop"],
    "vexp train model=r3d_18 model.pr": ["model.probe=", "model.probe_depth=", "model.probe_heads="],
    "vexp train experiment=r3d": ["experiment=r3d_18"],
    "vexp train hydra/l": ["hydra/launcher="],
    "vexp train --res": ["--resume", "--resolve"],
    "vexp explain --y": ["--yaml"],
    "vexp explain run": ["run=", "run_name="],
    "vexp compare eval.int": [],  # takes no overrides
    "vexp no_such_command x": [],
}


@pytest.mark.parametrize("line", OFFERED)
def test_candidates_of_a_line(line: str) -> None:
    found = candidates(line)
    assert [word for word, _ in found] == OFFERED[line]


def test_candidates_have_the_help_texts() -> None:
    assert dict(candidates("vexp plan epo"))["epochs="].startswith("Length of training")
    assert dict(candidates("vexp ev"))["evaluate"] == "Evaluate a checkpoint, or rescore saved view logits."
    assert dict(candidates("vexp train lr=step"))["lr=step"].startswith("lr = max(base")


def test_candidates_include_options_of_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "my_sgd.yaml").write_text("defaults: [/schema/optimizer/sgd@_here_]\n")
    assert candidates(f"vexp train --config-dir {tmp_path} optimizer=my")[0][0] == "optimizer=my_sgd"
    assert candidates("vexp train optimizer=my") == []
    monkeypatch.setenv("VEXP_CONFIG_PATH", str(tmp_path))
    assert candidates("vexp train optimizer=my")[0][0] == "optimizer=my_sgd"
    assert candidates("vexp train optimizer=my_sgd optimizer.nest")[0][0] == "optimizer.nesterov="


def test_key_press_takes_less_than_a_fifth_of_a_second() -> None:
    """In CPU time, which other programs on the machine do not change."""
    file = ROOT / "src" / "vexp" / "cli" / "complete_words.py"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-S", "-I", file, "vexp train optimizer=sgd optimizer."], check=True, stdout=-3)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.2


def test_bash_completes_after_an_equals_sign(tmp_path: Path) -> None:
    """Bash splits words at = and @: it replaces only what follows."""
    lines = ["vexp train optimizer=sg", "vexp train opti", "vexp train +transform@pipeline.train.x=three", "vexp tr"]
    (tmp_path / "vexp.bash").write_text(script("bash"))
    body = f"source {tmp_path / 'vexp.bash'}\n" + "".join(
        f'COMP_LINE="{line}" COMP_POINT={len(line)}; _vexp; echo "${{COMPREPLY[*]}}"\n' for line in lines
    )
    assert run("bash", body) == ["sgd", "optimizer= optimizer.", "three_crop", "train"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_with_help_texts(tmp_path: Path) -> None:
    (tmp_path / "vexp.fish").write_text(script("fish"))
    (line,) = run("fish", f'source {tmp_path / "vexp.fish"}; complete -C "vexp train optimizer=sg"')
    assert line.startswith("optimizer=sgd\ttorch.optim.SGD")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_script_is_valid(tmp_path: Path) -> None:
    (tmp_path / "vexp.zsh").write_text(script("zsh"))
    assert run("zsh", f"source {tmp_path / 'vexp.zsh'} && whence -w _vexp && print $_comps[vexp]", "-f") == [
        "_vexp: function", "_vexp",
    ]  # fmt: skip


def run(shell: str, body: str, *flags: str) -> list[str]:
    found = subprocess.run([shell, *flags, "-c", body], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if line]


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "zsh"]])
def test_completion_rejects_other_shells(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *arguments]) == 2
    assert "must be one of bash, zsh, fish" in capsys.readouterr().err
