"""``vexp doctor``: the report, its exit status, and that nothing brings it down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vexp.__main__ import main
from vexp.cli import doctor
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

FINE = CheckResult("torch", OK, "2.15.0", needed=True)
OPTIONAL = CheckResult("decord", MISSING, "not installed", "pip install decord")
SLOW = CheckResult("conclusion", WARNING, "the loader is the bottleneck", "more cores")
FATAL = CheckResult("av", MISSING, "not installed", "pip install av", needed=True)


def run(monkeypatch: pytest.MonkeyPatch, report: doctor.Report, *arguments: str) -> int:
    monkeypatch.setattr(doctor, "examine", lambda *, benchmark: report)
    return main(["doctor", *arguments])


@pytest.mark.parametrize(
    ("findings", "status", "last"),
    [
        ([FINE], 0, "vexp can train here"),
        ([FINE, OPTIONAL, SLOW], 0, "vexp can train here"),  # what is optional stops nobody
        ([FINE, FATAL], 1, "vexp cannot train here: av"),
    ],
)
def test_exit_status_is_1_if_vexp_cannot_train(
    findings: list[CheckResult],
    status: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, {"software": findings}) == status
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


def test_report_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, {"software": [FINE, OPTIONAL], "speed": [SLOW]})
    assert capsys.readouterr().out.splitlines()[2:] == [
        "software",
        "  ok      torch   2.15.0",
        "  missing decord  not installed",
        "                  -> pip install decord",
        "",
        "speed",
        "  warning conclusion  the loader is the bottleneck",
        "                      -> more cores",
        "",
        "vexp can train here; the loader is the bottleneck",
    ]


#: key -> its type, of the report and of each check
SCHEMA: dict[str, Any] = {
    "schema": int,
    "vexp": str,
    "can_train": bool,
    "missing": list,
    "summary": str,
    "checks": list,
}
CHECK = {"group": str, "name": str, "status": str, "text": str, "fix": str, "needed": bool, "values": dict}


def check_schema(report: dict[str, Any]) -> None:
    assert {key: type(value) for key, value in report.items()} == SCHEMA
    for check in report["checks"]:
        assert {key: type(value) for key, value in check.items()} == CHECK
        assert check["status"] in (OK, WARNING, MISSING)


def test_report_as_json_has_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, {"software": [FINE, OPTIONAL]}, "--json")
    report = json.loads(capsys.readouterr().out)
    check_schema(report)
    assert (report["schema"], report["missing"]) == (1, ["decord"])
    assert [check["group"] for check in report["checks"]] == ["software"] * 2


def test_unknown_flag_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, {}, "--jsn") == 2
    assert "--jsn: no such flag (command line); did you mean --json?" in capsys.readouterr().err


def examined(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else "import sys\n"
    code += "from vexp.__main__ import main; sys.exit(main(['doctor', *sys.argv[1:]]))"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_doctor_on_this_machine_finds_no_fault() -> None:
    done = examined("--json")
    report = json.loads(done.stdout)
    check_schema(report)
    assert (done.returncode, done.stderr, report["can_train"]) == (0, "", True)
    found = {check["name"]: check for check in report["checks"]}
    assert found["decoding"]["values"]["clips_per_second"] > 0
    assert found["data.decoding_backend=av"]["status"] == OK
    assert found["conclusion"]["text"]


@pytest.mark.slow
def test_doctor_survives_broken_packages(tmp_path: Path) -> None:
    """Every package that vexp uses raises, or takes its process with it."""
    for name in (
        "torch",
        "torchvision",
        "numpy",
        "cv2",
        "hydra",
        "omegaconf",
        "rich",
        "matplotlib",
        "PIL",
        "packaging",
    ):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('broken')")
    for name in ("av", "decord", "simplejpeg", "turbojpeg", "torchcodec"):
        (tmp_path / f"{name}.py").write_text("import os; os.abort()")
    done = examined("--json", path=tmp_path)
    report = json.loads(done.stdout)
    check_schema(report)
    assert (done.returncode, done.stderr) == (1, "")
    assert {"torch", "PyAV"} <= set(report["missing"])
    text = examined("--quick", path=tmp_path)
    assert "Traceback" not in text.stdout + text.stderr
    assert text.stdout.splitlines()[-1].startswith("vexp cannot train here: ")
