"""Python and the required packages, checked by their metadata without importing them."""

from __future__ import annotations

import platform
import shutil
import sys
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING

from vexp import __version__
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_MIN_PYTHON = (3, 10)
#: Dependencies that only one decoding backend needs.
_BACKEND_PACKAGES = ("decord", "pyturbojpeg", "pillow", "simplejpeg")
#: Extras of vexp and the features that need them.
_EXTRAS = {
    "wandb": "log=wandb",
    "export": "vexp export format=onnx",
    "joblib": "parallel sweeps (hydra/launcher=parallel)",
    "slurm": "sweeps on Slurm (hydra/launcher=slurm)",
    "ray": "sweeps on Ray (hydra/launcher=ray)",
    "optuna": "hyperparameter search (hydra/sweeper=optuna)",
    "fsspec": "videos on servers (data.train.data_prefix=https://...)",
    "mlflow": "log=mlflow",
    "trackio": "log=trackio",
}
_REINSTALL = "pip install -e ."


def python() -> list[CheckResult]:
    """Check the interpreter and vexp itself."""
    version = platform.python_version()
    is_old = sys.version_info[:2] < _MIN_PYTHON
    status, fix = (MISSING, "Python >= " + ".".join(map(str, _MIN_PYTHON))) if is_old else (OK, "")
    folder = __file__.rpartition("/tools/")[0]
    return [
        CheckResult("vexp", OK, f"{__version__}, {folder}", values={"version": __version__}),
        CheckResult("python", status, f"{version}, {sys.executable}", fix, needed=True, values={"version": version}),
        CheckResult("system", OK, platform.platform()),
    ]


def packages() -> list[CheckResult]:
    """Compare the dependencies in vexp's metadata with the installed packages."""
    try:
        return [_check_requirement(requirement) for requirement in _requirements()]
    except metadata.PackageNotFoundError:
        return [CheckResult("packages", WARNING, "vexp is not installed: its dependencies are unknown", _REINSTALL)]


def extras() -> list[CheckResult]:
    """Check the packages that only some features need."""
    return [_check_extra(extra, feature) for extra, feature in _EXTRAS.items()]


def git() -> list[CheckResult]:
    """Check for git, which records the state of the code in env.json."""
    if program := shutil.which("git"):
        return [CheckResult("git", OK, program)]
    return [CheckResult("git", WARNING, "not found: env.json cannot record the commit of a run", "apt-get install git")]


def _requirements(extra: str = "") -> list[Requirement]:
    """Return the requirements of vexp that apply to this machine: those of an extra, or those of no extra."""
    from packaging.requirements import Requirement

    def apply(name: str) -> list[Requirement]:
        return [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": name})]

    requirements = [Requirement(text) for text in metadata.requires("vexp") or []]
    return [one for one in apply(extra) if not extra or one not in apply("")]


def _check_requirement(requirement: Requirement) -> CheckResult:
    name, version = requirement.name, _installed_version(requirement.name)
    needed, fix = name.lower() not in _BACKEND_PACKAGES, f"pip install '{name}{requirement.specifier}'"
    text, values = f"{version or 'not installed'} (required: {requirement.specifier})", {"version": version}
    if version is None:
        return CheckResult(name, MISSING, text, fix, needed)
    if not requirement.specifier.contains(version, prereleases=True):
        return CheckResult(name, WARNING, text, fix, needed, values)
    return CheckResult(name, OK, version, "", needed, values)


def _check_extra(extra: str, feature: str) -> CheckResult:
    versions: dict[str, str | None] = {}
    with suppress(metadata.PackageNotFoundError):
        versions = {one.name: _installed_version(one.name) for one in _requirements(extra)}
    if not versions:
        return CheckResult(extra, WARNING, f"needed by {feature}: not in the installed metadata of vexp", _REINSTALL)
    if None in versions.values():
        return CheckResult(extra, MISSING, f"needed by {feature}: not installed", f"pip install 'vexp[{extra}]'")
    return CheckResult(extra, OK, ", ".join(f"{package} {version}" for package, version in versions.items()))


def _installed_version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
