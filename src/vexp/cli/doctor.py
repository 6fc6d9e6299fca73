"""``vexp doctor [--json] [--quick]``: what this machine has, what it lacks, and how fast it is.

Each line says ok, warning or missing, and below it the one command that would mend it. ``--quick`` leaves out the
benchmark, ``--json`` prints the same for programs. Exit status 1: vexp could not train here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vexp import __version__
from vexp.runtime.threads import set_passive_omp_wait
from vexp.tools.doctor import codecs, packages, system
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult
from vexp.tools.doctor.subprocess_check import run_check, run_in_subprocess

SCHEMA = 1
_COLOURS = {OK: 32, WARNING: 33, MISSING: 31}  # of a terminal: green, yellow, red
_TORCH = "pip install --force-reinstall torch torchvision"
Report = dict[str, list[CheckResult]]


def main() -> None:
    """The command line."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    if strangers := set(words) - {"--json", "--quick"}:
        print(f"vexp: error: {min(strangers)}: doctor takes --json and --quick (command line)", file=sys.stderr)
        raise SystemExit(2)
    set_passive_omp_wait()
    try:
        report = examine(benchmark="--quick" not in words)
    except KeyboardInterrupt:
        print("vexp: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    print(json.dumps(as_json(report), indent=2) if "--json" in words else as_text(report, colour=sys.stdout.isatty()))
    raise SystemExit(0 if can_train(report) else 1)


def examine(*, benchmark: bool) -> Report:
    """All findings by group, in the order in which they are told."""
    with tempfile.TemporaryDirectory(prefix="vexp-doctor-") as folder:
        # Other processes, two at a time, while this one looks at what needs none of them.
        with ThreadPoolExecutor(2) as pool:
            torch = pool.submit(
                run_in_subprocess, "torch", "devices", "torch_and_devices", fix=_TORCH, needed=True
            )  # fmt: skip
            decoding = run_in_subprocess("PyAV", "codecs", "codecs", folder, fix=codecs.REINSTALL_PYAV, needed=True)
            tried = [
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
                "software": [
                    finding
                    for check in (packages.python, packages.packages, packages.git)
                    for finding in run_check(check.__name__, check)
                ],
                "machine": [
                    finding
                    for check in (
                        system.cores, system.memory, system.shared_memory, system.open_files, system.disk
                    )
                    for finding in run_check(check.__name__, check)
                ],
                "devices": torch.result(),
                "video and images": [*decoding, *(finding for one in tried for finding in one.result())],
                "extras": run_check("extras", packages.extras),
            }  # fmt: skip
        if benchmark:
            report["speed"] = run_in_subprocess("benchmark", "benchmark", "benchmark", folder, needed=True)
    return report


def can_train(report: Report) -> bool:
    return not any(finding.prevents_training for findings in report.values() for finding in findings)


def summary(report: Report) -> str:
    """The last line: whether training can begin."""
    stops = [finding.name for findings in report.values() for finding in findings if finding.prevents_training]
    if stops:
        return f"vexp cannot train here: {', '.join(stops)}"
    verdict = next((one.text for one in report.get("speed", []) if one.name == "conclusion"), "")
    return "vexp can train here" + (f"; {verdict}" if verdict else "")


def as_text(report: Report, *, colour: bool = False) -> str:
    """A line a finding, what would mend it below; ``colour``: for a terminal."""
    lines = []
    for group, findings in report.items():
        lines += ["", group]
        width = max((len(finding.name) for finding in findings), default=0)
        for finding in findings:
            status = f"{finding.status:8}"
            if colour:
                status = f"\033[{_COLOURS[finding.status]}m{status}\033[0m"
            lines.append(f"  {status}{finding.name:{width}}  {finding.text}")
            if finding.fix:
                lines.append(f"  {'':8}{'':{width}}  -> {finding.fix}")
    return "\n".join([f"vexp {__version__}", *lines, "", summary(report)])


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs: ``checks`` is a list of findings, each with its ``group``."""
    checks = [{"group": group} | finding.to_dict() for group, findings in report.items() for finding in findings]
    return {
        "schema": SCHEMA,
        "vexp": __version__,
        "can_train": can_train(report),
        "missing": [check["name"] for check in checks if check["status"] == MISSING],
        "summary": summary(report),
        "checks": checks,
    }


if __name__ == "__main__":
    main()
