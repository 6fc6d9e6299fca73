"""``data.on_error=skip``: replacement, warnings, the file of bad samples and the limit on their number."""

from __future__ import annotations

import json

import pytest
import torch
from support.noise import content, dataset_of

from vexp.core.errors import UserError
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import (
    SequentialSampler,
    StepPlan,
    TrainSampler,
    WorkerOptions,
    iterate_batches,
    make_loader,
)
from vexp.data.loading.outcomes import Failure

CPU = torch.device("cpu")
workers_warn = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")


def counter(dataset, path=None, fraction=1.0):
    bad = BadSamples(dataset, split="train", max_fraction=fraction, path=path)
    bad.load()
    return bad


def trained(bad, workers, first_step=0, path=None):
    dataset = dataset_of(bad, "replace")
    order = TrainSampler(StepPlan(9, 4, 1, False), seed=5, shuffle=True, first_step=first_step, total_steps=9)
    loader = make_loader(dataset, order, WorkerOptions(num_workers=workers), CPU, persistent=False)
    return [content(batch) for batch in iterate_batches(loader, counter(dataset, path))]


def test_sync_counts_failures_of_all_processes_in_same_order(tmp_path):
    """They are written by one process."""
    waiting = []
    made = [
        BadSamples(
            dataset_of((), "replace"), split="train", max_fraction=0.2,
            path=tmp_path / "bad.jsonl", all_gather=lambda _: waiting, writes=rank == 0,
        )
        for rank in range(2)
    ]  # fmt: skip
    waiting[:] = [[Failure(3, "third", 0)], [Failure(1, "first", 0, fatal=True), Failure(3, "third", 0)]]
    for rank, bad in enumerate(made):
        for failure in waiting[rank]:
            bad.add(failure)
        assert bad.errors == {}
    for bad in made:
        with pytest.raises(UserError, match=r"2 of 9 samples are bad, 1 are allowed.* first"):
            bad.sync()
        assert bad.errors == {3: "third", 1: "first"}
        assert bad.dataset.fatal == {1: "first"}
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2


@workers_warn
def test_replacement_does_not_depend_on_workers_or_first_step():
    """Any number of workers, from any step on: the same bytes, in batches of the same sizes."""
    straight = trained([2, 7], 0)
    assert [len(ids) for _, _, ids in straight] == [4, 4, 1] * 3
    assert not {2, 7} & {i for _, _, ids in straight for i in ids}
    assert trained([2, 7], 2) == straight
    assert trained([2, 7], 1, first_step=4) == straight[4:]


def test_dataset_os_error_of_source_is_bad_sample():
    """A source of one's own lets through what Python raises: no traceback of a worker, and on_error=skip holds."""
    dataset = dataset_of([], "leave_out")
    dataset.source.open = lambda index: open(f"nowhere/{index}.npy", "rb")  # noqa: SIM115
    (failure,) = dataset[0, 2].bad
    assert failure.message == "video 2.mp4: [Errno 2] No such file or directory: 'nowhere/2.npy'"


def test_replacement_does_not_change_other_samples():
    """A bad file changes its own places and no other."""
    pairs = zip(trained([], 0), trained([4], 0), strict=True)
    for (frames, labels, ids), (other_frames, other_labels, other_ids) in pairs:
        if 4 not in ids:
            assert (frames, labels, ids) == (other_frames, other_labels, other_ids)
        assert [a for a in ids if a != 4] == [b for a, b in zip(ids, other_ids, strict=True) if a != 4]


def test_replacement_differs_between_epochs():
    dataset = dataset_of([0], "replace", num=50)
    taken = {dataset[epoch, 0].sample.id for epoch in range(8)}
    assert len(taken) > 3
    first, again = dataset[0, 0, 1], dataset[0, 0, 2]  # also where an order has it twice in an epoch
    assert first.sample.id != again.sample.id


def test_replacement_all_samples_bad_raises():
    with pytest.raises(UserError, match=r"video \d.mp4: truncated; 16 samples drawn to replace it"):
        trained(range(9), 0)


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_leaves_bad_samples_out(workers):
    dataset = dataset_of([1, 4, 5, 8], "leave_out")
    loader = make_loader(dataset, SequentialSampler(9, 2), WorkerOptions(num_workers=workers), CPU, persistent=False)
    bad = counter(dataset)
    ids = [batch.ids.tolist() for batch in iterate_batches(loader, bad)]
    assert ids == [[0], [2, 3], [6, 7]]  # of the last two batches nothing and nothing is left
    assert bad.unscored(i for batch in ids for i in batch) == {i: f"video {i}.mp4: truncated" for i in (1, 4, 5, 8)}


def test_bad_samples_file_after_kill_equals_uninterrupted_run(tmp_path):
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


def test_bad_samples_limit_counts_each_sample_once_across_restarts(tmp_path, caplog):
    """0.25 of 9 samples is 2: the third ends the run."""
    path = tmp_path / "bad.jsonl"
    dataset = dataset_of([], "replace")
    bad = counter(dataset, path, 0.25)
    for epoch in range(5):
        bad.add(Failure(3, "video 3.mp4: truncated", epoch))
    bad.add(Failure(4, "video 4.mp4: truncated", 4))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert [f"video {i}.mp4: truncated" in text for i, text in zip((3, 4), caplog.messages, strict=True)] == [True] * 2
    assert "1 of 9 samples are bad, 2 are allowed" in caplog.messages[0]
    restarted = counter(dataset, path, 0.25)
    restarted.add(Failure(3, "video 3.mp4: truncated", 5))
    with pytest.raises(UserError, match=r"data.max_bad_fraction=0.25: 3 of 9 samples .* video 5.mp4: truncated"):
        restarted.add(Failure(5, "video 5.mp4: truncated", 5))


def test_load_ignores_rows_of_other_list(tmp_path):
    path = tmp_path / "bad.jsonl"
    row = {"split": "train", "epoch": 0, "id": 3, "path": "other.mp4", "error": "hangs", "deadly": True}
    path.write_text(json.dumps(row) + "\n")
    dataset = dataset_of([], "replace")
    assert counter(dataset, path).errors == {}
    assert dataset.fatal == {}


def test_load_excludes_fatal_samples(tmp_path):
    path = tmp_path / "bad.jsonl"
    first = dataset_of([], "replace")
    bad = counter(first, path)
    bad.mark_fatal(Failure(3, "video 3.mp4: hangs", fatal=True))
    bad.add(Failure(3, "video 3.mp4: hangs", fatal=True))
    later = dataset_of([], "replace")
    counter(later, path)
    assert later.fatal == {3: "video 3.mp4: hangs"}
    assert later[0, 3].bad == (Failure(3, "video 3.mp4: hangs", 0, fatal=True),)


def test_load_retries_fatal_samples_if_bad_samples_end_the_run(tmp_path, caplog):
    """A worker may have crashed for another reason than its video; a run that is resumed must get past it."""
    path = tmp_path / "bad.jsonl"
    bad = counter(dataset_of([], "fail"), path)
    for epoch in range(2):
        with pytest.raises(UserError, match="its worker died of SIGSEGV"):
            bad.mark_fatal(
                Failure(3, "video 3.mp4: the decoder crashed, its worker died of SIGSEGV", epoch, fatal=True)
            )
    later = dataset_of([], "fail")
    counter(later, path)
    assert later.fatal == {}
    assert [record.getMessage() for record in caplog.records] == [
        "data.train: video 3.mp4: the decoder crashed, its worker died of SIGSEGV (in an earlier part of the run); it "
        "is loaded again"
    ]
    assert not isinstance(later[0, 3], Failure)


ROW = '{"split": "train", "epoch": 0, "id": 1, "path": "video 1.mp4", "error": "hangs", "deadly": true, "count": 1}'


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{ROW}\n", f"{ROW}\n"),
        (f"\n{ROW}", f"\n{ROW}\n"),  # an editor left a blank line and ended no last one
        (f"{ROW}\n{ROW[:30]}", f"{ROW}\n"),  # a full disk took half a line
    ],
)
def test_load_reads_edited_or_truncated_file(tmp_path, text, kept):
    path = tmp_path / "bad_samples.jsonl"
    path.write_text(text)
    dataset = dataset_of([], "replace")
    counter(dataset, path)
    assert dataset.fatal == {1: "hangs"}
    assert path.read_text() == kept


@pytest.mark.parametrize(
    "line",
    [
        "half a row", '{"split": "train"}', "3", "[" * 100_000, "9" * 5000, ROW.replace('"id": 1', '"id": "x"'),
        ROW.replace('"id": 1', '"id": -1'), ROW.replace('"epoch": 0', '"epoch": [0]'), ROW.replace("true", "1"),
    ],
)  # fmt: skip
def test_load_invalid_line_raises(tmp_path, line):
    path = tmp_path / "bad_samples.jsonl"
    path.write_text(f"{ROW}\n{line}\n")
    with pytest.raises(UserError, match=r"bad_samples.jsonl:2: not a row"):
        counter(dataset_of([], "replace"), path)


def test_load_file_that_is_a_folder_raises(tmp_path):
    with pytest.raises(UserError, match="cannot be read: is a folder; remove it"):
        counter(dataset_of([], "replace"), tmp_path)


def test_add_on_full_disk_raises(tmp_path):
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
