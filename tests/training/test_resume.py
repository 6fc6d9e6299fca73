"""Resuming: changed settings are logged, and incompatible checkpoints are rejected."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.run_files import flip_bit
from support.tables import default_lane_has

from vexp import compose, train
from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.training.resume import IGNORED_KEYS


@functools.cache
def config_of(*overrides: str) -> dict[str, Any]:
    result: dict[str, Any] = to_dict(compose(list(overrides)), types=True)
    return result


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ([], [], []),
        ([], ["optimizer.lr=0.5"], []),  # logged per parameter group instead
        (["data.batch_size=4"], ["seed=3", "data.batch_size=8"], ["data.batch_size 4 -> 8", "seed 0 -> 3"]),
        ([], ["lr=step", "lr.step=[3]"], ["lr_policy cosine -> step"]),  # not each of its arguments
        ([], ["eval.metrics=[top_k_accuracy]"], [
            "eval.metrics [top_k_accuracy,mean_class_accuracy] -> [top_k_accuracy]"
        ]),
        ([], ["~pipeline.train.flip"], ["pipeline.train.flip left out"]),
        (["~pipeline.train.flip"], [], ["pipeline.train.flip added"]),
        ([], ["grad.clip.max_norm=40"], ["grad.clip.max_norm null -> 40.0"]),
        ([], ["resume=auto", "out_root=elsewhere", "run_name=other"], []),  # folders are no settings
    ],
)  # fmt: skip
def test_diff_configs_lists_changed_settings(old: list[str], new: list[str], changes: list[str]) -> None:
    assert diff_configs(config_of(*old), config_of(*new), leave_out=IGNORED_KEYS) == changes


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps per epoch with a checkpoint of every step."""
    folder = tmp_path_factory.mktemp("stopped")
    train.run(compose(OVERRIDES), folder, overrides=OVERRIDES)
    return folder


OVERRIDES = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "model.width=8", "epochs=2",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "eval=never", "checkpoint=all",
    "checkpoint.by_epoch=false",
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "overrides", "message"),
    default_lane_has(
        2,
        [
            (3, ["data.batch_size=2"], "steps per epoch has changed .*samples_per_step 4 -> 2"),
            (4, ["data.train.indices=8"], "steps per epoch has changed .num_samples 16 -> 8"),
            (3, ["data.train.indices=15"], "within an epoch, after step 3 .*num_samples 16 -> 15"),
            (3, ["model.width=16"], "does not fit this model"),
            (3, ["optimizer=sgd"], "was trained with AdamW, the config has SGD"),
            (8, [], "nothing is left"),
        ],
    ),
)
def test_resume_rejects_incompatible_checkpoint(
    stopped: Path, tmp_path: Path, step: int, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train.run(compose([*OVERRIDES, *overrides, f"resume={stopped}/checkpoints/step_{step}.pth"]), tmp_path)


@pytest.mark.integration
def test_rejected_resume_changes_no_file_of_run(stopped: Path, tmp_path: Path) -> None:
    """A later resume with valid overrides must find the original files."""
    run = shutil.copytree(stopped, tmp_path / "run")
    files = {name: (run / name).read_bytes() for name in ("config.yaml", "overrides.yaml", "env.json", "result.json")}
    overrides = [*OVERRIDES, "epochs=3", "optimizer=sgd", "resume=auto"]
    with pytest.raises(UserError, match="was trained with AdamW"):
        train.run(compose(overrides), run, overrides=overrides)
    assert {name: (run / name).read_bytes() for name in files} == files
    overrides = [*OVERRIDES, "max_steps=9", "epochs=null", "resume=auto"]
    assert train.run(compose(overrides), run, overrides=overrides)["step"] == 9  # an accepted resume is written
    assert "max_steps: 9" in (run / "config.yaml").read_text()
    assert json.loads((run / "result.json").read_text())["step"] == 9


@pytest.mark.integration
def test_resume_skips_damaged_newest_checkpoint(stopped: Path, tmp_path: Path) -> None:
    """Resuming in place also logs changed settings and removes temporary files of a killed run."""
    overrides = [*OVERRIDES, "max_steps=3", "epochs=null", "lr=fixed"]
    train.run(compose(overrides), tmp_path, overrides=overrides)
    newest = tmp_path / "checkpoints" / "last.pth"  # the same file as step_3.pth
    flip_bit(newest)
    (tmp_path / "eval").mkdir(exist_ok=True)
    for name in ("checkpoints/.last.pth.77.tmp", "eval/.view_logits.npz.77.tmp"):
        (tmp_path / name).write_bytes(b"incomplete")
    train.run(compose([*overrides, "max_steps=4", "resume=auto"]), tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert f"warning: skipped: {newest}: is damaged" in log
    assert "step_2.pth after step 2" in log
    assert "changed since: max_steps 3 -> 4" in log
    assert "changed since: resume" not in log
    assert ".last.pth.77.tmp, a temporary file of a killed run" in log
    assert not list(tmp_path.rglob(".*.tmp"))


def test_resume_after_last_step_writes_result_only(stopped: Path, tmp_path: Path) -> None:
    """Only result.json is missing: resume=auto writes it and does not train."""
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / "result.json").unlink()
    before = (folder / "metrics.jsonl").read_text()
    result = train.run(compose([*OVERRIDES, "resume=auto"]), folder)
    assert result["status"] == "done"
    assert json.loads((folder / "result.json").read_text())["step"] == 8
    assert (folder / "metrics.jsonl").read_text() == before
