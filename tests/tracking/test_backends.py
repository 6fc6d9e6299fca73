"""Where the numbers go, read back: metrics.jsonl and TensorBoard's event files."""

import json
import math

import pytest

from vexp.tracking.backends import JsonLines, TensorBoard, read_records, truncate_after_step

RECORDS = [
    {"mode": "val", "step": 0, "epoch": 0, "top1_acc": 0.125, "loss": 2.0794415416798357, "time/eval": 0.5},
    {"mode": "train", "step": 10, "epoch": 1, "lr": 0.1, "loss": 1 / 3, "grad_norm": 1e-17, "time/step": 0.1},
    {"mode": "train", "step": 20, "epoch": 2, "lr": 0.05, "loss": math.pi, "skipped_steps": 2, "time/step": 0.1},
    {"mode": "val", "step": 20, "epoch": 2, "top1_acc": 0.3, "loss": 1.1, "time/eval": 0.4},
    {"mode": "train", "step": 30, "epoch": 3, "lr": 0.1 + 0.2, "loss": 1e300, "time/step": 0.1},
]


def written(path, records=RECORDS):
    sink = JsonLines(path)
    for record in records:
        sink.write(record)
    sink.close()
    return path


def test_json_lines_numbers_keep_full_precision(tmp_path):
    path = written(tmp_path / "metrics.jsonl")
    assert read_records(path) == RECORDS
    assert [json.loads(line) for line in path.read_text().splitlines()] == RECORDS  # one object a line, whoever reads


def test_json_lines_keeps_numbers_that_are_not_finite(tmp_path):
    path = written(
        tmp_path / "metrics.jsonl", [{"mode": "train", "step": 1, "epoch": 1, "loss": math.nan, "grad_norm": math.inf}]
    )
    (record,) = read_records(path)
    assert math.isnan(record["loss"])
    assert record["grad_norm"] == math.inf


def test_json_lines_writes_each_line_at_once(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write(RECORDS[0])
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS[:1]
    sink.close()


def test_json_lines_appends_to_existing_file(tmp_path):
    written(tmp_path / "metrics.jsonl", RECORDS[:2])
    assert read_records(written(tmp_path / "metrics.jsonl", RECORDS[2:])) == RECORDS


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_read_records_skips_truncated_last_line(tmp_path, cut):
    path = written(tmp_path / "metrics.jsonl")
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert read_records(path) == RECORDS[:-1]
    truncate_after_step(path, 99)
    assert path.read_bytes().endswith(b"}\n")  # the next record gets a line of its own
    assert read_records(written(path, RECORDS[-1:])) == RECORDS


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (99, 5),
        (30, 5),
        (29, 4),
        (20, 4),  # what belongs to the checkpoint's own step stays
        (10, 2),
        (9, 1),
        (0, 1),  # the evaluation before training
    ],
)
def test_truncate_after_step_keeps_earlier_records(tmp_path, step, kept):
    path = written(tmp_path / "metrics.jsonl")
    truncate_after_step(path, step)
    assert read_records(path) == RECORDS[:kept]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_truncate_after_step_without_records(tmp_path):
    truncate_after_step(tmp_path / "metrics.jsonl", 0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "metrics.jsonl").write_text("")
    truncate_after_step(tmp_path / "metrics.jsonl", 0)
    assert read_records(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("resumed", [False, True])
def test_tensorboard_events_equal_records(tmp_path, monkeypatch, resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records = RECORDS[:4]
    killed = [records[0], records[1], *(record | {"loss": 99.0} for record in records[2:])]
    for part, first_step in ((killed, 1), (records[2:], 11)) if resumed else ((records, 1),):
        sink = TensorBoard(tmp_path / "events", first_step)  # the second hides what the first wrote from step 11 on
        for record in part:
            sink.write(record)
        sink.close()
        monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)  # event files are read in the order of their seconds
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    expected = {}
    for record in records:
        for name in record.keys() - {"mode", "step", "epoch"}:
            expected.setdefault(f"{record['mode']}/{name}", []).append((record["step"], record[name]))
    assert sorted(events.Tags()["scalars"]) == sorted(expected)
    for tag, points in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert found == [(step, pytest.approx(value, rel=1e-7)) for step, value in points], tag  # single precision
