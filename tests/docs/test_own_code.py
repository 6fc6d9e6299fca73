"""docs/howto/own_code.md is run: its model, dataset and transform train, and errors have the form of vexp's own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from support.documents import ROOT, blocks, typed_commands, write_files

from vexp import compose, train
from vexp.__main__ import main
from vexp.core.errors import ConfigError

PAGE = ROOT / "docs" / "howto" / "own_code.md"
COMMANDS = [command for command in typed_commands(PAGE, runs=True) if "plugins=" in command]
OF_TASK = next(command for command in COMMANDS if "data=brightness_clips" in command)


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page's examples, and a few .npy clips."""
    write_files(PAGE, tmp_path)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("dark", "bright"):
            folder = tmp_path / "clips" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                np.save(folder / f"{number}.npy", rng.integers(0, 256, (20, 72, 80, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[module]


def test_own_code_page_has_commands() -> None:
    assert {block.file for block in blocks(PAGE)} - {None} == {
        "mine/models.py", "mine/data.py", "mine/transforms.py",
        "my_conf/model/frame_net.yaml", "my_conf/data/npy_clips.yaml", "my_conf/transform/random_gray.yaml",
        "mine/tasks.py", "my_conf/data/brightness_clips.yaml",
    }  # fmt: skip
    assert len(COMMANDS) == 4


@pytest.mark.integration
def test_own_code_examples_train_together(own_code: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One run with the model, the dataset and the transform; tests/test_docs.py types each command as it stands."""
    words = list(dict.fromkeys(word for command in COMMANDS if command != OF_TASK for word in shlex.split(command)[2:]))
    words += [w for w in tiny if not w.startswith(("model.", "data.", "epochs"))]
    train.main([*words, "data.batch_size=4", "data.num_workers=1", "max_steps=2"])
    (folder,) = (own_code / "runs").glob("*/*")
    assert (folder / "checkpoints" / "last.pth").is_file()
    saved = (folder / "config.yaml").read_text()
    assert all(line in saved for line in ("width: 16", "folder: clips", "probability: 0.5"))


@pytest.mark.integration
def test_own_task_trains_and_is_evaluated(own_code: Path, tiny: list[str]) -> None:
    """The metrics of the log and of the report are those of the task; a wrong metric is refused by name."""
    words = [*shlex.split(OF_TASK)[2:], *(word for word in tiny if not word.startswith(("data.", "epochs")))]
    words += ["data.batch_size=2", "data.num_workers=0", "run_name=task"]
    train.main([*words, "max_steps=4"])
    (folder,) = (own_code / "runs" / "task").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert (result["step"], set(result["metrics"])) == (4, {"val/mean_error", "val/loss"})
    assert result["best"]["metric"] == "mean_error"
    report = json.loads((folder / "eval" / "report.json").read_text())
    assert report["metrics"]["mean_error"] == result["best"]["score"]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all("top1_acc" not in record for record in records)
    evaluated = main(["evaluate", f"run={folder}", "--config-dir", "my_conf", "plugins=[mine]", "out=again"])
    assert evaluated == 0
    again = json.loads((own_code / "again" / "report.json").read_text())
    assert again["metrics"] == report["metrics"]
    with pytest.raises(ConfigError, match=r"eval.metrics=\[top_k_accuracy\]: must be one of mean_error"):
        compose([*(word for word in words if word not in ("--config-dir", "my_conf")), "eval.metrics=[top_k_accuracy]"],
                config_dirs=[own_code / "my_conf"])  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=frame_net", "model.width=wide"], "model.width=wide: must be a whole number"),
        (["model=frame_net", "model.widht=3"], "model.widht: FrameNet has no 'widht'.*did you mean model.width?"),
        (["data=npy_clips"], "data.folder: a value must be given"),
        (["data=npy_clips", "data.folder=x", "data.batch_size=0"], "data.batch_size=0: must be >= 1"),
        (
            ["+transform@pipeline.train.gray=random_gray", "pipeline.train.gray.probability=2"],
            "pipeline.train.gray.probability=2.0: must be <= 1",
        ),
    ],
)
def test_own_code_invalid_override_is_refused(own_code: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose(["plugins=[mine]", *words], config_dirs=[own_code / "my_conf"])
