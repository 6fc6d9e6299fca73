"""``vexp bench`` on the embedded data: what it prints, and what it refuses."""

import json
import re

import pytest
from support.commands import run_command

from vexp.__main__ import main
from vexp.tools.bench.measure import Measurement

SMALL = ["data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=1", "device=cpu"]


@pytest.mark.integration
def test_bench_prints_speeds_and_conclusion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_command("bench", *SMALL, "seconds=1", "json=bench.json")
    result = json.loads((tmp_path / "bench.json").read_text())
    speeds = result["samples_per_second"]
    assert all(speeds[name] > 0 for name in ("loading", "step", "training"))
    assert result["share_of_step_alone"] == pytest.approx(speeds["training"] / speeds["step"])
    costs = result["milliseconds_per_sample"]
    assert costs["decode"] > 0
    assert costs["transport"] > 0
    assert result["limit"] in costs
    assert result["tflops"] > 0
    overrides = [trial["candidate"]["override"] for trial in result["trials"]]
    assert overrides, "nothing was tried"
    assert result["conclusion"].endswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_bench_without_trials_prints_table(capsys):
    output = run_command("bench", *SMALL, "seconds=1", "--no-trials")
    assert re.search(r"^data loading alone .* samples/s with 1 workers$", output, re.MULTILINE)
    assert "when tried" not in output
    assert output.rstrip().endswith("No override was tried.")


def test_measurement_counts_samples_of_accumulated_batches(monkeypatch):
    import vexp
    from vexp.tools.bench import measure

    run = Measurement(vexp.compose([*SMALL, "grad.accumulate=2"]))
    calls = []
    monkeypatch.setattr(measure, "train_step", lambda exp, state, batches: calls.append([next(batches), next(batches)]))
    monkeypatch.setattr(measure, "_rate", lambda work, seconds, device=None: work())
    assert run.training(0.0) == 8  # two batches of four
    assert len(calls) == measure._WARM_UP_STEPS + 1


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["seconds=0"], "seconds=0.0: must be >= 1"),
        (["dist.nproc=2"], "dist.nproc=2: one process is measured"),
        (["model=no_such"], "no_such"),
        (["--trials"], "no such flag"),
    ],
)
def test_bench_refuses_bad_options(capsys, arguments, fragment):
    assert main(["bench", *arguments]) == 2
    assert fragment in capsys.readouterr().err
