"""``vexp explain``: what a person reads, of a key, a group, a whole config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import ROOT

from vexp.cli import explain
from vexp.config.compose import compose_with_provenance
from vexp.config.instantiate import to_dict
from vexp.config.keys import config_keys, parts_of
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import UserError

OVERRIDES = [
    "experiment=r3d_18",
    "lr.warmup_iters=24",
    "lr.warmup_by_epoch=false",
    "~pipeline.train.flip",
]  # the page's, and a step less


@pytest.fixture(scope="module")
def traced() -> tuple[Config, Provenance]:
    return compose_with_provenance(OVERRIDES)


@pytest.fixture
def asked(
    traced: tuple[Config, Provenance], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """What the command prints for names, of one config composed once."""
    monkeypatch.setattr(explain, "compose_with_provenance", lambda overrides, **_: traced)
    monkeypatch.chdir(ROOT)

    def ask(*names: str) -> str:
        explain.main(names)
        return capsys.readouterr().out

    return ask


def test_explain_key_prints_page_example(asked: Any) -> None:
    """The example of docs/howto/debug_a_run.md to the letter, but for the line that the default stands on."""
    page = (ROOT / "docs" / "howto" / "debug_a_run.md").read_text()
    example = page.partition("$ vexp explain lr_config.warmup_iters")[2].partition("```")[0].split("\n", 1)[1]
    text = asked("lr_config.warmup_iters")
    lines = r"(?<=\.py:)\d+"
    assert re.sub(lines, "N", text).strip() == re.sub(lines, "N", example).strip()
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_explain_group_prints_option_and_keys(asked: Any) -> None:
    text = asked("eval")
    assert "eval = every_epoch (Eval)" in text
    assert "chosen by    every_epoch  conf/train.yaml:" in text
    assert "evaluations: 45: after epochs 1, 2, 3, 4 ... 44, 45" in text
    assert "eval.save_best = auto" in text
    assert "optimizer.lr = 0.01" in asked("optimizer")
    assert "<- conf/experiment/r3d_18.yaml:11" in asked("optimizer")  # of a value that is no default


def test_explain_name_that_is_no_key_of_run(asked: Any) -> None:
    assert asked("pipeline.train.flip").strip() == (
        "pipeline.train.flip: left out of this run (command line: ~pipeline.train.flip)"
    )
    text = asked("lr_policy.power")
    assert "lr_policy.power (no key of this run)" in text
    assert "lr_policy=poly" in text
    assert "lr_policy=inv" in text
    assert asked("FormatShape").startswith("FormatShape: no key; clips are converted on the device")
    assert asked("num_clips").startswith("pipeline.train.sample.num_clips = 1")  # three of them, each in full


def test_explain_without_key_prints_yaml_with_origins(asked: Any, traced: tuple[Config, Provenance]) -> None:
    config, _ = traced
    text = asked()
    assert yaml.safe_load(text) == to_dict(config)
    lines = {line.split("#")[0].strip(): line for line in text.splitlines()}
    assert lines["lr: 0.01"].endswith("  # conf/experiment/r3d_18.yaml:11")
    assert lines["warmup_iters: 24"].endswith("  # command line: lr_policy.warmup_iters=24")
    assert lines["optimizer:"].endswith("  # sgd, conf/experiment/r3d_18.yaml:8")
    leaves = [key for key, value in config_keys(config) if not parts_of(value)]
    assert sum("# " in line for line in text.splitlines()) >= len(leaves)  # every value has an origin


def test_explain_unknown_key_is_refused(asked: Any) -> None:
    with pytest.raises(UserError, match="did you mean lr_policy"):
        asked("warmup_itres")


@pytest.mark.parametrize("width", [40, 80])
def test_explain_in_narrow_terminal_prints_everything(width: int, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_UNLIMITED", width)
    text = asked("eval.metrics", "eval")
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "mean_class_accuracy" in "".join(text.split())


@pytest.mark.slow
def test_explain_run_reads_saved_config(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vexp import compose, train

    train.run(compose([*tiny, "max_steps=1", "epochs=null"]), tmp_path / "run")
    capsys.readouterr()
    explain.main(["max_steps", f"run={tmp_path / 'run'}"])
    printed = capsys.readouterr().out
    assert "max_steps = 1" in printed
    assert "run/config.yaml:" in printed
