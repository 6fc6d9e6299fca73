"""The floors of the house: who may import whom, what is imported when, how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vexp

SRC = Path(vexp.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
LEAVES = {
    "data", "model", "optim", "evaluation", "tracking", "checkpoint", "showing", "diagnosis",
    "comparison", "migration", "dataset_tools",
    "schedule", "fields", "errors", "atomic", "checksum", "memory",
}  # fmt: skip
HEAVY = {"torch", "torchvision", "matplotlib", "cv2", "av", "tensorboard"}
LONGEST = 320  # lines


def room(path):
    """``data`` for vexp/data/loader.py, ``train`` for vexp/train.py, "" for the package's face."""
    first = path.relative_to(SRC).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def floor(path):
    if room(path) in LEAVES:
        return "leaf"
    return room(path) if room(path) in ("engine", "config", "sweep", "") else "door"


def imports(path):
    """Every module that a file imports anywhere, also within functions and for type checkers, by its full name."""
    package = ["vexp", *path.relative_to(SRC).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def names(paths):
    return {str(path.relative_to(SRC)) for path in paths}


DOORS = {room(path) for path in FILES if floor(path) == "door"}


def test_the_rooms_are_those_of_the_plan():
    assert {room(path) for path in FILES} >= LEAVES | {"engine", "config", "train", "evaluate"}
    assert all(
        (SRC / f"{door}.py").is_file() for door in DOORS
    )  # a door is a file, a new folder is a leaf to be listed


#: floor -> rooms that nothing on it may import
FORBIDDEN = {
    "leaf": {"engine", "config", "sweep", *DOORS},
    "engine": {"sweep", *DOORS},
    "config": {"engine", "sweep", *DOORS},
    "sweep": DOORS,
}


@pytest.mark.parametrize("where", FORBIDDEN)
def test_imports_run_one_way(where):
    wrong = {
        f"{path.relative_to(SRC)} imports {module}"
        for path in FILES
        if floor(path) == where
        for module in imports(path)
        if module.startswith("vexp.") and module.split(".")[1] in FORBIDDEN[where]
    }
    assert wrong == set()


def test_only_config_sweep_and_the_doors_know_hydra():
    knows = {path for path in FILES if {"hydra", "omegaconf"} & {module.split(".")[0] for module in imports(path)}}
    assert names(path for path in knows if floor(path) not in ("config", "sweep", "door")) == set()


def test_the_walk_sees_what_it_should(tmp_path, monkeypatch):
    """The three ways to import something forbidden are seen."""
    monkeypatch.setitem(globals(), "SRC", tmp_path)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "new.py"
    for text in ("from ..engine import loop", "from vexp import engine", "def f():\n    import vexp.training.loop"):
        path.write_text(text)
        assert any(module.startswith("vexp.training") for module in imports(path)), text
    assert floor(path) == "leaf"


IMPORTED = f"""
import sys
def heavy():
    return sorted({HEAVY!r} & sys.modules.keys())
import vexp.config.compose
print(heavy())
config = vexp.compose(["optimizer=sgd", "lr=step", "data.num_workers=0"])
print(heavy())
try:
    vexp.compose(["optimizer=sdg"])
except ValueError:
    print(heavy())
import vexp.train, vexp.evaluate
print(heavy())
"""


def test_a_config_is_composed_without_torch():
    """So that a mistyped word is answered at once: importing it, composing, refusing, and the doors themselves."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split("\n")) == ("", ["[]", "[]", "[]", "[]", ""])


def test_no_file_is_longer_than_a_person_reads():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert names(path for path, lines in lengths.items() if lines > LONGEST) == set()
