"""metrics.jsonl of a run that is still written, resumed, or damaged; config.yaml in blocks."""

import json
from pathlib import Path

import numpy as np
import pytest

from vexp.config.option_types import upgrade_saved
from vexp.core.documents import read_yaml
from vexp.core.errors import UserError
from vexp.tools.compare import metrics_file
from vexp.tools.compare.config_blocks import flatten, read_config
from vexp.tools.compare.metrics_file import MetricsFile


def line(step, value, mode="train", epoch=1):
    return json.dumps({"mode": mode, "step": step, "epoch": epoch, "loss": value, "time/step": 0.1}) + "\n"


def values(file):
    series = file.series["train/loss"]
    return list(zip(series.steps.tolist(), series.epochs.tolist(), series.values.tolist(), strict=True))


@pytest.fixture
def parsed(monkeypatch):
    """The lines that have been parsed."""
    lines = []
    original = metrics_file.parse_record

    def counted(text, place):
        lines.append(text)
        return original(text, place)

    monkeypatch.setattr(metrics_file, "parse_record", counted)
    return lines


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_read_parses_appended_lines_only(tmp_path, parsed):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    assert not file.read()  # there is none yet
    path.write_text("".join(line(step, step / 10) for step in range(1, 101)))
    assert file.read()
    assert not file.read()
    assert len(parsed) == 100
    append(path, line(101, 0.5, epoch=2))
    assert file.read()
    assert len(parsed) == 101
    assert values(file)[-2:] == [(100, 1, 10.0), (101, 2, 0.5)]
    assert list(file.series) == ["train/loss"]  # no timings
    path.unlink()
    assert file.read()
    assert (file.series, file.read()) == ({}, False)


def test_read_waits_for_the_rest_of_a_line(tmp_path):
    path, text = tmp_path / "metrics.jsonl", line(1, 0.5) + line(2, 0.25)
    path.write_text(text[:-9])
    file = MetricsFile(path)
    file.read()
    assert (values(file), file.damaged) == ([(1, 1, 0.5)], [2])
    append(path, text[-9:] + line(3, 0.125))
    file.read()
    assert (values(file), file.damaged) == ([(1, 1, 0.5), (2, 1, 0.25), (3, 1, 0.125)], [])


def test_read_accepts_record_without_newline(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1, 0.5).rstrip())
    file = MetricsFile(path)
    file.read()
    append(path, "\n" + line(2, 0.25))
    file.read()
    assert (values(file), file.damaged) == ([(1, 1, 0.5), (2, 1, 0.25)], [])


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("later", [1, 50])  # shorter than before, and longer
def test_read_again_after_resume(tmp_path, in_place, later):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line(step, 1.0) for step in range(1, 11)))
    file = MetricsFile(path)
    file.read()
    text = "".join(line(step, 2.0) for step in range(6, 6 + later))
    resumed = "".join(line(step, 1.0) for step in range(1, 6)) + text
    if in_place:
        path.write_text(resumed)
    else:
        (tmp_path / "new").write_text(resumed)
        (tmp_path / "new").replace(path)
    file.read()
    assert [step for step, _, _ in values(file)] == list(range(1, 6 + later))
    assert values(file)[5] == (6, 1, 2.0)


def test_read_lists_damaged_lines_once(tmp_path):
    path, huge = tmp_path / "metrics.jsonl", "9" * 400
    bad = ["[]", '{"mode": "val"}', line(10**20, 1).strip(), line(-1, 1).strip(), line(2, 1).replace("1", huge).strip()]
    path.write_text(line(1, 0.5) + "\n".join(bad) + "\n" + line(3, float("nan")))
    file = MetricsFile(path)
    file.read()
    append(path, "{\n" + line(4, 0.25))
    file.read()
    assert file.damaged == [2, 3, 4, 5, 6, 8]
    assert file.series["train/loss"].steps.tolist() == [1, 3, 4]
    assert np.isnan(file.series["train/loss"].values[1])


def test_steps_per_epoch_prefers_evaluations(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(5, 1.0) + line(9, 1.0))
    file = MetricsFile(path)
    file.read()
    assert file.steps_per_epoch == 9
    append(path, line(8, 1.0, "val") + line(30, 1.0))
    file.read()
    assert file.steps_per_epoch == 8


def test_read_refuses_pipe(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be read: is a folder"):
        MetricsFile(tmp_path / "metrics.jsonl").read()


@pytest.mark.parametrize(
    "text",
    [
        "seed: 3\nmodel:\n  type: tiny\n  sizes:\n  - 1\n  - 2\nplugins: []\n",
        "list:\n- 1\n- a: 2\n  b: 3\ntext: 'a\n\n  b'\nempty:\n",
        "# a comment\nseed: 3\n",  # not as vexp writes it
        "seed: 3\nseed: 4\n",
        "a: |\n  x\n\n  y\nb: 2\n",
        "{a: 1, b: 2}\n",
        "a: 1\nb: 2",
        "---\na: 1\n...\n",
        "a: {b: 1,\n c: 2}\nd: yes\n",
    ],
)
def test_read_config_equals_whole_file(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    whole = flatten(upgrade_saved(read_yaml(tmp_path / "config.yaml", {str: object})))
    assert read_config(tmp_path / "config.yaml") == whole


@pytest.mark.parametrize(
    "text", ["a: [1\nb: 2\n", "a: &x 1\nb: *x\n", "1: 2\n", "- 1\n", "a: !!python/name:os.system\n"]
)
def test_read_config_refuses_what_the_whole_file_is_refused_for(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as whole:
        read_yaml(tmp_path / "config.yaml", {str: object})
    with pytest.raises(UserError) as found:
        read_config(tmp_path / "config.yaml")
    assert str(found.value) == str(whole.value)
