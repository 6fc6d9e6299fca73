"""Check the installation: what is available, what is missing, and where the bottleneck is.

Each line has the status ok, warning or missing, and is followed by the command that fixes it. Exit status 1: vexp
cannot train on this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from vexp import __version__
from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.runtime.threads import set_passive_omp_wait
from vexp.tools.doctor import codecs, packages, system
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult
from vexp.tools.doctor.subprocess_check import run_check, run_in_subprocess

SCHEMA = 1
_COLORS = {OK: 32, WARNING: 33, MISSING: 31}  # of a terminal: green, yellow, red
_REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"
Report = dict[str, list[CheckResult]]


@dataclass(kw_only=True, slots=True)
class DoctorOptions(ValidatedConfig):
    json: bool = option(False, "Print the report as JSON.")
    quick: bool = option(False, "Skip the benchmark.")


COMMAND = CommandLine(
    usage=["doctor [--json] [--quick]"],
    options=DoctorOptions,
    examples=["doctor", "doctor --quick", "doctor --json"],
    composes=False,
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    if arguments.rest:
        raise ConfigError(f"{arguments.rest[0]}: doctor has only the options --json and --quick (command line)")
    set_passive_omp_wait()
    report = examine(benchmark=not arguments.options.quick)
    if arguments.options.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        print(as_text(report, color=sys.stdout.isatty()))
    return 0 if can_train(report) else 1


def examine(*, benchmark: bool) -> Report:
    """Run all checks; return their results by group, in the order in which they are printed."""
    with tempfile.TemporaryDirectory(prefix="vexp-doctor-") as folder:
        # Checks of packages that may crash run in other processes, two at a time, while this one does the others.
        with ThreadPoolExecutor(2) as pool:
            torch = pool.submit(
                run_in_subprocess, "torch", "devices", "torch_and_devices", fix=_REINSTALL_TORCH, needed=True
            )
            decoding = run_in_subprocess("PyAV", "codecs", "codecs", folder, fix=codecs.REINSTALL_PYAV, needed=True)
            backends = [
                pool.submit(
                    run_in_subprocess,
                    name,
                    "codecs",
                    check,
                    name,
                    folder,
                    fix=codecs.install_command(name),
                    needed=name == "av",
                )
                for check, name in codecs.backends()
            ]
            report: Report = {
                "software": _guarded(packages.python, packages.packages, packages.git),
                "machine": _guarded(system.cores, system.memory, system.shared_memory, system.open_files, system.disk),
                "devices": torch.result(),
                "video and images": [*decoding, *(result for backend in backends for result in backend.result())],
                "extras": run_check("extras", packages.extras),
            }
        if benchmark:
            report["speed"] = run_in_subprocess("benchmark", "benchmark", "benchmark", folder, needed=True)
    return report


def _guarded(*checks: Any) -> list[CheckResult]:
    return [result for check in checks for result in run_check(check.__name__, check)]


def can_train(report: Report) -> bool:
    return not any(result.prevents_training for results in report.values() for result in results)


def summary(report: Report) -> str:
    """Return the last line: whether vexp can train on this machine."""
    stops = [result.name for results in report.values() for result in results if result.prevents_training]
    if stops:
        return f"vexp cannot train here: {', '.join(stops)}"
    verdict = next((one.text for one in report.get("speed", []) if one.name == "conclusion"), "")
    return "vexp can train here" + (f"; {verdict}" if verdict else "")


def as_text(report: Report, *, color: bool = False) -> str:
    """Format one line per result, followed by the command that fixes it."""
    lines = []
    for group, results in report.items():
        lines += ["", group]
        width = max((len(result.name) for result in results), default=0)
        for result in results:
            status = f"{result.status:8}"
            if color:
                status = f"\033[{_COLORS[result.status]}m{status}\033[0m"
            lines.append(f"  {status}{result.name:{width}}  {result.text}")
            if result.fix:
                lines.append(f"  {'':8}{'':{width}}  -> {result.fix}")
    return "\n".join([f"vexp {__version__}", *lines, "", summary(report)])


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs: ``checks`` is a list of results, each with its ``group``."""
    checks = [{"group": group} | asdict(result) for group, results in report.items() for result in results]
    return {
        "schema": SCHEMA,
        "vexp": __version__,
        "can_train": can_train(report),
        "missing": [check["name"] for check in checks if check["status"] == MISSING],
        "summary": summary(report),
        "checks": checks,
    }
