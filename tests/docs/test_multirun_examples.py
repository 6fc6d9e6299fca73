"""Every line of every example of a sweep composes, with every value of each swept key; the small ones are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra.core.override_parser.types import IntervalSweep
from support.paths import ROOT

from vexp import compose
from vexp.config.overrides import normalize, split_flags
from vexp.sweep.job_overrides import SweepOverrides, values

SCRIPTS = sorted((ROOT / "multirun_examples").glob("*.sh"))
#: Settings under which a laptop's example takes seconds.
SMALL = [
    "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=1",
    "log=text", "device=cpu",
]  # fmt: skip


def commands(script: Path) -> list[list[str]]:
    lines = script.read_text().splitlines()
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.integration
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_multirun_example_lines_compose(script: Path) -> None:
    comment = [line for line in script.read_text().splitlines() if line.startswith("# ")]
    assert "?" in comment[0], "an example opens with the question that it answers"
    assert any(word in " ".join(comment) for word in ("minute", "not for a laptop")), "and says how long it takes"
    *sweeps, last = commands(script)
    assert sweeps
    for command in sweeps:
        assert command[-1] == "$@"  # more words may be given
        if command[0] == "torchrun":  # one run of many processes
            assert command[command.index("-m") + 1] == "vexp.train"
            compose(command[command.index("-m") + 2 : -1])
            assert last == ["vexp", "compare", "runs/two_machines"]
            return
        assert command[:2] == ["vexp", "train"]
        flags, words = split_flags(command[2:-1])
        assert flags == ["-m"]
        assert f"sweep.name={script.stem}" in words
        read = SweepOverrides.parse(normalize(words), loader=None)
        axes = []
        for override in read.swept:
            found = override.value()
            interval = isinstance(found, IntervalSweep)
            ends = [f"{override.get_key_element()}={end}" for end in (found.start, found.end)] if interval else []
            axis = ends or values(override)
            axes.append([axis[0], axis[-1]] if re.search(r"=[-+.\de]+$", axis[0]) else axis)  # of numbers the ends
        for cell in zip_longest(*axes):  # each value once, beside the first ones of the others
            compose([*read.fixed, *(word or axis[0] for word, axis in zip(cell, axes, strict=True))])
    assert last == ["vexp", "compare", f"runs/sweeps/{script.stem}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lr_policy_x_optimizer", "lr_range", "optuna_search", "precision", "sampling", "seeds"]
)
def test_multirun_example_runs(name: str, tmp_path: Path) -> None:
    if name == "optuna_search":
        pytest.importorskip("optuna")
    script = next(script for script in SCRIPTS if script.stem == name)
    more = ["hydra.sweeper.n_trials=3"] if name == "optuna_search" else []
    more += ["grad.max_nonfinite_steps=9"] if name == "precision" else []  # half precision of CPUs is not to be trusted
    text = re.sub(r"^vexp ", f"{sys.executable} -m vexp ", script.read_text(), flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-e", "-c", text, name, *SMALL, *more], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / "runs" / "sweeps" / name
    assert len(list(folder.glob("*/result.json"))) == {"optuna_search": 3, "precision": 3, "seeds": 5}.get(name, 6)
