"""Bugs that users of other projects have reported, held against vexp; the table is docs/explanation/known_traps.md."""

from __future__ import annotations

import gc
import random
import re
import weakref
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import ROOT

from vexp import compose, train
from vexp.config.hydra_versions import version_base
from vexp.core.errors import ConfigError
from vexp.sweep import run_sweep
from vexp.tracking.services import Service, _random_id

pytestmark = pytest.mark.usefixtures("composed_by_hydra")

PAGE = ROOT / "docs" / "explanation" / "known_traps.md"


def test_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_package_without_a_wheel_is_needed_by_hydra_1_3_only() -> None:
    """No other dependency brings a package that has to be built; the page has the version that was tested."""
    users = {
        found.metadata["Name"]
        for found in distributions()
        if any(requirement.startswith("antlr4") for requirement in found.requires or ())
    }
    assert users == ({"hydra-core", "omegaconf"} if version_base() else set())
    pinned = re.search(r"^antlr4-python3-runtime==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"`pip wheel {pinned[0]}`" in PAGE.read_text(encoding="utf-8")


def test_every_fault_names_its_test_or_why_there_is_none() -> None:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and line.count("|") > 3 and "| Test |" not in line:
            assert re.search(r"\| (`tests/[\w/]+\.py::\w+`|None: .+) \|$", line), line


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("~img_norm.mean.0", "'img_norm.mean=[...]'"),
        ("~eval.metrics.1", "'eval.metrics=[...]'"),
        ("~init_from", "init_from=VALUE"),
        ("~epochs", "epochs=VALUE"),
        ("~seed=3", "seed=VALUE"),
    ],
)
@pytest.mark.skipif(not version_base(), reason="Hydra 1.4 removes null values and items of lists")
def test_key_that_cannot_be_removed_is_named(override: str, fragment: str) -> None:
    """Hydra 1.3.8: list indices must be integers or slices, not str; or: 'init_from' does not exist (#2829, #3146)."""
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert caught.value.key == override.partition("=")[0]
    assert fragment in str(caught.value)


def test_unknown_key_cannot_be_removed() -> None:
    with pytest.raises(ConfigError, match="there is no 'nope'"):
        compose(["~nope"])


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults:\n  - /schema/model/tiny3d@_here_\nwidth: 16\n")
    (tmp_path / "experiment").mkdir()
    for name, base, model in (("base", "", "r3d_18"), ("child", "  - base\n", "x3d_m")):
        text = f"# @package _global_\ndefaults:\n{base}  - override /model: {model}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    return tmp_path


def jobs_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The swept overrides of every job that a command would run."""
    found: list[Any] = []
    monkeypatch.setattr(run_sweep.SweepRunner, "run", lambda runner, jobs: found.extend(jobs))
    monkeypatch.setattr(run_sweep.SweepRunner, "exit_status", lambda runner: 0)
    assert train.main(arguments) == 0
    return [job.label.split() for job in found]


def test_glob_lists_options_of_user_folders(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra looks in the folder of the program only (#1942, #3278)."""
    words = [
        "-m",
        "model=glob([tiny*,mine,ts*],exclude=[ts*,tiny3d_*])",
        "--config-dir",
        str(own_folder),
        f"out_root={tmp_path}/runs",
    ]
    assert jobs_of(words, monkeypatch) == [["model=mine"], ["model=tiny3d"]]


@pytest.mark.integration
def test_overrides_on_both_sides_of_a_flag_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra 1.3.8 takes one block of overrides and drops or refuses the others (#3133)."""
    words = ["seed=1", "-m", "optimizer=sgd,adamw", "epochs=1", "--config-dir", str(tmp_path), "lr=step,cosine"]
    jobs = jobs_of([*words, f"out_root={tmp_path}/runs"], monkeypatch)
    assert jobs == [
        [f"optimizer={optimizer}", f"lr_policy={policy}"]
        for optimizer in ("sgd", "adamw")
        for policy in ("step", "cosine")
    ]


@pytest.mark.parametrize(
    ("overrides", "model"),
    [
        (["experiment=base"], "TorchvisionVideo"),
        (["experiment=child"], "X3d"),
        (["experiment=child", "model=c3d"], "C3d"),
    ],
)
def test_later_choice_of_a_group_counts(overrides: list[str], model: str, own_folder: Path) -> None:
    """In a chain of experiments that override one group, Hydra has taken the first (#3229, #3318)."""
    assert type(compose(overrides, config_dirs=[own_folder]).model).__name__ == model


def test_runs_of_equal_seeds_have_ids_of_their_own(tmp_path: Path) -> None:
    """W&B derived ids from Python's generator, which a seed sets: two runs wrote into one (0.24.0)."""
    ids = []

    def run_id(folder: Path) -> str:
        return Service("pytest", folder, []).run_id(lambda: _random_id(folder))  # any package that is installed

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        random.seed(0)
        ids.append(run_id(tmp_path / name))
    assert ids[0] != ids[1]
    (tmp_path / "a").rename(tmp_path / "moved")
    assert run_id(tmp_path / "moved") == ids[0]


def test_error_of_a_config_keeps_nothing_of_its_caller_alive() -> None:
    """A traceback in a cache or a global kept frames, and with them the memory of a GPU (OmegaConf #1295, #1314)."""

    class Tensor:
        pass

    def fail(override: str) -> weakref.ref[Tensor]:
        tensor = Tensor()
        with pytest.raises(ConfigError):
            compose([override])
        return weakref.ref(tensor)

    references = [fail(override) for override in ("optimizer.lr=fast", "optimizer=sdg", "epochs=0")]
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_seeds_epochs_and_samples_share_no_stream() -> None:
    """Sums and small hashes of a seed and an index collide (Lightning #21399)."""
    keys = [(seed, epoch, index) for seed in range(4) for epoch in range(5) for index in range(250)]
    first = {int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) for key in keys}
    assert len(first) == len(keys)


def test_yaml_whose_aliases_multiply_its_size_is_refused(tmp_path: Path) -> None:
    """OmegaConf 2.3 fills the memory (#794)."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bomb.yaml").write_text("# @package _global_\n" + "\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"bomb\.yaml:\d+: more than"):
        compose(["experiment=bomb"], config_dirs=[tmp_path])
