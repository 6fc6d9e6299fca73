"""The pages of docs/ are run: every command composes, every python block runs, links lead somewhere.

In the slow lane each page is a session in a folder of its own: its commands are typed one after the other, with few
samples, and what a ``console`` block says is compared with what is printed. (tests/scripts/test_datasets_page.py runs
docs/howto/datasets.md, on the folder that it speaks of.)
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import (
    PAGES,
    README,
    ROOT,
    blocks,
    check_command,
    commands,
    split_command,
    typed_commands,
    write_files,
)

from vexp.cli import import_mmaction
from vexp.core.errors import ConfigError
from vexp.data.sources import motion

MMACTION = ROOT / "tests" / "golden" / "mmaction_configs" / "v0"
RUN = list(dict.fromkeys(command for page in PAGES for command in typed_commands(page, runs=True)))
#: Commands that a page shows being refused by vexp.train, and how.
REFUSED = [
    (command, said)
    for page in (README, *PAGES)
    for block in blocks(page)
    for command, said in block.sessions()
    if said and said[0].startswith("vexp: error: ") and split_command(command)[:2] == ["vexp", "train"]
]
NOT_RUN = [command for command in dict.fromkeys(c for page in PAGES for c in commands(page)) if command not in RUN]
MOTION = ("data.train_clips=1", "data.val_clips=1")  # a video of each class of the embedded set
WITH_PYTHON = [page for page in PAGES if any(block.language == "python" and not block.file for block in blocks(page))]


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages show, to compose with."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(MMACTION, folder, dirs_exist_ok=True)
    for page in PAGES:
        write_files(page, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        import_mmaction.main(["tsm_r50_1x1x8_50e_sthv1_rgb.py"])  # writes the experiment of the page on migration
        yield folder
    for module in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[module]


@pytest.mark.integration
@pytest.mark.parametrize("command", NOT_RUN)
def test_command_that_is_not_run_composes(command: str) -> None:
    check_command(command)


def test_every_command_is_valid() -> None:
    """Other lanes compose or run them as they stand; here their programs, files, flags and options are looked up."""
    assert len(RUN) > 30
    for command in {*RUN, *NOT_RUN} - {command for command, _ in REFUSED}:
        check_command(command, composes=False)


@pytest.mark.parametrize(("command", "said"), REFUSED)
def test_error_equals_documented_error(command: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        check_command(command)
    assert f"vexp: error: {refused.value}".splitlines() == said


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda p: p.stem)
def test_python_blocks_of_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.language == "python" and block.file is None and block.needs is None:
            exec(compile(block.text, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page_begins_with_title_and_summary(page: Path) -> None:
    title, blank, first = page.read_text().split("\n")[:3]
    assert title.startswith("# ")
    assert not blank
    assert len(first) > 40, "the first line says what the page answers"
    assert {block.language for block in blocks(page)} <= {"bash", "console", "python", "yaml", "sql", "text"}
    known = " ".join(commands(page))
    for block in blocks(page):
        if block.language == "yaml":  # an option, or a file: some command of the page takes it
            assert block.file is not None
            option = rf"{Path(block.file).parent.name}(@[\w.]+)?={Path(block.file).stem}\b"
            assert block.file in known or re.search(option, known)


def test_links_of_pages_exist() -> None:
    for page in (README, *PAGES):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith("https://"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_site_builds_without_warning_and_fetches_nothing(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "conf" / "train.yaml").is_file()
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?://")
    assert [p.name for p in (tmp_path / "site").rglob("*.html") if fetched.search(p.read_text())] == []


@pytest.fixture
def folder(tmp_path: Path, motion_cache: Path) -> Path:
    """What a reader has: a clone's scripts, videos in class folders, lists of them, the files that the page shows."""
    size = {"seed": 0, "train_clips": 3, "val_clips": 2}
    motion.ensure_motion(motion_cache, **size)
    made = motion.folder_of(motion_cache, **size)
    for name in ("scripts", "multirun_examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(MMACTION, tmp_path, dirs_exist_ok=True)
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for split in lines:
        for line in (made / f"{split}.txt").read_text().splitlines():
            name, label = line.rsplit(" ", 1)
            target = tmp_path / "videos" / split / f"class_{label}" / Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / name, target)
            lines[split].append(f"{split}/class_{label}/{target.name} {label}")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines[split]))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in (README, *PAGES) if p.stem != "datasets"], ids=lambda p: p.stem)
def test_commands_of_page_run(page: Path, folder: Path) -> None:
    write_files(page, folder)
    for block in blocks(page):
        for command, said in [] if block.needs else block.sessions():
            if "RUN" in shlex.split(command) or "=RUN" in command:
                if not newest_run(folder):
                    typed("python -m vexp.train", folder)
                command = command.replace("RUN", str(newest_run(folder)))
            printed = typed(command, folder)
            for line in said:
                assert line == "..." or masked(line) in masked(printed), f"{command}\n{line}\n---\n{printed}"


def newest_run(folder: Path) -> Path | None:
    runs = [path.parent for path in folder.rglob("result.json")]
    return max(runs, key=lambda run: (run / "result.json").stat().st_mtime) if runs else None


def masked(text: str) -> str:
    """Without what differs from machine to machine and run to run."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.e+,:_-]*", "#", text))


def few_samples(command: str) -> list[str]:
    """What makes a run of a page one of seconds."""
    words = ["data.batch_size=4", "data.num_workers=0", "log.interval=1", "device=cpu"]
    words += (
        ["data.train.indices=8", "data.val.indices=4"]
        if "data=" in command
        else ["data.train_clips=1", "data.val_clips=1"]
    )
    return words + ([] if "max_steps=" in command else ["epochs=1"])


def typed(command: str, folder: Path) -> str:
    """What a command prints, on either stream; its exit status must be 0, or 2 where it is shown to be refused."""
    words = split_command(command)
    if words[0] not in ("python", "bash", "vexp"):
        return ""
    if words[:2] == ["vexp", "train"] and not {"--rerun", "--resume", "--cfg", "--help"} & set(words):
        words += few_samples(command)
    elif words[:2] in (["vexp", "show"], ["vexp", "repro-check"]) and "data=" not in command:
        words += MOTION
    start = {"python": [sys.executable], "vexp": [sys.executable, "-m", "vexp"]}
    ran = subprocess.run(
        [*start.get(words[0], words[:1]), *words[1:]],
        cwd=folder, env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True,
    )  # fmt: skip
    printed = (ran.stdout + ran.stderr).replace(f"{ROOT}/", "")  # as where a reader is, in the clone
    assert ran.returncode == 0 or "vexp: error" in printed, f"{command}\n{printed}"
    assert "Traceback" not in printed, f"{command}\n{printed}"
    return printed
