"""docs/howto/own_loop.md: its programs are run on videos in folders, and print what an epoch of vexp's data gives."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from support.documents import ROOT, blocks, write_files

from vexp.data.sources import motion

PAGE = ROOT / "docs" / "howto" / "own_loop.md"


@pytest.fixture
def loops(tmp_path: Path, motion_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs, and six training and two validation videos of two classes, in videos/SPLIT/CLASS."""
    made = motion.ensure_motion(motion_cache, seed=0, train_clips=3, val_clips=1)
    for split, clips in (("train", 3), ("val", 1)):
        for path, label, number in motion.listing(split, clips):
            if label < 2:
                target = tmp_path / "videos" / split / motion.CLASSES[label] / f"{number}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(made / path, target)
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_loops"


def test_page_has_a_program_for_each_kind_of_loop() -> None:
    names = {block.file for block in blocks(PAGE)} - {None}
    assert names == {"my_loops/plain.py", "my_loops/with_lightning.py", "my_loops/with_transformers.py"}


@pytest.mark.integration
def test_plain_loop_runs(loops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(loops / "plain.py"))
    assert re.fullmatch(r"top1_acc [01]\.\d{3} of 2 videos\n", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Lightning, about loaders without workers and short epochs
def test_lightning_loop_runs(loops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning")
    runpy.run_path(str(loops / "with_lightning.py"))
    assert re.search(r"top1_acc [01]\.\d{3} after 4 steps", capsys.readouterr().out)  # 2 batches an epoch


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_loop_runs(loops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("accelerate")
    runpy.run_path(str(loops / "with_transformers.py"))
    assert re.search(r"eval_loss \d\.\d{3} after 4 steps", capsys.readouterr().out)
