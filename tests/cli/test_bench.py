"""``vexp bench`` on the embedded data: what it prints, and what it refuses."""

import json
import re

import pytest
from support.commands import run_command
from support.encode import write_video

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
    assert result["trials"] or result["untried"] or result["failed"]
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
    monkeypatch.setattr(measure, "_rate", lambda work, seconds, device=None, group=1: work())
    assert run.training(600.0) == 8  # two batches of four
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


@pytest.mark.slow
def test_advice_of_bench_gains_what_it_measured_where_decoding_is_the_limit(tmp_path, monkeypatch):
    """The decoder limits a small model on videos with few key frames; the advice is applied to a second bench."""
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    for split, count in {"train": 8, "val": 1}.items():
        for number in range(count):
            folder = tmp_path / "videos" / split / f"class_{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            write_video(folder / f"{number}.mp4", frames=250, size=(340, 256), gop=250)
    run = ["data=folder", f"data.root={tmp_path}/videos", "model.width=8", "data.batch_size=4", "device=cpu"]
    run += ["backend.threads=1", "data.num_workers=1"]

    def bench(*arguments):
        run_command("bench", *run, *arguments, f"json={tmp_path}/bench.json")
        return json.loads((tmp_path / "bench.json").read_text())

    before = bench("seconds=100")
    assert before["limit"] == "decode"
    gains = {trial["candidate"]["override"]: trial["gain"] for trial in before["trials"] if trial["is_certain"]}
    assert gains["data.cache=proxy"] > 0.2
    advice = max(gains, key=lambda override: gains[override])
    assert f"{advice} gained" in before["conclusion"]
    after = bench(advice, "seconds=100", "--no-trials")
    ratio = after["samples_per_second"]["training"] / before["samples_per_second"]["training"]
    assert ratio > 1.2
    assert 0.6 < ratio / (1 + gains[advice]) < 1.6  # the machine need not be idle
    assert not (tmp_path / "cache").exists()
