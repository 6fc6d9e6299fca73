"""Checkpoint files during a run, compared with recorded ones of mmcv's CheckpointHook, and intended differences."""

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp.checkpoint import Checkpoint, prunable

CASES = json.loads((GOLDEN_DIR / "checkpointhook.json").read_text())["cases"]


def files_of_vexp(case):
    """Return [step, files] after each save of a run, with the decisions of the training loop."""
    options = Checkpoint(**case["kw"])
    per_epoch, every = case["iters"], options.every()
    total, written, history = case["epochs"] * per_epoch, [], []
    for step in range(case["start_epoch"] * per_epoch + 1, total + 1):
        if every.due(step, per_epoch) or (step == total and options.save_last):
            name = options.name(step, per_epoch)
            written = [*(other for other in written if other != name), name]
            for pruned in prunable(written, options.max_keep_ckpts, written):
                written.remove(pruned)
            history.append([step, sorted(file.removesuffix(".pth") for file in written)])
    return history


def files_of_mmcv(case):
    steps = [[done, sorted(name.replace("iter_", "step_") for name in files)] for done, files in case["files"]]
    return [entry for entry in steps if entry[1]]


def label(case):
    return f"{case['tag']} {case['kw']}"


def difference(case):
    """Return why the files of vexp differ; None if they are equal."""
    options = case["kw"]
    keep, interval = options.get("max_keep_ckpts", -1), options.get("interval", -1)
    length = case["epochs"] * (case["iters"] if case["runner"] == "iter" else 1)
    if case["tag"] == "by_epoch=False on the epoch runner":
        return "mmcv overwrites epoch_<n>.pth within the epoch, although that epoch is not complete"
    if case["tag"] == "by_epoch=True on the iter runner":
        return "mmcv saves nothing; here a run of max_steps has epochs"
    if keep > 0 and interval > 0 and length % interval and length // interval >= keep:
        return "mmcv keeps K+1: a last one off the interval deletes nothing"
    return None


@pytest.mark.parametrize("case", [c for c in CASES if difference(c) is None], ids=label)
def test_checkpoint_files_equal_mmcv(case):
    assert files_of_vexp(case) == files_of_mmcv(case)


@pytest.mark.parametrize("case", [c for c in CASES if difference(c) is not None], ids=label)
def test_checkpoint_files_differ_from_mmcv_as_intended(case):
    options, saves = case["kw"], files_of_vexp(case)
    assert saves != files_of_mmcv(case)
    if "K+1" in difference(case):
        assert len(files_of_mmcv(case)[-1][1]) == options["max_keep_ckpts"] + 1
        assert len(saves[-1][1]) == options["max_keep_ckpts"]
        assert saves[:-1] == files_of_mmcv(case)[:-1]  # all earlier ones are equal
    elif options.get("by_epoch") is False:  # named by step; the last step is always saved
        total = case["epochs"] * case["iters"]
        assert [step for step, _ in saves] == [
            step for step in range(1, total + 1) if step % options["interval"] == 0 or step == total
        ]
        assert set(saves[-1][1]) == {f"step_{step}" for step, _ in saves}
    else:
        assert [files[-1] for _, files in saves] == ["epoch_1", "epoch_2", "epoch_3"]


def test_recorded_cases_are_all_compared():
    assert len(CASES) == 31
    assert sum(difference(case) is not None for case in CASES) == 10
