"""Kill and damage training runs, resume each, and compare the result with that of an undisturbed run, bit for bit.

python scripts/harness/crash_harness.py                   sixty faults, a few minutes, a table at the end
python scripts/harness/crash_harness.py --faults 200 --seed 3

Each run trains a tiny model on the built-in data set with a checkpoint after every step. After its fault it is resumed
by ``--resume`` (one in four is then killed once more), and at the end

* the weights, their average, the optimizer, the random generators and the best score in last.pth equal those of the
  undisturbed run, and the weights of best.pth,
* metrics.jsonl (``time/`` aside) is the same, line for line,
* every checkpoint that was loaded on the way is one that the undisturbed run had at that step: no partial file,
* no partial file is left in the folder, and the manifest agrees with every file.

Runs are forked from a process that has imported everything, which saves four seconds each. Needs Linux.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crash_harness_faults import FAULTS, WEIGHTS, Trial
from crash_harness_runs import DONE, Reference, fork

from vexp.core.errors import UserError


def survive(trial: Trial, fault: Callable[[Trial], str]) -> list[str]:
    """Inflict a fault and perhaps a SIGKILL, then resume to the end; return what went wrong."""
    wrong = [text] if (text := fault(trial)) else []
    if trial.random.random() < 0.25 and trial.started():
        child = fork(trial.folder, ["--resume", str(trial.folder)], [])
        time.sleep(trial.moment())
        child.signal(signal.SIGKILL)
        child.wait()
    code = trial.resume()
    if code != DONE:
        return [*wrong, f"resuming ended with status {code}: {trial.output()[-600:]}"]
    wrong += [f"not printed: {text}" for text in trial.expected if not re.search(text, trial.output())]
    return wrong + trial.reference.differences(trial.folder, manifest_lost=trial.manifest_lost)


@contextmanager
def workplace(named: str | None) -> Iterator[Path]:
    if named is not None:
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named).absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="crash_harness_") as folder:
            yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60, help="how many runs are disturbed")
    parser.add_argument("--seed", type=int, default=0, help="of moments and places")
    parser.add_argument(
        "--each-kind", action="store_true", help="every kind in turn, else the likelier ones more often"
    )
    parser.add_argument("--only", default="", help="kinds of faults that contain this text")
    parser.add_argument("--folder", help="keep the runs here")
    options = parser.parse_args()
    weights = [1] * len(FAULTS) if options.each_kind else WEIGHTS
    kinds = [name for name, weight in zip(FAULTS, weights, strict=True) for _ in range(weight) if options.only in name]
    tried: dict[str, int] = defaultdict(int)
    failures: list[str] = []
    begin = time.perf_counter()
    with workplace(options.folder) as place:
        reference = Reference.make(place / "reference")
        print(f"reference: {len(reference.digests) // 2} steps in {reference.seconds:.1f} s", flush=True)
        for number in range(options.faults):
            name = kinds[number % len(kinds)]
            trial = Trial(place / f"run_{number:03}", reference, random.Random(f"{options.seed} {number}"))
            try:
                wrong = survive(trial, FAULTS[name])
            except (OSError, ValueError, UserError) as error:  # a file that should exist is missing or damaged
                wrong = [f"{type(error).__name__}: {error}"]
            tried[name] += 1
            if wrong:
                failures.append(name)
                print(f"run {number}, {name}: {'; '.join(wrong)}", flush=True)
            elif number % 10 == 9:
                print(f"{number + 1} faults, {time.perf_counter() - begin:.0f} s", flush=True)
            if options.folder is None:
                shutil.rmtree(trial.folder, ignore_errors=True)
    print(f"{'fault':56} tried survived")
    for name, count in tried.items():
        print(f"{name:56} {count:5} {count - failures.count(name):8}")
    total = sum(tried.values())
    print(f"{'all':56} {total:5} {total - len(failures):8}   in {time.perf_counter() - begin:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
