"""Which files are there when, held against mmcv's CheckpointHook as recorded, and the differences on purpose."""

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp.checkpoint import Checkpoint, prunable

CASES = json.loads((GOLDEN_DIR / "checkpointhook.json").read_text())["cases"]


def ours(case, words):
    """[steps done, files] whenever they change, of a run that is driven as the loop drives it."""
    options = Checkpoint(**words)
    per_epoch, every = case["iters"], options.every()
    total, written, seen = case["epochs"] * per_epoch, [], []
    for step in range(case["start_epoch"] * per_epoch + 1, total + 1):
        if every.due(step, per_epoch) or (step == total and options.save_last):
            name = options.name(step, per_epoch)
            written = [*(other for other in written if other != name), name]
            for gone in prunable(written, options.max_keep_ckpts, written):
                written.remove(gone)
            seen.append([step, sorted(file.removesuffix(".pth") for file in written)])
    return seen


def theirs(case):
    steps = [[done, sorted(name.replace("iter_", "step_") for name in files)] for done, files in case["files"]]
    return [entry for entry in steps if entry[1]]


def label(case):
    return f"{case['tag']} {case['kw']}"


def on_purpose(case):
    """Why ours is another; None where it is the same."""
    words = case["kw"]
    keep, interval = words.get("max_keep_ckpts", -1), words.get("interval", -1)
    length = case["epochs"] * (case["iters"] if case["runner"] == "iter" else 1)
    if case["tag"] == "by_epoch=False on the epoch runner":
        return "theirs overwrites epoch_<n>.pth within the epoch: a file that says an epoch is complete which is not"
    if case["tag"] == "by_epoch=True on the iter runner":
        return "theirs saves nothing, silently: a run of max_steps has epochs, too"
    if keep > 0 and interval > 0 and length % interval and length // interval >= keep:
        return "theirs keeps K+1: the last one at a non-multiple deletes nothing"
    return None


@pytest.mark.parametrize("case", [c for c in CASES if on_purpose(c) is None], ids=label)
def test_the_files_are_those_of_mmcv(case):
    assert ours(case, case["kw"]) == theirs(case)


@pytest.mark.parametrize("case", [c for c in CASES if on_purpose(c) is not None], ids=label)
def test_the_files_that_differ_on_purpose(case):
    words, found = case["kw"], ours(case, case["kw"])
    assert found != theirs(case)
    if "K+1" in on_purpose(case):
        assert len(theirs(case)[-1][1]) == words["max_keep_ckpts"] + 1
        assert len(found[-1][1]) == words["max_keep_ckpts"]
        assert found[:-1] == theirs(case)[:-1]  # and all before it is the same
    elif words.get("by_epoch") is False:  # counted in steps, each under its own number, the last one whatever comes
        total = case["epochs"] * case["iters"]
        assert [step for step, _ in found] == [
            step for step in range(1, total + 1) if step % words["interval"] == 0 or step == total
        ]
        assert set(found[-1][1]) == {f"step_{step}" for step, _ in found}
    else:
        assert [files[-1] for _, files in found] == ["epoch_1", "epoch_2", "epoch_3"]


def test_every_recorded_case_is_held_against():
    assert len(CASES) == 31
    assert sum(on_purpose(case) is not None for case in CASES) == 10
