"""Call commands with random words, damaged configs and damaged files; no case may end in a traceback or hang.

python scripts/harness/fuzz.py                        a thousand cases, about fifteen minutes on two cores
python scripts/harness/fuzz.py --cases 200 --seed 3 --only files
python scripts/harness/fuzz.py --case 417             one case again, with its output

Every case is a forked process in a folder of its own. It fails if it prints a traceback, ends by a signal or with a
status other than 0, 1 (with a message) or 2, needs more than ten seconds or two gigabytes, or leaves a file outside of
its folder. Needs Linux and the run folder of tests/golden.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", WANDB_MODE="disabled")

import torch
import yaml

from vexp import compose
from vexp.cli.commands import COMMANDS
from vexp.config.command import run_command
from vexp.config.keys import key_paths
from vexp.config.options import options

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "golden" / "run_folders" / "by_type"
SECONDS, MEGABYTES = 10, 2000
#: Values that a key may be given; most are wrong for most keys.
VALUES = [
    "", "null", "true", "0", "1", "-1", "1e309", "nan", "-inf", "1e-9", "1_000", "9" * 5000, "x" * 5000, "é", "~", "@",
    "[]", "{}", "[[1],[2]]", "[null]", "[" * 200 + "]" * 200, "{a: 1}", "{a: {b: [1, 2]}}", "1,2", "range(0)",
    "range(3,3)", "range(1e9)", "glob(*)", "choice(1,2)", "sort(3,1)", "${seed}", "${oc.env:HOME}", "${nope.x}", "'",
    '"a', "\\", "a=b", "..", "../../x", "/dev/zero", "/dev/full", "/proc/anywhere", "\x01", "https://[::1", "file:///etc/passwd",
]  # fmt: skip
#: Values that replace a node of a JSON, YAML or checkpoint file.
NODES: list[Any] = [
    None, True, 0, -5, 5, 2.5, 1e308, "", "x", "../../x", "${seed}", "\0", [], {}, [1], {"a": 1}, [[[]]], 10**400,
]  # fmt: skip


@dataclass
class Case:
    """One call of a command, made by a function of ``KINDS`` from ``random`` in the empty folder ``folder``."""

    number: int
    random: random.Random
    folder: Path
    command: list[str] = field(default_factory=list)

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def words(self, count: int) -> list[str]:
        """Return random overrides."""
        groups = [*options(), "experiment", "debug", "pipeline", "hydra/launcher", "hydra/sweeper", "nope"]
        keys = [self.random.choice(self.random.choice([list(key_paths()), groups])) for _ in range(count)]
        signs = ["", "", "", "+", "++", "~"]
        return [f"{self.random.choice(signs)}{key}={self.random.choice(VALUES)}" for key in keys]


def overrides(case: Case) -> None:
    """Compose, list or explain a run with random overrides."""
    words = case.words(case.random.randint(1, 3))
    case.command = {
        "compose": ["train", "--cfg", "job", *words],
        "plan": ["plan", *words],
        "explain": ["explain", case.random.choice(key_paths()), *words],
        "sweep": ["train", "-m", "--cfg", "job", *words],
    }[case.pick("compose", "plan", "explain", "sweep")]


def arguments(case: Case) -> None:
    """Call any command with random arguments and options of other commands."""
    names = ["run", "input", "out", "split", "window", "rescore", "png", "device", "checkpoint", "resamples", "format"]
    words = [f"{case.random.choice(names)}={case.random.choice(VALUES)}" for _ in range(case.random.randint(0, 3))]
    words += case.random.sample(["-m", "--help", "--rerun", "--config-dir", "x.mp4", "index", "", "--nope", "-"], 1)
    case.random.shuffle(words)
    command = case.random.choice([name for name in COMMANDS if name not in ("doctor", "repro-check")])
    short = ["debug=fast", "device=cpu", "max_steps=1", "epochs=null", "eval=never"] if command == "train" else []
    case.command = [command, *(word for word in words if not (short and word == "-m")), *short]


def configs(case: Case) -> None:
    """Compose a damaged option file of the user."""
    source = case.random.choice(sorted((ROOT / "conf").rglob("*/*.yaml")))
    target = case.folder / "conf" / source.parent.relative_to(ROOT / "conf") / "damaged.yaml"
    target.parent.mkdir(parents=True)
    content = source.read_bytes()
    if case.random.random() < 0.5:
        content = damaged_bytes(content, case.random)
    else:
        plain = yaml.safe_load(content) or {}
        content = yaml.safe_dump(damaged_node(plain, case.random), sort_keys=False, allow_unicode=True).encode()
    target.write_bytes(content)
    group = target.parent.relative_to(case.folder / "conf").as_posix()
    group = "+transform@pipeline.train.x" if group == "transform" else group
    case.command = ["train", "--cfg", "job", f"{group}=damaged", "--config-dir", "conf"]


def files(case: Case) -> None:
    """Use a run folder in which one file is damaged, by the command that reads it."""
    run = case.folder / "runs" / "a"
    shutil.copytree(RUN, run)
    checkpoints = [f"checkpoints/{name}" for name in ("manifest.json", "best.json", "last.pth", "last.pth", "best.pth")]
    names = ["config.yaml", "metrics.jsonl", "result.json", "env.json", "overrides.yaml", *checkpoints]
    path = run / case.random.choice(names)
    if path.suffix == ".pth" and case.random.random() < 0.5:
        (run / "checkpoints" / "manifest.json").unlink()  # otherwise the checksum refuses any change
    damage(path, case.random)
    case.command = case.random.choice(
        [
            ["train", "--resume", "runs/a", "device=cpu", *case.random.choice([[], ["epochs=3"]])],
            ["train", "--rerun", "runs/a", "device=cpu", "max_steps=1", "epochs=null", "eval=never"],
            ["evaluate", "run=runs/a", "device=cpu"],
            ["evaluate", "run=runs/a/checkpoints/last.pth", "device=cpu"],
            ["predict", "run=runs/a", "input=x.mp4", "device=cpu"],
            ["compare", "runs/a", "out=page"],
            ["explain", "run=runs/a", "optimizer.lr"],
            ["convert", str(path.relative_to(case.folder)), "out.pth"],
            ["train", f"init_from={path.relative_to(case.folder)}", "debug=fast", "device=cpu", "eval=never"],
        ]
    )


def lists(case: Case) -> None:
    """Train on a damaged list of videos."""
    path = case.folder / case.pick("list.txt", "list.json", "list.csv", "classInd.txt")
    rows = [f"v{index}.mp4" for index in range(5)]
    good = {
        ".txt": "".join(f"{row} {index % 2}\n" for index, row in enumerate(rows)),
        ".json": json.dumps([{"filename": row, "label": index % 2} for index, row in enumerate(rows)]),
        ".csv": "path,label\n" + "".join(f"{row},{index % 2}\n" for index, row in enumerate(rows)),
    }[path.suffix]
    path.write_text(good)
    damage(path, case.random)
    videos = [f"data.{split}.ann_file={path.name}" for split in ("train", "val")]
    case.command = ["train", "data=video_list", *videos, "device=cpu", "max_steps=1", "epochs=null", "log=text"]


KINDS: dict[str, Callable[[Case], None]] = {
    "overrides": overrides,
    "arguments": arguments,
    "configs": configs,
    "files": files,
    "lists": lists,
}


def damage(path: Path, rng: random.Random) -> None:
    """Replace a file by a damaged form of it, or by something that is no file."""
    kind = rng.choice(["bytes", "node", "node", "node", "empty", "folder", "pipe", "loop", "deep", "missing"])
    content = path.read_bytes()
    if kind == "bytes":
        path.write_bytes(damaged_bytes(content, rng))
    elif kind == "node":
        _damage_node(path, content, rng)
    elif kind == "deep":
        path.write_text("[" * 100_000 + "]" * 100_000)
    else:
        path.unlink()
        if kind == "empty":
            path.touch()
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "loop":
            path.symlink_to(path.name)


def _damage_node(path: Path, content: bytes, rng: random.Random) -> None:
    if path.suffix == ".pth":
        torch.save(damaged_node(torch.load(path, weights_only=True), rng), path)
    elif path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(damaged_node(yaml.safe_load(content), rng), sort_keys=False))
    elif path.suffix == ".json":
        path.write_text(_json(damaged_node(json.loads(content), rng)))
    else:
        lines = content.decode().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = _json(damaged_node(json.loads(lines[at]), rng)) if path.suffix == ".jsonl" else rng.choice(VALUES)
        path.write_text("\n".join(lines))


def _json(value: Any) -> str:
    return json.dumps(value) if value != 10**400 else "1" + "0" * 400


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut, flip, repeat or insert bytes."""
    at = rng.randrange(len(content) + 1)
    inserted = rng.choice(
        [b"\0", b"\xff\xfe", b"[", b"{", b"&a *a", b"!!int x", b"\t", b"\n- ", b": ", rng.randbytes(9)]
    )
    return rng.choice([content[:at], content[at:], content[:at] + inserted + content[at:], content[:at] * 2])


def damaged_node(value: Any, rng: random.Random) -> Any:
    """Return nested plain data with one node replaced, removed or renamed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(NODES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], damaged_node(value[at], rng), *value[at + 1 :]]
    key = rng.choice(list(value))
    rest = {name: item for name, item in value.items() if name != key}
    change = rng.random()
    if change < 0.15:
        return rest
    if change < 0.25:
        return rest | {rng.choice(["x", "hydra", "defaults", "_target_", "type"]): value[key]}
    return {name: damaged_node(item, rng) if name == key else item for name, item in value.items()}


def call(command: list[str]) -> int:
    """Run a command of vexp in this process."""
    return run_command(import_module(COMMANDS[command[0]]).main, command[1:])


def fork(case: Case) -> int:
    """Start the case in a child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        os.chdir(case.folder)
        out = os.open(case.folder.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.update(HOME=str(case.folder))
        status = call(case.command)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 2
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def judge(case: Case) -> str:
    """Run a case; return what is wrong with its end, empty if nothing is."""
    pid = fork(case)
    end = time.monotonic() + SECONDS * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))  # of a machine that is busy
    ended = 0
    while not ended and time.monotonic() < end:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        time.sleep(0.005)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return f"no end within {SECONDS} s"
    code, printed = os.waitstatus_to_exitcode(status), case.folder.with_suffix(".out").read_text(errors="replace")
    if "Traceback (most recent call last)" in printed:
        return f"traceback: {printed.strip().splitlines()[-1][:200]}"
    if code not in (0, 1, 2) or (code == 1 and not printed.strip()):
        return f"exit status {code}: {printed[-200:]}"
    if usage.ru_maxrss > MEGABYTES * 1024:
        return f"{usage.ru_maxrss >> 10} MB of memory"
    outer = case.folder.parent
    outside = {path.name for folder in (outer, outer.parent) for path in folder.iterdir()}
    outside -= {outer.name, case.folder.name, f"{case.folder.name}.out"}
    return f"wrote outside of its folder: {', '.join(sorted(outside))}" if outside else ""


def run_case(number: int, seed: int, kinds: list[str], parent: Path) -> tuple[Case, str, str]:
    """Make and judge case ``number``; return it, its kind and what is wrong."""
    kind = kinds[number % len(kinds)]
    folder = parent / str(number) / "outer" / "work"
    folder.mkdir(parents=True)
    case = Case(number, random.Random(f"{seed} {number} {kind}"), folder)
    KINDS[kind](case)
    wrong = judge(case)
    if not wrong:
        shutil.rmtree(folder.parent.parent)
    return case, kind, wrong


def main(argv: list[str] | None = None) -> int:
    """Run the cases; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"one kind of {', '.join(KINDS)}")
    parser.add_argument("--case", type=int, help="run only the case with this number, and print its output")
    parser.add_argument("--folder", help="keep the folders of failed cases here")
    given = parser.parse_args(argv)
    kinds = [kind for kind in KINDS if given.only in ("", kind)]
    parent = Path(given.folder or tempfile.mkdtemp(prefix="fuzz_")).absolute()
    torch.set_num_threads(1)
    os.environ["VEXP_CACHE"] = str(parent / "cache")
    compose().data.prepare()  # creating the videos takes longer than a case may
    call(["plan", "device=cpu"])  # imports what most cases need, once
    for module in ("vexp.training.run", "vexp.inference.evaluate", "vexp.inference.predictor", "vexp.cli.compare"):
        import_module(module)
    numbers = range(given.cases) if given.case is None else [given.case]
    tried: Counter[str] = Counter()
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for case, kind, wrong in pool.map(lambda number: run_case(number, given.seed, kinds, parent), numbers):
            tried[kind] += 1
            if wrong or given.case is not None:
                failed += bool(wrong)
                words = " ".join(word if len(word) < 100 else f"{word[:40]}...({len(word)})" for word in case.command)
                print(f"case {case.number} ({kind}): {words!r}: {wrong or 'right'}", flush=True)
            if given.case is not None:
                print(case.folder.with_suffix(".out").read_text(errors="replace") if wrong else "")
    counts = ", ".join(f"{count} {kind}" for kind, count in tried.items())
    print(f"{sum(tried.values())} cases ({counts}), {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
