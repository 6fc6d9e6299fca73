"""Checks of ``vexp doctor`` on simulated machines and broken packages."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

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
def test_cpu_quota_of_control_group(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert system.cpu_quota(tmp_path) == cores


def test_cores_with_container_limit_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(system, "cpu_quota", lambda: 4.0)
    (result,) = system.cores()
    assert (result.status, result.fix) == (WARNING, "data.num_workers=4")


def test_shared_memory_of_docker_default_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 64 * 2**20})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (result,) = system.shared_memory()
    assert (result.status, result.fix[:12]) == (WARNING, "docker run -")
    assert result.values["need"] == 8 * 3 * 8 * 16 * 224 * 224 * 3


def test_open_files_below_minimum_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    (result,) = system.open_files()
    assert (result.status, result.fix) == (WARNING, "ulimit -n 4096")


def test_disk_not_writable_prevents_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    result = system.disk()
    assert all(one.prevents_training and "Permission denied" in one.text for one in result)
    assert result[0].fix == "out_root=FOLDER"


@pytest.mark.parametrize(
    ("requirement", "installed", "status", "prevents_training"),
    [
        ("torch>=2.6", "2.15.0", OK, False),
        ("torch>=2.6", "2.1.0", WARNING, False),  # an older release may work
        ("torch>=2.6", None, MISSING, True),
        ("decord>=0.6", None, MISSING, False),  # one backend of several
        ("PyTurboJPEG<2,>=1.7", "2.0.1", WARNING, False),
    ],
)
def test_check_requirement_compares_versions(
    requirement: str, installed: str | None, status: str, prevents_training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_installed_version", lambda _: installed)
    result = packages._check_requirement(Requirement(requirement))
    assert (result.status, result.prevents_training) == (status, prevents_training)
    assert result.fix == ("" if status == OK else f"pip install '{requirement}'")


def test_packages_and_extras_follow_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = [
        "numpy>=1.26",
        "nothing-of-the-kind>=1",
        'decord>=0.6; platform_machine == "another machine"',
        'wandb>=0.19; extra == "wandb"',
        "absent>=1; extra == 'export'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: stated)
    assert [(one.name, one.status) for one in packages.packages()] == [
        ("numpy", OK),
        ("nothing-of-the-kind", MISSING),
    ]
    monkeypatch.setattr(packages, "_installed_version", lambda name: "1.0" if name == "wandb" else None)
    wandb, export, *others = packages.extras()
    assert (wandb.status, wandb.text) == (OK, "wandb 1.0")
    assert (export.status, export.fix, export.prevents_training) == (MISSING, "pip install 'vexp[export]'", False)
    assert {one.status for one in others} == {WARNING}  # metadata without them


def test_packages_without_metadata_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", fail)
    assert [one.status for one in packages.packages()] == [WARNING]
    assert packages.extras()


@pytest.mark.parametrize(
    ("clips_per_worker", "workers", "model_clips", "on_cpu", "status", "message"),
    [
        (50.0, 8, 300.0, False, OK, "fast enough: 8 workers decode about 400 clips/s, r3d_18 needs 300"),
        (50.0, 2, 300.0, False, WARNING, "bottleneck: 2 workers decode about 100 clips/s"),
        (50.0, 2, 300.0, False, WARNING, "6 workers"),
        (30.0, 1, 0.4, True, OK, "model is the bottleneck"),
    ],
)
def test_conclusion_names_bottleneck(
    clips_per_worker: float, workers: int, model_clips: float, on_cpu: bool, status: str, message: str
) -> None:
    result = benchmark.conclusion(clips_per_worker, workers, model_clips, on_cpu=on_cpu)
    assert result.status == status
    assert message in result.text


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "warns"), [("2.9.1", 91002, True), ("2.9.1", 91500, False), ("2.15.0", 91002, False)]
)
def test_torch_2_9_with_older_cudnn_warns(
    torch_version: str, cudnn: int, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    gpu = SimpleNamespace(name="GPU", total_memory=8e9, major=8, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(torch, "__version__", torch_version)
    results = {one.name: one for one in devices.torch_and_devices()}
    assert results["cuda:0"].status == OK
    assert ("cudnn" in results) == warns
    assert not warns or "cudnn-cu12>=9.15" in results["cudnn"].fix


#: Package that cannot be imported, a check that needs it, and its arguments.
BROKEN = [
    ("torch", devices.torch_and_devices, ()),
    ("torchvision", devices.torch_and_devices, ()),
    ("av", codecs.codecs, (Path("/nowhere"),)),
    ("torch", benchmark.clips_per_second, (Path("/nowhere"), 0)),
]


@pytest.mark.parametrize(("package", "check", "arguments"), BROKEN)
def test_run_check_with_broken_import_returns_failure(
    package: str, check: object, arguments: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # the import raises ImportError
    (result,) = subprocess_check.run_check("it", check, *arguments, fix="pip install it", needed=True)
    assert result.prevents_training
    assert result.fix == "pip install it"
    assert package in result.text
    assert "\n" not in result.text


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), SystemExit(3), AssertionError()])
def test_run_check_catches_every_exception(error: BaseException) -> None:
    def check() -> list[CheckResult]:
        raise error

    (result,) = subprocess_check.run_check("it", check)
    assert (result.status, result.prevents_training) == (MISSING, False)
    assert result.text.startswith(type(error).__name__)


def test_backends_decode_test_video_and_image(tmp_path: Path) -> None:
    """They are tested on the files that ``codecs`` writes."""
    assert codecs.video_backend("av", tmp_path)[0].status == WARNING
    assert codecs.image_backend("pillow", tmp_path)[0].status == WARNING
    assert {one.name: one.status for one in codecs.codecs(tmp_path)}["H.264 encoder"] == OK
    assert codecs.video_backend("av", tmp_path)[0].status == OK
    assert codecs.image_backend("simplejpeg", tmp_path)[0].status == OK
    codecs.sample_video(tmp_path).write_bytes(b"no video")
    (broken,) = codecs.video_backend("av", tmp_path)
    assert broken.prevents_training


def test_backend_not_installed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vexp.data.decoding.backends.find_spec", lambda _: None)
    (result,) = codecs.video_backend("decord", tmp_path)
    assert (result.status, result.text, result.prevents_training) == (MISSING, "not installed", False)
    assert result.fix.startswith("pip install decord")
    (result,) = codecs.image_backend("turbojpeg", tmp_path)
    assert result.status == MISSING


#: Code of a package, and the beginning of the message.
FATAL = [
    ("raise RuntimeError('built for another Python')", "RuntimeError: built for another Python"),
    ("import os; os.abort()", "the package crashes when it is imported or used: SIGABRT"),
    ("import os; os._exit(7)", "the check exits with status 7"),
    ("import sys; print('noise'); sys.exit('bye')", "SystemExit: bye"),
    ("import time; time.sleep(60)", "the check hangs"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "message"), FATAL)
def test_run_in_subprocess_survives_crash_and_hang(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "av.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(subprocess_check, "_TIMEOUT", 2)
    (result,) = subprocess_check.run_in_subprocess("PyAV", "codecs", "codecs", tmp_path, needed=True)
    assert result.prevents_training
    assert result.text.startswith(message)


@pytest.mark.slow
def test_run_in_subprocess_returns_results(tmp_path: Path) -> None:
    result = subprocess_check.run_in_subprocess("PyAV", "codecs", "codecs", tmp_path)
    assert [one.name for one in result] == ["codecs", "H.264 encoder", "JPEG encoder"]
    assert "h264" in result[0].values["decodes"]
