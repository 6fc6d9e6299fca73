"""All metrics of a run: the same numbers everywhere, and none of them but metrics.jsonl can end a run."""

import csv
import errno
import json
import sys
import threading
import time

import pytest

from vexp import compose, train
from vexp.tracking import logger as logger_module
from vexp.tracking.backends import Csv, JsonLines, TensorBoard, read_records, truncate_after_step
from vexp.tracking.config import Log
from vexp.tracking.logger import MetricLogger

RECORDS = [
    {"mode": "train", "step": 2, "epoch": 1, "lr": 1e-6, "loss": 1 / 3, "time/step": 0.1},
    {"mode": "val", "step": 3, "epoch": 1, "top1_acc": 0.125, "loss": 2.0794415416798357, "time/eval": 0.5},
    {"mode": "train", "step": 4, "epoch": 2, "lr": 1e-6, "lr/1": 1e-7, "loss": 0.3, "grad_norm": 4.5, "time/step": 0.1},
]


def metric_logger(folder, first_step=1, **options):
    return MetricLogger(folder, Log(**options), first_step=first_step, config={})


def test_metric_logger_writes_the_same_record_to_every_backend(tmp_path, caplog):
    """The originals' second logger saw an emptied buffer, or fired whenever the first did."""
    metrics = metric_logger(tmp_path, tensorboard=True, csv=True)
    for record in RECORDS:
        metrics.write(record)
    metrics.close()
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS
    assert table(tmp_path) == RECORDS
    assert events(tmp_path) == flat(RECORDS)
    assert caplog.messages == []


def table(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [{k: v if k == "mode" else json.loads(v) for k, v in row.items()} for row in rows]


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in sorted(found.Tags()["scalars"])}


def flat(records):
    tags = {}
    for record in records:
        for name, value in record.items():
            if name not in ("mode", "step", "epoch"):
                point = (record["step"], pytest.approx(value, rel=1e-7))  # event files hold single precision
                tags.setdefault(f"{record['mode']}/{name}", []).append(point)
    return dict(sorted(tags.items()))


def test_metric_logger_resume_rewrites_csv(tmp_path):
    for part, first_step in ((RECORDS, 1), (RECORDS[2:], 4)):
        truncate_after_step(tmp_path / "metrics.jsonl", first_step - 1)
        metrics = metric_logger(tmp_path, first_step, csv=True, tensorboard=True)
        for record in part:
            metrics.write(record)
        metrics.close()
    assert table(tmp_path) == RECORDS
    assert events(tmp_path) == flat(RECORDS)


@pytest.mark.parametrize(("sink", "method"), [(Csv, "write"), (TensorBoard, "write"), (TensorBoard, "close")])
def test_failing_backend_is_dropped_with_one_warning(tmp_path, monkeypatch, caplog, sink, method):
    def fail(*_):
        raise RuntimeError("server is away\nand more")

    metrics = metric_logger(tmp_path, csv=True, tensorboard=True)
    monkeypatch.setattr(sink, method, fail)
    for record in RECORDS:
        metrics.write(record)
    metrics.close()
    name = sink.__name__.lower()
    (message,) = caplog.messages
    assert message.startswith(f"log.{name} failed")
    assert "(RuntimeError: server is away)" in message
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS


def test_missing_package_of_a_backend_is_a_warning(tmp_path, monkeypatch, caplog):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else real(name, *a))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    metric_logger(tmp_path, wandb=Log().wandb.__class__(mode="offline")).close()
    (message,) = caplog.messages
    assert "pip install 'vexp[wandb]'" in message


def test_unwritable_metrics_raise(tmp_path, monkeypatch):
    """And half a line is an error, not a success."""
    metrics = metric_logger(tmp_path)

    class Full:
        name = "metrics.jsonl"

        def write(self, line):
            return len(line) // 2

    metrics.close()
    monkeypatch.setattr(metrics._record, "_file", Full())
    with pytest.raises(OSError, match="No space left") as error:
        metrics.write(RECORDS[0])
    assert error.value.errno == errno.ENOSPC


def test_json_lines_keeps_full_precision(tmp_path):
    """The originals' JSON log kept five decimals."""
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write(RECORDS[0])
    sink.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["lr"] == 1e-6


class Stub:
    """A service: ``hangs`` and ``raises`` are methods; it waits in the former until the test ends."""

    def __init__(self, end, hangs="", raises=""):
        self.end, self.hangs, self.raises, self.records = end, hangs, raises, []
        self.reach("init")

    def reach(self, method):
        if method == self.hangs:
            self.end.wait(600)
        if method == self.raises:
            raise RuntimeError("server is away")

    def write(self, record):
        self.reach("log")
        self.records.append(record)

    def close(self):
        self.reach("finish")


@pytest.fixture
def stubs(monkeypatch):
    """Replaces the backends by stubs, (name, arguments); those that hang end with the test."""
    end, made = threading.Event(), []

    def create(arguments):
        made.append(Stub(end, **arguments))
        return made[-1]

    def use(**named):
        monkeypatch.setattr(
            logger_module,
            "requested_backends",
            lambda *_, **__: {name: lambda arguments=arguments: create(arguments) for name, arguments in named.items()},
        )
        return made

    yield use
    end.set()


#: What a service does -> the warning.
BAD = {
    "init takes ten minutes": ({"hangs": "init"}, "has not opened within log.timeout=0.2 seconds"),
    "init raises": ({"raises": "init"}, "failed and is dropped from here on (RuntimeError: server is away)"),
    "log never returns": ({"hangs": "log"}, "has not closed within log.timeout=0.2 seconds"),
    "log raises": ({"raises": "log"}, "failed and is dropped from here on (RuntimeError: server is away)"),
    "finish never returns": ({"hangs": "finish"}, "has not closed within log.timeout=0.2 seconds"),
    "finish raises": ({"raises": "finish"}, "failed and is dropped from here on (RuntimeError: server is away)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_service_never_stops_a_run(tmp_path, stubs, caplog, case):
    arguments, message = BAD[case]
    stubs(good={}, bad=arguments)
    start = time.monotonic()
    metrics = metric_logger(tmp_path, timeout=0.2)
    for record in RECORDS:
        metrics.write(record)
    metrics.close()
    assert time.monotonic() - start < 5.0
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS
    assert caplog.messages[0].startswith(f"log.bad {message}")
    assert len(caplog.messages) == (2 if case.startswith("init takes") else 1)  # that it is late, and left


def test_slow_service_receives_all_records(tmp_path, stubs, caplog):
    made = stubs(slow={})
    metrics = metric_logger(tmp_path)
    made[0].reach = lambda method: time.sleep(0.05)
    start = time.monotonic()
    for record in RECORDS:
        metrics.write(record)
    assert time.monotonic() - start < 0.05  # the run does not wait
    metrics.close()
    assert made[0].records == RECORDS
    assert caplog.messages == []


def test_service_too_far_behind_is_dropped(tmp_path, stubs, caplog, monkeypatch):
    monkeypatch.setattr(logger_module, "_MOST_WAITING", 2)
    stubs(bad={"hangs": "log"})
    metrics = metric_logger(tmp_path, timeout=0.2)
    for record in RECORDS * 3:
        metrics.write(record)
    metrics.close()
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "log.bad is 2 records behind and is dropped from here on"
    ]
    assert read_records(tmp_path / "metrics.jsonl") == RECORDS * 3


@pytest.mark.integration
def test_run_survives_three_bad_services(tmp_path, stubs):
    """finish() that never returns, log() that raises, init() that takes ten minutes: the run completes."""
    stubs(never_ends={"hangs": "finish"}, raises={"raises": "log"}, late={"hangs": "init"})
    overrides = [
        "data.train_clips=1", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8",
        "epochs=1", "device=cpu", "log.timeout=0.3", "log.interval=1",
    ]  # fmt: skip
    result = train.run(compose(overrides), tmp_path / "run")
    assert result["status"] == "done"
    assert [record["step"] for record in read_records(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 2]
    text = (tmp_path / "run" / "log.txt").read_text()
    for name in ("never_ends has not closed", "raises failed", "late has not opened", "late has not closed"):
        assert f"warning: log.{name}" in text
