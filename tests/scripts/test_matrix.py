"""The interpreters and libraries of scripts/harness/matrix.sh and of the workflow agree with pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from support.paths import ROOT

MATRIX = (ROOT / "scripts" / "harness" / "matrix.sh").read_text(encoding="utf-8")


@pytest.fixture
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


def test_matrix_and_workflow_have_every_supported_python(project: dict[str, Any]) -> None:
    supported = re.findall(r":: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={supported[0]}"
    assert f'"newest|{" ".join(supported)}|' in MATRIX
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert jobs["pythons"]["strategy"]["matrix"]["python"] == supported
    assert jobs["libraries"]["steps"][1]["with"]["python-version"].split() == supported


def test_lowest_leg_has_lower_bounds_of_the_project(project: dict[str, Any]) -> None:
    bounds = {r.name: r for r in map(Requirement, project["dependencies"])}
    (lowest,) = re.findall(r'"lowest\|3\.10\|(.*)"', MATRIX)
    for pinned in map(Requirement, lowest.split()):
        version = str(pinned.specifier).removeprefix("==").removesuffix(".*")
        assert f">={version}" in str(bounds[pinned.name].specifier), pinned
    for line in re.findall(r'"(?:newest|hydra-1\.4)\|[^|]*\|(.*)"', MATRIX):
        for requirement in map(Requirement, line.split()):
            assert requirement.name in bounds


def test_pinned_legs_have_exact_versions_within_the_bounds(project: dict[str, Any]) -> None:
    """A release of a library must not change the result of these legs."""
    required = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["test"]])
    bounds = {requirement.name: requirement.specifier for requirement in required}
    lines = re.findall(r'"pinned\|3\.\d+\|(.*)"', MATRIX)
    assert len(lines) == 2
    for requirement in (Requirement(word) for line in lines for word in line.split()):
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert bounds[requirement.name].contains(specifier.version, prereleases=True), requirement


def test_matrix_script_is_valid_and_refuses_other_words() -> None:
    script = str(ROOT / "scripts" / "harness" / "matrix.sh")
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run(["bash", script, "--all"], capture_output=True, text=True)
    assert (done.returncode, "usage: " in done.stderr) == (2, True)


#: Wrong overrides, each refused by another module.
WRONG = ["optimizer=sdg", "optimizer.lr=-1", "epochs=0", "~init_from", "lr=0.1", "img_norm.mean=[1]", "nope=1"]


@pytest.mark.integration
def test_errors_do_not_depend_on_assertions() -> None:
    """With PYTHONOPTIMIZE=1 (python -O) Python skips every assert."""
    code = f"from vexp import train\nfor word in {WRONG}: print(train.main([word]), flush=True)"
    outputs = []
    for flags in ([], ["-O"]):
        done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["2"] * len(WRONG)
        outputs.append(done.stderr)
    assert outputs[0] == outputs[1]


#: What Windows lacks of the standard library.
AS_ON_WINDOWS = """
import os, signal, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("fork", "killpg", "getpgid", "setsid", "sysconf", "sched_getaffinity", "geteuid", "getuid", "mkfifo"):
    delattr(os, name)
for name in ("SIGUSR1", "SIGUSR2", "SIGKILL", "SIGHUP", "SIGALRM", "pthread_sigmask"):
    delattr(signal, name)
from pathlib import Path
import vexp
from vexp import train
from vexp.experiment.run_dir import lock_run_dir
from vexp.runtime.signals import SignalHandler
with lock_run_dir(Path(sys.argv[1])), SignalHandler():
    print(vexp.compose(["optimizer=sgd"]).optimizer.lr)
print(train.main(["optimizer=sdg"]))
"""


@pytest.mark.integration
def test_compose_messages_and_signals_work_with_what_windows_has(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1:] == ["2"]
    assert "did you mean sgd?" in done.stderr


@pytest.mark.parametrize("folder", ["conf", "src", "docs", "tests", "scripts"])
def test_no_two_files_differ_only_in_case(folder: str) -> None:
    """A checkout on macOS or Windows would hold one of them; a reserved name cannot be written on Windows at all."""
    listed = subprocess.run(["git", "ls-files", folder], capture_output=True, text=True, cwd=ROOT)
    names = listed.stdout.split() or [str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*")]
    assert len({name.casefold() for name in names}) == len(set(names))
    reserved = re.compile(r'(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)|[<>:"|?*\\]|[. ](/|$)', re.IGNORECASE)
    assert not [name for name in names if reserved.search(name)]
