"""The launcher hydra/launcher=ray: its loop with a simulated Ray, and, in the slow lane, sweeps on a local one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support.run_files import read_metrics
from support.sweeps import finish_times, jobs, result, start

from vexp.config.sweep import RayOptions
from vexp.core import interrupt
from vexp.core.errors import ConfigError, UserError
from vexp.sweep import ray_launcher

OVERRIDES = [["seed=0", "hydra.sweep.subdir='seed=0-aa'"], ["seed=1", "hydra.sweep.subdir='seed=1-bb'"], ["seed=2"]]


class SimulatedRay(ModuleType):
    """Tasks end one after the other, each with the next of the outcomes of its job; an exception is raised."""

    def __init__(self, outcomes: dict[str, list[Any]], resources: dict[str, float] | None = None) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        self.exceptions.RayError = type("RayError", (Exception,), {})  # type: ignore[attr-defined]
        for name in ("NodeDiedError", "TaskCancelledError", "WorkerCrashedError"):
            setattr(self.exceptions, name, type(name, (self.exceptions.RayError,), {}))
        self.outcomes, self.resources = outcomes, resources or {"CPU": 2.0}
        self.options: dict[str, Any] = {}
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.most = 0  # tasks at a time
        self.initialized: Any = None

    def init(self, address: str | None, **options: Any) -> None:
        self.initialized = (address, options)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does

    def shutdown(self) -> None:
        self.initialized = None

    def put(self, value: Any) -> Any:
        return value

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.resources}, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Any) -> Any:
        assert function is ray_launcher._run_job
        return SimpleNamespace(options=self._with_options)

    def _with_options(self, **options: Any) -> Any:
        self.options = options
        return SimpleNamespace(remote=self._start)

    def _start(self, overrides: list[str], number: int, shared: Any) -> str:
        self.started.append(f"{overrides[0]} as {number}")
        return overrides[0]

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        self.most = max(self.most, len(references))
        return references[:1], references[1:]

    def get(self, reference: str) -> Any:
        outcome = self.outcomes[reference].pop(0)
        if callable(outcome):
            outcome = outcome()
        if isinstance(outcome, str) and outcome in vars(self.exceptions):
            raise getattr(self.exceptions, outcome)(f"{outcome} of {reference}\n\nmore lines")
        return outcome

    def cancel(self, reference: str) -> None:
        self.cancelled.append(reference)
        self.outcomes[reference] = ["TaskCancelledError"]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(interrupt, "stop_requested", False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def launch(ray: SimulatedRay, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    nothing: Any = None
    return ray_launcher.launch(RayOptions(**options), nothing, nothing, nothing, OVERRIDES, 5)


def test_jobs_return_in_their_order_with_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimulatedRay({"seed=0": ["a"], "seed=1": ["b"], "seed=2": ["c"]}, {"CPU": 8.0, "GPU": 2.0, "big": 1.0})
    handler = signal.getsignal(signal.SIGTERM)
    assert launch(ray, monkeypatch, num_cpus=4, resources={"big": 1}) == ["a", "b", "c"]
    assert ray.options == {"max_retries": 0, "num_cpus": 4, "num_gpus": 1, "resources": {"big": 1}}
    assert ray.started == ["seed=0 as 5", "seed=1 as 6", "seed=2 as 7"]
    assert ray.most == 3
    assert ray.initialized is None  # ended
    assert signal.getsignal(signal.SIGTERM) is handler  # Ray's own would exit at once


def test_number_of_jobs_at_a_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimulatedRay({"seed=0": ["a"], "seed=1": ["b"], "seed=2": ["c"]})
    assert launch(ray, monkeypatch, n_jobs=2) == ["a", "b", "c"]
    assert (ray.most, ray.options["num_gpus"]) == (2, 0)


def test_job_whose_process_died_is_named_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = SimulatedRay({"seed=0": ["a"], "seed=1": ["WorkerCrashedError"], "seed=2": ["c"]})
    first, second, third = launch(ray, monkeypatch)
    assert (first, third) == ("a", "c")
    expected = "job seed=1-bb failed\nvexp: error: WorkerCrashedError: WorkerCrashedError of seed=1\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        assert second.return_value


def test_job_whose_node_died_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = SimulatedRay({"seed=0": ["NodeDiedError"] * 2 + ["a"], "seed=1": ["b"], "seed=2": ["NodeDiedError"] * 4})
    first, second, third = launch(ray, monkeypatch, max_restarts=2)
    assert (first, second) == ("a", "b")
    assert third.status.name == "FAILED"
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.endswith("NodeDiedError of seed=2") for line in lines) == 1  # the last time
    assert sum("it is started again, from its last checkpoint" in line for line in lines) == 4
    assert ray.started.count("seed=0 as 5") == 3


def test_signal_cancels_running_jobs_and_drops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def signalled() -> str:
        interrupt.stop_requested = True
        return "a"

    ray = SimulatedRay({"seed=0": [signalled], "seed=1": ["b"], "seed=2": ["c"]})
    first, *others = launch(ray, monkeypatch, n_jobs=2)
    assert first == "a"
    assert ray.cancelled == ["seed=1"]
    assert len(ray.started) == 2
    assert [type(job._return_value).__name__ for job in others] == ["TaskCancelledError", "UserError"]
    assert ray.initialized is None


def test_resources_that_no_node_has_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = SimulatedRay({"seed=0": ["a"], "seed=1": ["b"], "seed=2": ["c"]})
    launch(ray, monkeypatch, num_cpus=1, num_gpus=2)
    assert "no node of Ray has CPU=1, GPU=2; the jobs wait" in capsys.readouterr().err


def test_node_without_the_working_folder_is_named() -> None:
    with pytest.raises(UserError, match=r"has no folder /nowhere/at/all: the nodes"):
        ray_launcher._run_job([], 0, (None, None, None, None, "/nowhere/at/all", {}))


@pytest.mark.parametrize(
    ("options", "key"),
    [({"num_cpus": -1}, "num_cpus"), ({"n_jobs": 0}, "n_jobs"), ({"max_restarts": -1}, "max_restarts")],
)
def test_invalid_option_is_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        RayOptions(**options)
    assert error.value.key == key


# ---- a local Ray ----


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder for the files of Ray, whose path must be short; it is part of the commands of Ray's processes."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def processes(text: str) -> list[str]:
    """Return the commands of processes that contain a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and "pytest" not in command:
            found.append(command)
    return found


def wait_until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


LOCAL = ["hydra/launcher=ray", "hydra.launcher.address=local", "+hydra.launcher.init.num_cpus=2"]
LONG = ["seed=range(3)", "sweep.name=s", "epochs=40", "checkpoint.interval=1"]


def trained(job: Path, lines: int = 4) -> bool:
    return (job / "metrics.jsonl").exists() and len(read_metrics(job)) > lines


@pytest.mark.slow
def test_ctrl_c_stops_jobs_with_checkpoints_and_ends_ray(tmp_path: Path, sockets: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    overrides = [*LONG, *LOCAL, f"+hydra.launcher.init._temp_dir={sockets}"]
    process = start(tmp_path, overrides)
    wait_until(lambda: sum(map(trained, jobs(tmp_path))) == 2)
    assert processes(sockets)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 75
    assert "stopped by SIGINT; run the same command again to resume" in (tmp_path / "output.txt").read_text()
    assert [result(job)["status"] for job in jobs(tmp_path)] == ["interrupted", "interrupted"]
    wait_until(lambda: not processes(sockets), 20)


@pytest.mark.slow
def test_killed_job_is_named_and_resumed_by_the_next_call(tmp_path: Path, sockets: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    overrides = [*LONG, "epochs=12", *LOCAL, f"+hydra.launcher.init._temp_dir={sockets}"]
    process = start(tmp_path, overrides)
    wait_until(lambda: any(map(trained, jobs(tmp_path))))
    job = next(filter(trained, jobs(tmp_path)))
    os.kill(int((job / ".lock").read_text().split()[1]), signal.SIGKILL)
    assert process.wait(timeout=200) == 1
    output = (tmp_path / "output.txt").read_text()
    assert f"job {job.name} failed\nvexp: error: WorkerCrashedError: " in output
    assert len(finish_times(tmp_path)) == 2
    assert start(tmp_path, overrides).wait(timeout=200) == 0
    assert "resumed from" in (job / "log.txt").read_text()
    assert len(finish_times(tmp_path)) == 3
    wait_until(lambda: not processes(sockets), 20)


@pytest.mark.slow
def test_job_of_a_dead_node_is_resumed_on_another(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        node = cluster.add_node(num_cpus=1)
        overrides = ["seed=0,1", "sweep.name=s", "epochs=30", "checkpoint.interval=1", "hydra/launcher=ray"]
        process = start(tmp_path, [*overrides, f"hydra.launcher.address={cluster.address}"])
        wait_until(lambda: any(map(trained, jobs(tmp_path))))
        (job,) = jobs(tmp_path)
        cluster.add_node(num_cpus=1)
        cluster.remove_node(node, allow_graceful=False)
        assert process.wait(timeout=300) == 0
    finally:
        cluster.shutdown()
    output = (tmp_path / "output.txt").read_text()
    assert f"job {job.name} failed\nvexp: error: NodeDiedError: " in output
    assert "it is started again, from its last checkpoint" in output
    assert "resumed from" in (job / "log.txt").read_text()
    assert len(finish_times(tmp_path)) == 2
