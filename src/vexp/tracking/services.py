"""Logger backends that send the records of a run to a service: Weights & Biases, MLflow, trackio.

A run folder is one run of the service, across resumes: ``RUN/SERVICE_id`` names it. ``RUN/SERVICE_sent`` counts what
has been sent, so that a resumed run first sends the records that a killed process, or a service that was away, missed.
Addresses and credentials are read from the environment of the library, never from the config or the run folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import netrc
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexp.core.files import write_text
from vexp.tracking.backends import Record, values_of
from vexp.tracking.config import Mlflow, Trackio, Wandb

logger = logging.getLogger(__name__)


class Service:
    """Base of the backends of services: it counts the records that have been sent.

    Args:
        name: The service, as in the names of its files.
        folder: Run folder.
        earlier: Records of the earlier parts of the run.

    Attributes:
        row: Rows sent in all parts of the run, those that a resume has repeated included; it never decreases.

    Raises:
        ImportError: If the library of the service is not installed.
    """

    def __init__(self, name: str, folder: Path, earlier: list[Record]) -> None:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"{name} is not installed: pip install 'vexp[{name}]'")
        self._id, self._mark = folder / f"{name}_id", folder / f"{name}_sent"
        self._earlier, self._sent, self.row = earlier, 0, 0
        if self._mark.exists():
            self._sent, self.row = map(int, self._mark.read_text().split())
        elif self._id.exists():  # of vexp 0.1.0, whose rows had the numbers of their steps
            self._sent, self.row = len(earlier), max((record["step"] for record in earlier), default=0)

    def run_id(self, create: Callable[[], str], exists: Callable[[str], bool] = lambda _: True) -> str:
        """Return the id of the run, that of the earlier parts of the run if the service has it."""
        known = self._id.read_text().strip() if self._id.exists() else ""
        if known and exists(known):
            return known
        self._sent = 0
        self._id.write_text(create() + "\n")
        return self._id.read_text().strip()

    def send_missing(self) -> None:
        """Send the records of the earlier parts of the run that the service did not receive."""
        self._sent = min(self._sent, len(self._earlier))
        for record in self._earlier[self._sent :]:
            self.write(record)

    def write(self, record: Record) -> None:
        """Send a record, and count it before and after: after a kill in between, its row is not used again."""
        self.row += 1
        self._count()
        self.send(record)
        self._sent += 1
        self._count()

    def send(self, record: Record) -> None:
        """Send a record as row number ``row``."""
        raise NotImplementedError

    def close(self) -> None:
        """End the run of the service."""
        raise NotImplementedError

    def _count(self) -> None:
        write_text(self._mark, f"{self._sent} {self.row}\n")


class WandbBackend(Service):
    """Weights & Biases: each value as MODE/NAME over ``step``, which is the x axis of all charts.

    W&B drops what is logged at a step that it has passed, as after a resume from an older checkpoint. Its own step is
    therefore the number of the row, and the optimizer step is a value. W&B writes its own files to ``wandb/`` in the
    run folder, and displays ``config``.
    """

    def __init__(self, folder: Path, options: Wandb, config: dict[str, Any], earlier: list[Record]) -> None:
        super().__init__("wandb", folder, earlier)
        import wandb

        mode = ("online" if _has_wandb_key() else "offline") if options.mode == "auto" else options.mode
        (folder / "wandb").mkdir(exist_ok=True)  # otherwise wandb uses a temporary folder
        self._run = wandb.init(
            project=options.project, entity=options.entity, group=options.group, tags=options.tags,
            id=self.run_id(lambda: _random_id(folder)), name=_run_name(folder), resume="allow", dir=str(folder),
            mode=mode, config=config, settings=wandb.Settings(console="off", silent=True),  # type: ignore[arg-type]
        )  # fmt: skip
        self._run.define_metric("*", step_metric="step")
        upload = f"; upload it with: wandb sync {folder}/wandb/offline-run-*" if mode == "offline" else ""
        logger.info(f"wandb: {mode}, run {self._run.id} of project {options.project}{upload}")
        self.send_missing()

    def send(self, record: Record) -> None:
        self._run.log(values_of(record) | {"step": record["step"], "epoch": record["epoch"]}, step=self.row)

    def close(self) -> None:
        self._run.finish()


class MlflowBackend(Service):
    """MLflow: each value as the metric MODE/NAME at its step (AR@100 as AR_100), and the config as parameters.

    The address is that of the environment variable MLFLOW_TRACKING_URI, by default the file mlflow.db in the working
    folder, which needs no server: ``mlflow ui --backend-store-uri sqlite:///mlflow.db``. A resumed run logs the steps
    that it repeats again; the last entry of a step is its value.
    """

    def __init__(self, folder: Path, options: Mlflow, config: dict[str, Any], earlier: list[Record]) -> None:
        super().__init__("mlflow", folder, earlier)
        for name in ("mlflow", "alembic"):  # they report every table of a new file
            logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        client = self._client = MlflowClient(uri)
        self._metric = Metric
        found = client.get_experiment_by_name(str(options.experiment))
        experiment = found.experiment_id if found else client.create_experiment(str(options.experiment))

        def exists(run_id: str) -> bool:
            try:
                return bool(client.get_run(run_id))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False

        def create() -> str:
            run_id = str(client.create_run(experiment, tags=options.tags, run_name=_run_name(folder)).info.run_id)
            parameters = [Param(_mlflow_name(key), str(value)[:6000]) for key, value in _flat(config)]
            for start in range(0, len(parameters), 100):  # the most that a request may hold
                client.log_batch(run_id, params=parameters[start : start + 100])
            return run_id

        self._run_id = self.run_id(create, exists)
        client.update_run(self._run_id, status="RUNNING")
        logger.info(f"mlflow: run {self._run_id} of experiment {options.experiment}")
        self.send_missing()

    def send(self, record: Record) -> None:
        values, now = values_of(record) | {"epoch": record["epoch"]}, round(time.time() * 1000)
        metrics = [
            self._metric(_mlflow_name(key), value, now, record["step"])
            for key, value in values.items()
            if isinstance(value, int | float)
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


class TrackioBackend(Service):
    """Trackio: each value as MODE/NAME over the step, in a file below TRACKIO_DIR; ``trackio show`` displays it.

    With the environment variable TRACKIO_SPACE_ID it is sent to a Space of the Hugging Face Hub. A resumed run logs the
    steps that it repeats again; the last row of a step has its values.
    """

    def __init__(self, folder: Path, options: Trackio, config: dict[str, Any], earlier: list[Record]) -> None:
        super().__init__("trackio", folder, earlier)
        import trackio

        project, name = str(options.project), self.run_id(lambda: f"{_run_name(folder)} {_random_id(folder)[:6]}")
        shown = {key: value for key, value in config.items() if not key.startswith("_")}  # such keys are its own
        self._run: Any = trackio.init(
            project, name=name, group=options.group, config=shown, resume="allow", embed=False, auto_log_gpu=False,
            auto_log_cpu=False,
        )  # fmt: skip
        self.send_missing()

    def send(self, record: Record) -> None:
        self._run.log(values_of(record) | {"epoch": record["epoch"]}, step=record["step"])

    def close(self) -> None:
        self._run.finish()


def _run_name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _random_id(folder: Path) -> str:
    return hashlib.sha256(f"{folder} {os.urandom(8).hex()}".encode()).hexdigest()[:12]


def _mlflow_name(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return (dotted key, value) of nested dicts."""
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [row for key, item in value.items() for row in _flat(item, f"{path}.{key}" if path else str(key))]


def _has_wandb_key() -> bool:
    """Return whether wandb finds an API key without prompting for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
