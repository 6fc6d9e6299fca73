"""The checks of doctor, on machines that are not like this one."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from vexp.tools.doctor import benchmark, codecs, devices, packages, subprocess_check, system
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),  # version 1
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),  # no control groups
    ],
)
def test_the_cores_that_a_container_grants(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert system.cpu_quota(tmp_path) == cores


def test_a_container_with_fewer_cores_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(system, "cpu_quota", lambda: 4.0)
    (found,) = system.cores()
    assert (found.status, found.fix) == (WARNING, "data.num_workers=4")


def test_shared_memory_of_docker_s_default_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 64 * 2**20})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (found,) = system.shared_memory()
    assert (found.status, found.fix[:12]) == (WARNING, "docker run -")
    assert found.values["need"] == 8 * 3 * 8 * 16 * 224 * 224 * 3


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    (found,) = system.open_files()
    assert (found.status, found.fix) == (WARNING, "ulimit -n 4096")


def test_a_disk_that_cannot_be_written_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    found = system.disk()
    assert all(one.stops and "Permission denied" in one.text for one in found)
    assert found[0].fix == "out_root=FOLDER"


@pytest.mark.parametrize(
    ("requirement", "installed", "status", "stops"),
    [
        ("torch>=2.6", "2.15.0", OK, False),
        ("torch>=2.6", "2.1.0", WARNING, False),  # older: it may do
        ("torch>=2.6", None, MISSING, True),
        ("decord>=0.6", None, MISSING, False),  # one backend of several
        ("PyTurboJPEG<2,>=1.7", "2.0.1", WARNING, False),
    ],
)
def test_a_dependency(
    requirement: str, installed: str | None, status: str, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_version", lambda _: installed)
    found = packages._dependency(requirement)
    assert (found.status, found.stops) == (status, stops)
    assert found.fix == ("" if status == OK else f"pip install '{requirement}'")


def test_dependencies_and_extras_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = [
        "numpy>=1.26", "nothing-of-the-kind>=1", 'decord>=0.6; platform_machine == "another machine"',
        'wandb>=0.19; extra == "wandb"', "absent>=1; extra == 'export'",
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda _: stated)
    assert [(one.name, one.status) for one in packages.packages()] == [
        ("numpy", OK),
        ("nothing-of-the-kind", MISSING),
    ]
    monkeypatch.setattr(packages, "_version", lambda name: "1.0" if name == "wandb" else None)
    wandb, export, *others = packages.extras()
    assert (wandb.status, wandb.text) == (OK, "wandb 1.0")
    assert (export.status, export.fix, export.stops) == (MISSING, "pip install 'vexp[export]'", False)
    assert {one.status for one in others} == {WARNING}  # metadata without them


def test_vexp_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", fail)
    assert [one.status for one in packages.packages()] == [WARNING]
    assert packages.extras()


@pytest.mark.parametrize(
    ("each", "workers", "taken", "on_cpu", "status", "said"),
    [
        (50.0, 8, 300.0, False, OK, "the loader keeps up: 8 workers make about 400 clips/s, r3d_18 takes 300"),
        (50.0, 2, 300.0, False, WARNING, "the loader is the bottleneck: 2 workers make about 100 clips/s"),
        (50.0, 2, 300.0, False, WARNING, "6 workers would keep up"),
        (30.0, 1, 0.4, True, OK, "the net is what costs here"),
    ],
)
def test_the_verdict(each: float, workers: int, taken: float, on_cpu: bool, status: str, said: str) -> None:
    found = benchmark.verdict(each, workers, taken, on_cpu=on_cpu)
    assert found.status == status
    assert said in found.text


#: package that cannot be imported -> the check that needs it
BROKEN = [
    ("torch", devices.torch_and_devices, ()),
    ("torchvision", devices.torch_and_devices, ()),
    ("av", codecs.codecs, (Path("/nowhere"),)),
    ("torch", benchmark.clips_per_second, (Path("/nowhere"), 0)),
]


@pytest.mark.parametrize(("package", "check", "arguments"), BROKEN)
def test_a_package_that_cannot_be_imported_is_a_finding(
    package: str, check: object, arguments: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python makes of it: an ImportError
    (found,) = subprocess_check.guarded("it", check, *arguments, fix="pip install it", needed=True)
    assert found.stops
    assert found.fix == "pip install it"
    assert package in found.text
    assert "\n" not in found.text


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), SystemExit(3), AssertionError()])
def test_no_exception_gets_through(error: BaseException) -> None:
    def check() -> list[CheckResult]:
        raise error

    (found,) = subprocess_check.guarded("it", check)
    assert (found.status, found.stops) == (MISSING, False)
    assert found.text.startswith(type(error).__name__)


def test_decoders_that_are_tried(tmp_path: Path) -> None:
    """On the video and picture that the check of the codecs makes; before it there is nothing to try them on."""
    assert codecs.video_backend("av", tmp_path)[0].status == WARNING
    assert codecs.image_backend("pillow", tmp_path)[0].status == WARNING
    assert {one.name: one.status for one in codecs.codecs(tmp_path)}["H.264 encoder"] == OK
    assert codecs.video_backend("av", tmp_path)[0].status == OK
    assert codecs.image_backend("simplejpeg", tmp_path)[0].status == OK
    codecs.video_of(tmp_path).write_bytes(b"no video")
    (broken,) = codecs.video_backend("av", tmp_path)
    assert broken.stops


def test_a_backend_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vexp.data.decoding.find_spec", lambda _: None)
    (found,) = codecs.video_backend("decord", tmp_path)
    assert (found.status, found.text, found.stops) == (MISSING, "not installed", False)
    assert found.fix.startswith("pip install decord")
    (found,) = codecs.image_backend("turbojpeg", tmp_path)
    assert found.status == MISSING


#: what a package does when it is imported -> what is said
FATAL = [
    ("raise RuntimeError('built for another Python')", "RuntimeError: built for another Python"),
    ("import os; os.abort()", "crashes when it is imported or used: SIGABRT"),
    ("import os; os._exit(7)", "ends with status 7"),
    ("import sys; print('noise'); sys.exit('bye')", "SystemExit: bye"),
    ("import time; time.sleep(60)", "hangs: no answer within 2 seconds"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "said"), FATAL)
def test_a_package_that_takes_its_process_with_it(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "av.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(subprocess_check, "_LIMIT", 2)
    (found,) = subprocess_check.in_process("PyAV", "codecs", "codecs", tmp_path, needed=True)
    assert found.stops
    assert found.text.startswith(said)


@pytest.mark.slow
def test_findings_come_back_from_another_process(tmp_path: Path) -> None:
    found = subprocess_check.in_process("PyAV", "codecs", "codecs", tmp_path)
    assert [one.name for one in found] == ["codecs", "H.264 encoder", "JPEG encoder"]
    assert "h264" in found[0].values["decodes"]
