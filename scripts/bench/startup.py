"""Measure the start of vexp: the answer to a refused command, and the way to the first training step.

    python scripts/bench/startup.py --rounds 9 --json startup.json
    python scripts/bench/startup.py --sources src ../other/src        compare two checkouts, which take turns

Every figure is from a process of its own, with compiled bytecode and one thread of OpenMP: median (lowest to highest)
seconds, and the median of the CPU seconds of the process, which other programs lengthen less. The phases of a run are
those of ``vexp train debug=fast`` with the data set generated before; ``first step`` ends with the first update.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RUN = ["debug=fast", "optimizer=sgd"]
_SGD = "p = torch.nn.Parameter(torch.ones(1)); o = torch.optim.SGD([p], lr=1.0); p.sum().backward(); o.step()"
#: Name -> arguments of Python. The time is that of the whole process, Python's own start and end included.
PROCESSES = {
    "python": ["-c", "pass"],
    "import vexp": ["-c", "import vexp"],
    "import vexp.config.compose": ["-c", "import vexp.config.compose"],
    "vexp.compose": ["-c", "import vexp; vexp.compose(['optimizer=sgd'])"],
    "refused command": ["-m", "vexp", "train", "optimizer=sgd", "optimizer.momentun=1"],
    "import torch": ["-c", "import torch"],
    "import torch, one step of SGD": ["-c", f"import torch; {_SGD}"],
}
Figures = dict[str, tuple[float, float]]  # phase -> (seconds, CPU seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sources", type=Path, nargs="+", default=[Path(__file__).resolve().parents[2] / "src"])
    parser.add_argument("--json", type=Path, help="write the figures of every round")
    parser.add_argument("--phases", action="store_true", help=argparse.SUPPRESS)  # in the process of a run
    options = parser.parse_args()
    if options.phases:
        print(json.dumps(phases()))
        os._exit(0)
    with tempfile.TemporaryDirectory() as folder:
        sources = [source.absolute() for source in options.sources]
        environments = {str(source): _environment(source, Path(folder)) for source in sources}
        figures: dict[str, list[Figures]] = {source: [] for source in environments}
        for number in range(options.rounds + 1):  # the first one compiles and generates the data
            for source, environment in environments.items():
                measured = one_round(environment, Path(folder))
                figures[source] += [measured] if number else []
    for source, rounds in figures.items():
        print(f"\n{source}\n\n{table(rounds)}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _environment(source: Path, folder: Path) -> dict[str, str]:
    added = {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | added | {"VEXP_CACHE": str(folder / "cache")}


def one_round(environment: dict[str, str], folder: Path) -> Figures:
    """Return the figures of each process and of the phases of a run, each process after the other."""
    figures = {}
    for name, arguments in PROCESSES.items():
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, cwd=folder)
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        figures[name] = (seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    command = [sys.executable, __file__, "--phases"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, check=True)
    figures |= {f"run: {name}": tuple(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}
    of_run = {name: value for name, value in figures.items() if name.startswith("run: ")}
    figures["run: all up to the first step"] = _sum(of_run.values())
    figures["run: all without the imports of torch"] = _sum(
        v for name, v in of_run.items() if "import torch" not in name
    )
    return figures


def _sum(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    seconds, cpu = zip(*values, strict=True)
    return sum(seconds), sum(cpu)


class _FirstStep(BaseException):
    """Ends the run; no code of vexp catches it."""


def phases() -> Figures:
    """Train up to the first step in this process; return the time of each phase."""
    measured: Figures = {}
    last = (time.perf_counter(), time.process_time())

    def end(phase: str) -> None:
        nonlocal last
        now = (time.perf_counter(), time.process_time())
        seconds, cpu = measured.get(phase, (0.0, 0.0))
        measured[phase] = (seconds + now[0] - last[0], cpu + now[1] - last[1])
        last = now

    def timed(module: Any, name: str, phase: str) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            end("set-up")
            result = original(*arguments, **named)
            end(phase)
            return result

        setattr(module, name, call)

    def batches(iterator: Iterator[Any]) -> Iterator[Any]:
        for batch in iterator:
            end("first batch")
            yield batch

    def first_step(exp: Any, state: Any, iterator: Iterator[Any]) -> None:
        end("set-up")
        train_step(exp, state, batches(iterator))
        end("first step")
        raise _FirstStep

    def configured(*arguments: Any, **named: Any) -> Any:
        config = to_config(*arguments, **named)
        end("command and config")
        importlib.import_module("torch")
        end("import torch")
        importlib.import_module("torch._dynamo")  # torch's optimizers import it in their first step
        end("import torch._dynamo")
        nonlocal train_step
        from vexp.training import loop, run

        timed(run, "build_experiment", "open data")
        timed(run, "build_model_with_weights", "build model")
        train_step, loop.train_step = loop.train_step, first_step
        end("import vexp.training")
        return config

    def imported(name: str) -> Any:
        nonlocal to_config
        module, command = import_module(name), importlib.import_module("vexp.train")
        to_config, command.to_config = command.to_config, configured
        return module

    train_step: Any = None
    to_config: Any = None
    import vexp.__main__

    import_module, vexp.__main__.import_module = vexp.__main__.import_module, imported
    with contextlib.suppress(_FirstStep):
        vexp.__main__.main(["train", *RUN])
    return measured


def table(rounds: list[Figures]) -> str:
    """Return the medians as a table in Markdown."""
    rows = ["| Phase | Seconds | CPU seconds |", "|---|---|---|"]
    for name in rounds[0]:
        seconds = [figures[name][0] for figures in rounds]
        cpu = statistics.median(figures[name][1] for figures in rounds)
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        rows.append(f"| {name} | {spread} | {cpu:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
