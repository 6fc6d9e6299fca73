"""``data.on_error=skip``: what takes a bad sample's place, who is told, when it is too much."""

from __future__ import annotations

import json

import pytest
import torch
from support.noise import content, dataset_of

from vexp.core.errors import UserError
from vexp.data.batch.batch import Failure
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, StepPlan, TrainSampler, iterate_batches, make_loader

CPU = torch.device("cpu")
workers_warn = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")


def counter(dataset, path=None, fraction=1.0, said=None):
    say = (lambda _: None) if said is None else said.append
    return BadSamples(dataset, split="train", max_fraction=fraction, path=path, say=say)


def trained(bad, workers, first_step=0, path=None):
    dataset = dataset_of(bad, "replace")
    order = TrainSampler(StepPlan(9, 4, 1, False), seed=5, shuffle=True, first_step=first_step, total_steps=9)
    loader = make_loader(dataset, order, num_workers=workers, device=CPU, persistent=False)
    return [content(batch) for batch in iterate_batches(loader, counter(dataset, path))]


def test_several_processes_count_what_all_have_found(tmp_path):
    """The same in each, in the same order, and written once."""
    waiting = []
    made = [
        BadSamples(
            dataset_of((), "replace"), split="train", max_fraction=0.2,
            path=tmp_path / "bad.jsonl", say=lambda _: None, exchange=lambda _: waiting, writes=rank == 0,
        )
        for rank in range(2)
    ]  # fmt: skip
    waiting[:] = [[Failure(3, "third", 0)], [Failure(1, "first", 0, fatal=True), Failure(3, "third", 0)]]
    for rank, bad in enumerate(made):
        for failure in waiting[rank]:
            bad.add(failure)
        assert bad.errors == {}
    for bad in made:
        with pytest.raises(UserError, match=r"2 bad of 9 samples, 1 allowed.*the last: first"):
            bad.settle()
        assert bad.errors == {3: "third", 1: "first"}
        assert bad.dataset.fatal == {1: "first"}
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2


@workers_warn
def test_the_replacement_depends_on_nothing_but_its_place():
    """Any number of workers, from any step on: the same bytes, in batches of the same sizes."""
    straight = trained([2, 7], 0)
    assert [len(ids) for _, _, ids in straight] == [4, 4, 1] * 3
    assert not {2, 7} & {i for _, _, ids in straight for i in ids}
    assert trained([2, 7], 2) == straight
    assert trained([2, 7], 1, first_step=4) == straight[4:]


def test_a_file_that_the_system_does_not_give_is_a_bad_sample():
    """A source of one's own lets through what Python raises: no traceback of a worker, and on_error=skip holds."""
    dataset = dataset_of([], "leave_out")
    dataset.source.open = lambda index: open(f"nowhere/{index}.npy", "rb")  # noqa: SIM115
    (failure,) = dataset[0, 2].bad
    assert failure.message == "video 2.mp4: [Errno 2] No such file or directory: 'nowhere/2.npy'"


def test_good_samples_are_what_they_were():
    """A bad file changes its own places and no other."""
    pairs = zip(trained([], 0), trained([4], 0), strict=True)
    for (frames, labels, ids), (other_frames, other_labels, other_ids) in pairs:
        if 4 not in ids:
            assert (frames, labels, ids) == (other_frames, other_labels, other_ids)
        assert [a for a in ids if a != 4] == [b for a, b in zip(ids, other_ids, strict=True) if a != 4]


def test_the_place_of_a_bad_sample_goes_to_another_in_every_epoch():
    dataset = dataset_of([0], "replace", num=50)
    taken = {dataset[epoch, 0].sample.id for epoch in range(8)}
    assert len(taken) > 3
    first, again = dataset[0, 0, 1], dataset[0, 0, 2]  # also where an order has it twice in an epoch
    assert first.sample.id != again.sample.id


def test_nothing_can_be_read_at_all():
    with pytest.raises(UserError, match=r"video \d.mp4: truncated; and none of 16 samples drawn in its place"):
        trained(range(9), 0)


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_leaves_the_place_empty(workers):
    dataset = dataset_of([1, 4, 5, 8], "leave_out")
    loader = make_loader(dataset, SequentialSampler(9, 2), num_workers=workers, device=CPU, persistent=False)
    bad = counter(dataset)
    ids = [batch.ids.tolist() for batch in iterate_batches(loader, bad)]
    assert ids == [[0], [2, 3], [6, 7]]  # of the last two batches nothing and nothing is left
    assert bad.unscored(i for batch in ids for i in batch) == {i: f"video {i}.mp4: truncated" for i in (1, 4, 5, 8)}


def test_the_ledger_is_the_same_after_a_kill(tmp_path):
    straight, broken = tmp_path / "straight.jsonl", tmp_path / "broken.jsonl"
    trained([2, 7], 0, path=straight)
    trained([2, 7], 0, path=broken)
    broken.write_text("".join(broken.read_text().splitlines(keepends=True)[:3]) + '{"split": "tr')  # of a full disk
    trained([2, 7], 0, first_step=2, path=broken)  # meets again what was met before the kill
    assert broken.read_text() == straight.read_text()
    rows = [json.loads(line) for line in straight.read_text().splitlines()]
    assert {(row["id"], row["path"]) for row in rows} == {(2, "video 2.mp4"), (7, "video 7.mp4")}
    assert [row["count"] for row in rows if row["id"] == 2] == [1, 2, 3]  # an epoch each
    first = {"split": "train", "backend": "memory", "deadly": False, "epoch": 0}
    assert rows[0] == rows[0] | first
    assert rows[0]["error"] == f"{rows[0]['path']}: truncated"


def test_the_budget_counts_each_sample_once_and_outlives_a_restart(tmp_path):
    """0.25 of 9 samples is 2: the third ends the run."""
    path, said = tmp_path / "bad.jsonl", []
    dataset = dataset_of([], "replace")
    bad = counter(dataset, path, 0.25, said)
    for epoch in range(5):
        bad.add(Failure(3, "video 3.mp4: truncated", epoch))
    bad.add(Failure(4, "video 4.mp4: truncated", 4))
    assert said == [
        "warning: data.train: video 3.mp4: truncated; another sample takes its place (1 bad of 9 samples, 2 allowed)",
        "warning: data.train: video 4.mp4: truncated; another sample takes its place (2 bad of 9 samples, 2 allowed)",
    ]
    restarted = counter(dataset, path, 0.25)
    restarted.add(Failure(3, "video 3.mp4: truncated", 5))
    text = r"data.max_bad_fraction=0.25: 3 bad of 9 samples, 2 allowed in data.train, the last: video 5.mp4: truncated"
    with pytest.raises(UserError, match=text):
        restarted.add(Failure(5, "video 5.mp4: truncated", 5))


def test_a_ledger_of_another_list_says_nothing(tmp_path):
    path = tmp_path / "bad.jsonl"
    row = {"split": "train", "epoch": 0, "id": 3, "path": "other.mp4", "error": "hangs", "deadly": True}
    path.write_text(json.dumps(row) + "\n")
    dataset = dataset_of([], "replace")
    assert counter(dataset, path).errors == {}
    assert dataset.fatal == {}


def test_what_was_deadly_before_a_restart_is_not_tried_again(tmp_path):
    path = tmp_path / "bad.jsonl"
    first = dataset_of([], "replace")
    bad = counter(first, path)
    bad.lose(Failure(3, "video 3.mp4: hangs", fatal=True))
    bad.add(Failure(3, "video 3.mp4: hangs", fatal=True))
    later = dataset_of([], "replace")
    counter(later, path)
    assert later.fatal == {3: "video 3.mp4: hangs"}
    assert later[0, 3].bad == (Failure(3, "video 3.mp4: hangs", 0, fatal=True),)


ROW = '{"split": "train", "epoch": 0, "id": 1, "path": "video 1.mp4", "error": "hangs", "deadly": true, "count": 1}'


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{ROW}\n", f"{ROW}\n"),
        (f"\n{ROW}", f"\n{ROW}\n"),  # an editor left a blank line and ended no last one
        (f"{ROW}\n{ROW[:30]}", f"{ROW}\n"),  # a full disk took half a line
    ],
)
def test_a_ledger_that_was_edited_or_cut_off_is_read(tmp_path, text, kept):
    path = tmp_path / "bad_samples.jsonl"
    path.write_text(text)
    dataset = dataset_of([], "replace")
    counter(dataset, path)
    assert dataset.fatal == {1: "hangs"}
    assert path.read_text() == kept


@pytest.mark.parametrize("line", ["half a row", '{"split": "train"}', "3"])
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "bad_samples.jsonl"
    path.write_text(f"{ROW}\n{line}\n")
    with pytest.raises(UserError, match=r"bad_samples.jsonl:2: is no row of bad samples; delete the line"):
        counter(dataset_of([], "replace"), path)


def test_half_a_line_on_a_full_disk_ends_the_run(tmp_path):
    """Another line behind it would make one that nobody can read."""
    resource = pytest.importorskip("resource")
    path, (soft, hard) = tmp_path / "bad_samples.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    bad = counter(dataset_of([], "replace"), path)
    bad.add(Failure(3, "video 3.mp4: truncated"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            bad.add(Failure(4, "video 4.mp4: truncated"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    counter(dataset_of([], "replace"), path)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [3]
