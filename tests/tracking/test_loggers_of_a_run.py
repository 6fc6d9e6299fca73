"""A run that was stopped and resumed, read back from every logger's own files: the numbers of metrics.jsonl."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vexp import compose, train
from vexp.tracking.backends import read_records
from vexp.training.recorder import Recorder

wandb = pytest.importorskip("wandb")
pytest.importorskip("mlflow")
#: SQLAlchemy warns of what the tables of MLflow use.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")]
HAS_TRACKIO = importlib.util.find_spec("trackio") is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stopped by SIGTERM after step 3 of 8, resumed in place; every sink on, wandb without an account."""
    overrides = [
        "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8",
        "epochs=2", "device=cpu", "log=all", "log.interval=2", "checkpoint.interval=-1", "optimizer.lr=1e-6",
        "log.mlflow.experiment=test",
        *(["log.trackio.project=test"] if HAS_TRACKIO else []),
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "all"
    real, done = Recorder.record, []

    def record(self: Recorder, *arguments: Any) -> None:
        real(self, *arguments)
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("TRACKIO_DIR", str(folder.parent / "trackio"))  # read when trackio is imported
        patch.setattr(Recorder, "record", record)
        train.run(compose(overrides), folder, overrides=overrides)
        train.run(compose([*overrides, "resume=auto"]), folder, overrides=overrides)
        yield folder
        wandb.teardown()


def expected(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """MODE/NAME -> (step, value) of metrics.jsonl."""
    points: dict[str, list[tuple[int, Any]]] = {}
    for record in read_records(folder / "metrics.jsonl"):
        for name in record.keys() - {"mode", "step", "epoch"}:
            points.setdefault(f"{record['mode']}/{name}", []).append((record["step"], record[name]))
    return points


def test_run_logs_expected_steps(folder: Path) -> None:
    steps = [(record["mode"], record["step"]) for record in read_records(folder / "metrics.jsonl")]
    assert steps == [("train", 2), ("train", 4), ("val", 4), ("train", 6), ("train", 8), ("val", 8)]
    names = expected(folder).keys()
    assert names >= {"train/loss", "train/lr", "train/time/data", "train/time/peak_rss_mb", "val/top1_acc", "val/loss"}
    assert "warning" not in (folder / "log.txt").read_text()


def test_tensorboard_of_run_equals_metrics(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {
        tag: [(step, pytest.approx(value, rel=1e-7)) for step, value in points]  # single precision
        for tag, points in expected(folder).items()
    }


def test_csv_of_run_equals_metrics(folder: Path) -> None:
    found: dict[str, list[tuple[int, Any]]] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name in row.keys() - {"mode", "step", "epoch"}:
                if row[name]:
                    found.setdefault(f"{row['mode']}/{name}", []).append((int(row["step"]), float(row[name])))
    assert found == expected(folder)


def test_wandb_offline_of_run_equals_metrics(folder: Path) -> None:
    found: dict[str, list[tuple[int, Any]]] = {}
    rows: list[int] = []
    ids, files = set(), sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    for file in files:
        for record in wandb_records(file):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            elif record.WhichOneof("record_type") == "history":
                values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                rows.append(values["_step"])
                for tag in values.keys() - {"epoch", "step", "_step", "_runtime", "_timestamp"}:
                    found.setdefault(tag, []).append((values["step"], values[tag]))
    assert found == expected(folder)  # in full precision
    assert rows == sorted(set(rows))  # what is logged at an earlier step is dropped by W&B
    assert len(files) == 2  # before the signal, and after it
    assert ids == {(folder / "wandb_id").read_text().strip()}  # one run


def test_mlflow_file_of_run_equals_metrics(folder: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'test'")
    (run,) = client.search_runs([experiment.experiment_id])  # one run, although it was resumed
    assert run.info.run_id == (folder / "mlflow_id").read_text().strip()
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.type"] == "adamw"
    assert run.data.params["optimizer.lr"] == "1e-06"
    found = {
        tag: [(entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, tag)]
        for tag in run.data.metrics.keys() - {"epoch"}
    }
    assert found == expected(folder)  # in full precision


@pytest.mark.skipif(not HAS_TRACKIO, reason="trackio is not installed")
def test_trackio_file_of_run_equals_metrics(folder: Path) -> None:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("test")  # one run, although it was resumed
    assert run.name == (folder / "trackio_id").read_text().strip()
    assert run.config["optimizer"]["lr"] == 1e-6
    found: dict[str, list[tuple[int, Any]]] = {}
    for row in SQLiteStorage.get_logs("test", run.name, run_id=run.id):
        for tag in row.keys() - {"epoch", "step", "timestamp"}:
            found.setdefault(tag, []).append((row["step"], row[tag]))
    assert found == expected(folder)  # in full precision


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the messages of a .wandb file as wandb's own classes; wandb 0.31 has no reader.

    The format is LevelDB's log: a header of 7 bytes, then blocks of 32 KiB of chunks (checksum, length, type 1 whole, 2
    first, 3 middle, 4 last).
    """
    from wandb.proto import wandb_internal_pb2

    content, position, message = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        message += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            yield record
            message = b""
