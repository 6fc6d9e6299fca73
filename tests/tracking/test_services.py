"""What a service receives of a run that is killed, resumed from an older checkpoint, or was without the service."""

import json

import pytest
from tracking.test_loggers_of_a_run import wandb_records

from vexp.tracking.backends import JsonLines, read_records, truncate_after_step
from vexp.tracking.config import Mlflow, Wandb
from vexp.tracking.services import MlflowBackend, Service, WandbBackend


def record(step, **values):
    return {"mode": "train", "step": step, "epoch": 1, **values}


class Kept(Service):
    """Keeps what it is sent, as the tests' service; ``fails_at`` is a step at which the process is killed."""

    def __init__(self, folder, earlier, *, fails_at=None):
        super().__init__("json", folder, earlier)  # a package that is installed
        self.fails_at = fails_at
        self.rows = []
        self.run_id(lambda: "one")
        self.send_missing()

    def send(self, record):
        if record["step"] == self.fails_at:
            raise RuntimeError("killed")
        self.rows.append((self.row, record["step"]))

    def close(self):
        pass


def test_service_receives_records_that_it_missed(tmp_path):
    records = [record(step) for step in range(1, 7)]
    first = Kept(tmp_path, [], fails_at=4)
    for each in records[:3]:
        first.write(each)
    with pytest.raises(RuntimeError, match="killed"):
        first.write(records[3])
    assert first.rows == [(1, 1), (2, 2), (3, 3)]
    second = Kept(tmp_path, records[:5])  # the run went on without it, and was resumed after step 5
    second.write(records[5])
    assert second.rows == [(5, 4), (6, 5), (7, 6)]  # row 4 may have been sent


def test_service_rows_increase_after_resume_from_older_checkpoint(tmp_path):
    first = Kept(tmp_path, [])
    for step in range(1, 7):
        first.write(record(step))
    second = Kept(tmp_path, [record(1), record(2)])
    for step in range(3, 8):
        second.write(record(step))
    assert second.rows == [(7, 3), (8, 4), (9, 5), (10, 6), (11, 7)]


def test_service_added_to_a_resumed_run_receives_all_records(tmp_path):
    assert Kept(tmp_path, [record(10), record(20)]).rows == [(1, 10), (2, 20)]


def test_service_of_a_run_without_counts_starts_after_its_last_step(tmp_path):
    """Before vexp counted them, the number of a row was its step."""
    (tmp_path / "json_id").write_text("one\n")
    service = Kept(tmp_path, [record(10), record(20)])
    service.write(record(30))
    assert service.rows == [(21, 30)]


def test_service_without_library_names_the_extra(tmp_path):
    with pytest.raises(ImportError, match=r"pip install 'vexp\[no_such_package\]'"):
        Service("no_such_package", tmp_path, [])


@pytest.mark.integration
def test_wandb_loses_no_value_after_resume_from_older_checkpoint(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    parts = [[(step, step / 7) for step in range(1, 7)], [(step, step / 9) for step in range(3, 9)]]
    for number, part in enumerate(parts):
        truncate_after_step(tmp_path / "metrics.jsonl", part[0][0] - 1)
        backend = WandbBackend(tmp_path, Wandb(mode="offline"), {}, read_records(tmp_path / "metrics.jsonl"))
        lines = JsonLines(tmp_path / "metrics.jsonl")
        for step, loss in part:
            lines.write(record(step, loss=loss))
            backend.write(record(step, loss=loss))
        lines.close()
        backend.close()
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == number + 1
    wandb.teardown()
    found, rows, metrics = [], [], set()
    for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        for message in wandb_records(file):
            if message.WhichOneof("record_type") == "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in message.history.item}
                found.append((row["step"], row["train/loss"]))
                rows.append(row["_step"])
            elif message.WhichOneof("record_type") == "metric":
                metrics.add((message.metric.glob_name, message.metric.step_metric))
    assert found == parts[0] + parts[1]
    assert rows == sorted(set(rows))
    assert ("*", "step") in metrics


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
def test_mlflow_last_entry_of_a_step_is_its_value_after_resume(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    config = {"optimizer": {"type": "sgd", "paramwise": {"custom_keys": {"a|b": 1}}}}
    for records in ([record(1, loss=1.0), record(2, loss=2.0)], [record(2, **{"loss": 2.5, "AR@100": 0.5})]):
        backend = MlflowBackend(tmp_path, Mlflow(experiment="e"), config, [record(1, loss=1.0)])
        for each in records:
            backend.write(each)
        backend.close()
    client = MlflowClient(uri)
    run = client.get_run((tmp_path / "mlflow_id").read_text().strip())
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in sorted(history, key=lambda entry: entry.timestamp)} == {1: 1.0, 2: 2.5}
    assert run.data.metrics["train/AR_100"] == 0.5
    assert run.data.params["optimizer.paramwise.custom_keys.a_b"] == "1"
