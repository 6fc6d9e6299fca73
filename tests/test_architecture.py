"""Architecture: floors of folders, import circles, lazy imports."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vexp

SRC = Path(vexp.__file__).parent
FILES = sorted(SRC.rglob("*.py"))

#: Folder, or file of the package's root, -> floor. A folder imports only from floors below its own.
FLOORS = {
    "core": 1,
    "data": 2, "checkpoint": 2, "tracking": 2,
    "model": 3,
    "optim": 4, "runtime": 4,
    "evaluation": 5,
    "config": 6,
    "task": 7,
    "experiment": 8,
    "training": 9, "inference": 9, "sweep": 9,
    "tools": 10,
    "cli": 11,
    "__init__": 12, "__main__": 12, "train": 12,
}  # fmt: skip
#: Folders of data may import each other, without circles.
DATA = {"annotations", "sources", "decoding", "storage", "transforms", "batch", "loading"}
#: The one exception, as (folder, what it imports): cli/train.py is the command of the user's entry point train.py.
EXCEPTIONS = {("cli", "train")}
HEAVY = {"torch", "torchvision", "matplotlib", "cv2", "av", "tensorboard"}


def folder_of(path):
    """``data`` for vexp/data/loading/dataset.py, ``train`` for vexp/train.py."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@cache
def imported_names(path, *, type_checking=True):
    """The full name of every import in a file, also within functions; relative ones resolved.

    Args:
        path: The file.
        type_checking: Include imports under ``if TYPE_CHECKING``.
    """
    package, names = ["vexp", *path.relative_to(SRC).parent.parts], []
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not type_checking:
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def file_of(name):
    """The file of vexp that an imported name means, a module or a name in a module.

    None for other packages, and for names of ``vexp`` itself (``__version__``), which every import of a part executes.
    """
    parts = name.split(".")
    if parts[0] != "vexp":
        return None
    for end in range(len(parts), 1, -1):
        place = SRC.joinpath(*parts[1:end])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def imports(path, *, type_checking=True):
    """The other files of vexp that a file imports."""
    files = {file_of(name) for name in imported_names(path, type_checking=type_checking)}
    return files - {None, path}


def relative(path):
    return str(path.relative_to(SRC))


def test_every_folder_has_a_floor():
    folders = {folder_of(path) for path in FILES}
    assert folders == set(FLOORS)
    in_data = {path.relative_to(SRC).parts[1] for path in FILES if folder_of(path) == "data"}
    assert in_data == DATA | {"__init__.py", "pixel_type.py"}


@pytest.mark.parametrize("folder", FLOORS)
def test_folder_imports_only_from_floors_below(folder):
    wrong = {
        f"{relative(path)} imports {relative(target)}"
        for path in FILES
        if folder_of(path) == folder
        for target in imports(path)
        if folder_of(target) != folder
        and FLOORS[folder_of(target)] >= FLOORS[folder]
        and (folder, folder_of(target)) not in EXCEPTIONS
        and FLOORS[folder] < FLOORS["train"]
    }
    assert wrong == set()


def test_only_main_imports_cli_and_only_cli_imports_tools():
    pairs = {(folder_of(path), folder_of(target)) for path in FILES for target in imports(path)}
    assert {importer for importer, target in pairs if target == "cli"} <= {"cli", "__main__"}
    assert {importer for importer, target in pairs if target == "tools"} <= {"tools", "cli"}


def test_files_import_each_other_without_circles():
    graph = {path: imports(path, type_checking=False) for path in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("imports in a circle: " + " <- ".join(map(relative, error.args[1])), pytrace=False)


def test_only_config_sweep_cli_and_train_import_hydra():
    users = {
        folder_of(path)
        for path in FILES
        if {"hydra", "omegaconf"} & {name.split(".")[0] for name in imported_names(path)}
    }
    assert users <= {"config", "sweep", "cli", "train"}


def test_only_remote_storage_imports_fsspec():
    """Paths of this machine, and archives on it, are read without it."""
    users = {relative(path) for path in FILES if any(name.startswith("fsspec") for name in imported_names(path))}
    assert users == {str(Path("data", "storage", "remote.py"))}
    at_import = ast.parse((SRC / "data" / "storage" / "remote.py").read_text(encoding="utf-8")).body
    assert not any("fsspec" in ast.unparse(node) for node in at_import if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize(
    "text",
    [
        "from ..training import loop",
        "from vexp.training import loop",
        "from vexp import training",
        "import vexp.training.loop",
        "def f():\n    import vexp.training.loop",
        "if TYPE_CHECKING:\n    from vexp.training.loop import train",
    ],
)
def test_imports_finds_every_kind_of_import(text, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SRC", tmp_path)
    for name in ("data/new.py", "training/__init__.py", "training/loop.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text if name == "data/new.py" else "")
    path = tmp_path / "data" / "new.py"
    assert {folder_of(target) for target in imports(path)} == {"training"}
    assert bool(imports(path, type_checking=False)) is ("TYPE_CHECKING" not in text)


IMPORTED = f"""
import sys
def heavy():
    return sorted({HEAVY | {"numpy._core", "vexp.model.zoo"}!r} & sys.modules.keys())
import vexp.config.compose
print(heavy())
config = vexp.compose(["optimizer=sgd", "lr=step", "data.num_workers=0"])
print(heavy())
for wrong in ("optimizer=sdg", "optimizer.momentun=1", "optimizer.interval=1", "model.nmae=x", "seed=x", "~nope"):
    try:
        vexp.compose([wrong])
    except ValueError:
        print(heavy())
import vexp.train, vexp.cli.evaluate
print(heavy())
"""


def test_compose_and_commands_do_not_import_torch():
    """An invalid override is refused at once: importing, composing, refusing, and importing the commands.

    Only the classes of chosen options are imported, also for the suggestions of an error.
    """
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split("\n")) == ("", [*["[]"] * 9, ""])
