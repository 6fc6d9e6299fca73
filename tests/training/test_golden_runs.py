"""Compare eight training runs with their recordings (``tests/support/golden_runs.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden_media import make_media
from support.golden_record import CLOSE, EARLY, EXACT, OUTLINE, allowed_between, first_difference, read_recording
from support.golden_runs import RECORDINGS, RUNS, check


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "motion" else pytest.mark.integration) for name in RUNS]
)
def test_run_equals_recording(name: str, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed, difference = check(name, tmp_path / "run", media)
    if allowed != EXACT:
        with capsys.disabled():
            print(f"\ngolden run {name}: {allowed.name}")
    assert difference is None, f"{difference} (allowed: {allowed.name})"


def test_every_recording_has_a_run() -> None:
    assert sorted(path.stem for path in RECORDINGS.iterdir()) == sorted(RUNS)


def test_allowed_between_fingerprints_by_machine_and_versions() -> None:
    recorded, _ = read_recording(RECORDINGS / "motion.json")
    assert allowed_between(recorded, dict(recorded)) == EXACT
    assert allowed_between(recorded, recorded | {"processor": "another"}) == CLOSE
    assert allowed_between(recorded, recorded | {"processor": "another", "av": "0"}) == OUTLINE


def test_first_difference_names_earliest_record() -> None:
    _, recorded = read_recording(RECORDINGS / "raw_frames.json")
    changed = recorded | {"metrics": [dict(record) for record in recorded["metrics"]]}
    later = next(record for record in changed["metrics"] if record["step"] > EARLY)
    later["loss"] *= 1.01
    assert first_difference(recorded, changed, CLOSE) is None
    place = f"metrics.jsonl, {later['mode']} record of step {later['step']}: loss {later['loss']!r}, recorded is "
    assert str(first_difference(recorded, changed, EXACT)).startswith(place)
    first = changed["metrics"][0]
    first["loss"] *= 1.001
    assert str(first_difference(recorded, changed, CLOSE)).startswith(
        f"metrics.jsonl, train record of step 1: loss {first['loss']!r}"
    )
    assert first_difference(recorded, changed, OUTLINE) is None
    first["lr"] *= 1.001
    assert str(first_difference(recorded, changed, OUTLINE)).startswith("metrics.jsonl, train record of step 1: lr ")
