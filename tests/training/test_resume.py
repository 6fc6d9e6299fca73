"""What has changed since a checkpoint is said in full; what cannot work is refused."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vexp import compose, train
from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.training.resume import IGNORED_KEYS


@functools.cache
def plain(*words: str) -> dict[str, Any]:
    result: dict[str, Any] = to_dict(compose(list(words)), types=True)
    return result


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([], [], []),
        ([], ["optimizer.lr=0.5"], []),  # said by parameter group
        (["data.batch_size=4"], ["seed=3", "data.batch_size=8"], ["data.batch_size 4 -> 8", "seed 0 -> 3"]),
        ([], ["lr=step", "lr.step=[3]"], ["lr_policy cosine -> step"]),  # not each of its values
        ([], ["eval.metrics=[top_k_accuracy]"], [
            "eval.metrics [top_k_accuracy,mean_class_accuracy] -> [top_k_accuracy]"
        ]),
        ([], ["~pipeline.train.flip"], ["pipeline.train.flip left out"]),
        (["~pipeline.train.flip"], [], ["pipeline.train.flip added"]),
        ([], ["grad.clip.max_norm=40"], ["grad.clip.max_norm null -> 40.0"]),
        ([], ["resume=auto", "out_root=elsewhere", "run_name=other"], []),  # where, not what
    ],
)  # fmt: skip
def test_what_changed(old: list[str], new: list[str], said: list[str]) -> None:
    assert diff_configs(plain(*old), plain(*new), leave_out=IGNORED_KEYS) == said


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps an epoch with checkpoints of every step."""
    folder = tmp_path_factory.mktemp("stopped")
    train.run(compose(WORDS), folder, overrides=WORDS)
    return folder


WORDS = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "eval=never", "checkpoint=all",
    "checkpoint.by_epoch=false",
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "words", "message"),
    [
        (3, ["data.batch_size=2"], "steps per epoch has changed .*samples_per_step 4 -> 2"),
        (4, ["data.train.indices=8"], "steps per epoch has changed .num_samples 16 -> 8"),
        (3, ["data.train.indices=15"], "within an epoch, after step 3 .*num_samples 16 -> 15"),
        (3, ["model.width=16"], "does not fit this model"),
        (3, ["optimizer=sgd"], "was trained with AdamW, the config has SGD"),
        (8, [], "nothing is left"),
    ],
)
def test_what_cannot_go_on_is_refused(stopped: Path, tmp_path: Path, step: int, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train.run(compose([*WORDS, *words, f"resume={stopped}/checkpoints/step_{step}.pth"]), tmp_path)


def test_a_refused_resume_leaves_the_run_as_it_was(stopped: Path, tmp_path: Path) -> None:
    """The next one, with other words, must meet the run and not the words that were refused."""
    run = shutil.copytree(stopped, tmp_path / "run")
    files = {name: (run / name).read_bytes() for name in ("config.yaml", "overrides.yaml", "env.json", "result.json")}
    words = [*WORDS, "epochs=3", "optimizer=sgd", "resume=auto"]
    with pytest.raises(UserError, match="was trained with AdamW"):
        train.run(compose(words), run, overrides=words)
    assert {name: (run / name).read_bytes() for name in files} == files
    words = [*WORDS, "max_steps=9", "epochs=null", "resume=auto"]
    assert train.run(compose(words), run, overrides=words)["step"] == 9  # and one that is taken is written
    assert "max_steps: 9" in (run / "config.yaml").read_text()
    assert json.loads((run / "result.json").read_text())["step"] == 9


def test_a_damaged_newest_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    stopped: Path, tmp_path: Path
) -> None:
    """The whole way: in place, with changed settings said, to the same end."""
    words = [*WORDS, "max_steps=3", "epochs=null", "lr=fixed"]
    train.run(compose(words), tmp_path, overrides=words)
    newest = tmp_path / "checkpoints" / "last.pth"  # and step_3.pth: one file
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    (tmp_path / "eval").mkdir(exist_ok=True)
    for name in ("checkpoints/.last.pth.77.tmp", "eval/.view_logits.npz.77.tmp"):
        (tmp_path / name).write_bytes(b"half")
    train.run(compose([*words, "max_steps=4", "resume=auto"]), tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert f"warning: skipped: {newest}: is damaged" in log
    assert "step_2.pth after step 2" in log
    assert "changed since: max_steps 3 -> 4" in log
    assert "changed since: resume" not in log
    assert ".last.pth.77.tmp, a temporary file of a killed run" in log
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_run_that_was_killed_after_its_last_step_is_concluded(stopped: Path, tmp_path: Path) -> None:
    """Only the results were missing: resume=auto writes them and trains nothing."""
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / "result.json").unlink()
    before = (folder / "metrics.jsonl").read_text()
    result = train.run(compose([*WORDS, "resume=auto"]), folder)
    assert result["status"] == "done"
    assert json.loads((folder / "result.json").read_text())["step"] == 8
    assert (folder / "metrics.jsonl").read_text() == before
