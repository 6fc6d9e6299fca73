"""docs/howto/datasets.md: its commands are run as they stand, on such a folder as it speaks of."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.documents import split_command
from support.paths import ROOT

import vexp
from vexp.__main__ import main
from vexp.cli import dataset
from vexp.data.sources import motion
from vexp.data.sources.subsets import select_samples

PAGE = (ROOT / "docs/howto/datasets.md").read_text(encoding="utf-8")
BLOCKS = [text.replace("\\\n", " ").splitlines() for text in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)]
COMMANDS = [
    split_command(line.partition(" #")[0])
    for block in BLOCKS
    for line in block
    if line.strip() and "SUBCOMMAND" not in line
]
OF_PUBLISHED_SETS = ("ucf101", "hmdb51", "k400", "something")


def make_videos(folder: Path, cache: Path) -> None:
    """``videos/CLASS/recNN_x.mp4``: two clips a recording; one file is cut off, one is there twice."""
    made = motion.ensure_motion(cache, seed=0, train_clips=6, val_clips=1)
    for path, label, number in motion.listing("train", 6):
        target = folder / "videos" / motion.CLASSES[label] / f"rec{number // 2:02}_{'ab'[number % 2]}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / path, target)
    shutil.copy(folder / "videos/up/rec00_a.mp4", folder / "videos/up/rec09_a.mp4")
    cut = folder / "videos/grow/rec01_b.mp4"
    cut.write_bytes(cut.read_bytes()[:20000])


def test_datasets_page_commands_are_valid() -> None:
    assert {words[2] for words in COMMANDS if words[1] == "dataset"} == {
        "index", "check", "lists", "rescale", "frames", "flow",
    }  # fmt: skip
    assert len(COMMANDS) >= 14
    for words in COMMANDS:
        if words[1] == "dataset":
            dataset.parser().parse_args(words[2:])
        else:
            assert words[:2] == ["vexp", "train"]


@pytest.mark.slow
def test_datasets_page_commands_run(tmp_path: Path, motion_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_videos(tmp_path, motion_cache)
    monkeypatch.chdir(tmp_path)
    for words in COMMANDS:
        if any(name in word for word in words for name in OF_PUBLISHED_SETS):
            continue  # these need the dataset itself; their formats: tests/dataset_tools/test_written_lists.py
        if words[1] == "dataset":
            assert main([*words[1:], *([] if words[2] == "lists" else ["--workers=0"])]) in (0, 1), words
        else:
            data = vexp.compose(words[2:]).data
            for split in ("train", "val"):
                source = select_samples(data, split)
                assert source is not None
                with source.open(0) as reader:
                    assert len(reader.frames([0]))
