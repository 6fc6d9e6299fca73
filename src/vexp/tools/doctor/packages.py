"""Python, and the packages that vexp says it needs, by their metadata alone."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata

from vexp import __version__
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

_LEAST_PYTHON = (3, 10)
#: Of the dependencies, those that only one backend needs.
_OF_A_BACKEND = ("decord", "pyturbojpeg", "pillow", "simplejpeg")
#: Extras of vexp that only some commands need: what each is for.
_EXTRAS = {
    "wandb": "log=wandb",
    "export": "python -m vexp.cli.export format=onnx",
    "joblib": "sweeps with several jobs at a time (hydra/launcher=parallel)",
    "slurm": "sweeps on Slurm (hydra/launcher=slurm)",
    "optuna": "searching sweeps (hydra/sweeper=optuna)",
}


def python() -> list[CheckResult]:
    """The interpreter and vexp itself."""
    version = platform.python_version()
    found = f"{version}, {sys.executable}"
    old = sys.version_info[:2] < _LEAST_PYTHON
    least = ".".join(map(str, _LEAST_PYTHON))
    return [
        CheckResult("vexp", OK, f"{__version__}, {__file__.rpartition('/tools/')[0]}", values={"version": __version__}),
        CheckResult(
            "python", MISSING if old else OK, found, f"Python >= {least}" if old else "", needed=True,
            values={"version": version},
        ),
        CheckResult("system", OK, platform.platform()),
    ]  # fmt: skip


def packages() -> list[CheckResult]:
    """The dependencies of vexp's own metadata, held against what is installed."""
    try:
        stated = metadata.requires("vexp") or []
    except metadata.PackageNotFoundError:
        return [
            CheckResult("packages", WARNING, "vexp is not installed, nothing says what it needs", "pip install -e .")
        ]
    return [_dependency(text.partition(";")[0].strip()) for text in stated if _is_core(text)]


def extras() -> list[CheckResult]:
    """What only some commands need."""
    found = []
    try:
        stated = metadata.requires("vexp") or []
    except metadata.PackageNotFoundError:
        stated = []
    for extra, what in _EXTRAS.items():
        names = [_name(text) for text in stated if f"extra == '{extra}'" in text.replace('"', "'")]
        found.append(_optional(extra, names, what, f"pip install 'vexp[{extra}]'"))
    return found


def git() -> list[CheckResult]:
    """For the state of the code in env.json."""
    program = shutil.which("git")
    if program is None:
        return [
            CheckResult("git", WARNING, "not found: env.json will not say which code a run had", "apt-get install git")
        ]
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return [CheckResult("git", OK, said.stdout.strip() or program)]


def _is_core(requirement: str) -> bool:
    """No extra, and for this machine."""
    if ";" not in requirement:
        return True
    if "extra ==" in requirement:
        return False
    try:
        from packaging.requirements import Requirement

        marker = Requirement(requirement).marker
        return marker is None or marker.evaluate()
    except Exception:  # without packaging, or a broken one: rather a line too many
        return True


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    return match[0] if match else requirement


def _dependency(requirement: str) -> CheckResult:
    name = _name(requirement)
    wanted, needed = requirement[len(name) :], name.lower() not in _OF_A_BACKEND
    version = _version(name)
    fix = f"pip install '{requirement}'"
    if version is None:
        return CheckResult(name, MISSING, f"not installed (wanted {wanted})", fix, needed)
    values = {"version": version}
    if not _satisfies(version, wanted):
        return CheckResult(name, WARNING, f"{version}, wanted {wanted}", fix, needed, values)
    return CheckResult(name, OK, version, "", needed, values)


def _satisfies(version: str, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(wanted).contains(version, prereleases=True)
    except Exception:  # as above
        return True


def _optional(name: str, packages: Iterable[str], what: str, fix: str) -> CheckResult:
    versions = {package: _version(package) for package in packages}
    absent = [package for package, version in versions.items() if version is None]
    if not versions:
        return CheckResult(
            name, WARNING, f"for {what}: the metadata of the installed vexp are older", "pip install -e ."
        )
    if absent:
        return CheckResult(name, MISSING, f"for {what}: not installed", fix)
    return CheckResult(name, OK, ", ".join(f"{package} {version}" for package, version in versions.items()))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
