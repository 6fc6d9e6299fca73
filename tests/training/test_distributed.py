"""One run of several processes: the same as of one, whichever way they are started, and all end when one does."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vexp import checkpoint, compose, train
from vexp.core.errors import UserError
from vexp.data.loading.dataloader import WorkerOptions, iterate_batches, make_loader
from vexp.experiment.setup import build_experiment
from vexp.runtime.distributed import World, world_from_environment
from vexp.tracking.meter import Meter
from vexp.training.batches import training_order
from vexp.training.launch import _failure
from vexp.training.run import new_state
from vexp.training.step import accumulate_gradients

#: No batch norm, whose statistics are of a process's own samples; the last step has a batch of 3 for two processes.
WORDS = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.train.indices=15", "data.eval_batch_size=3",
    "model.width=8", "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "ema=average", "grad=clip",
    "grad.accumulate=2", "epochs=2", "log=text", "log.plots=false", "log.interval=1", "device=cpu", "eval.start=0",
    "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def videos(motion_cache: Path) -> None:
    """Made before any run, which would say so."""
    compose(WORDS).data.prepare()


# ---- in one process: what each of two would do ----


@pytest.mark.parametrize("step", [0, 1])  # of 8 samples; of 7, whose last batch the first process has two of
def test_the_weighted_parts_of_a_step_are_the_whole(step: int) -> None:
    """The mean over two processes of gradients, loss and accuracy is that of one with batches twice as long."""
    whole = parts_of_step(step, nproc=1, batch_size=4)[0]
    parts = parts_of_step(step, nproc=2, batch_size=2)
    for of_whole, *of_parts in zip(whole["gradients"], *(part["gradients"] for part in parts), strict=True):
        torch.testing.assert_close(sum(of_parts) / 2, of_whole, rtol=1e-4, atol=1e-5)
    for name in ("loss", "top1_acc"):
        assert sum(part[name] for part in parts) / 2 == pytest.approx(whole[name], rel=1e-5)
    assert sorted(sample for part in parts for sample in part["ids"]) == sorted(whole["ids"])


def test_a_process_without_samples_takes_part_and_does_not_count() -> None:
    """Four processes, a last batch of 3: the fourth sees a sample with weight 0."""
    parts = parts_of_step(1, nproc=4, batch_size=1)
    whole = parts_of_step(1, nproc=1, batch_size=4)[0]
    for of_whole, *of_parts in zip(whole["gradients"], *(part["gradients"] for part in parts), strict=True):
        torch.testing.assert_close(sum(of_parts) / 4, of_whole, rtol=1e-4, atol=1e-5)
    assert sum(part["top1_acc"] for part in parts) / 4 == pytest.approx(whole["top1_acc"])


def parts_of_step(step: int, *, nproc: int, batch_size: int) -> list[dict[str, Any]]:
    """What accumulate_gradients makes of a step in each process, before any exchange."""
    made = []
    exp = build_experiment(compose([*WORDS, f"nproc={nproc}", f"data.batch_size={batch_size}"]))
    torch.manual_seed(0)
    model = exp.config.model.build(len(exp.classes))
    for rank in range(nproc):
        part = replace(exp, world=World(rank, nproc, rank))
        state = new_state(exp=replace(part, world=World()), model=copy.deepcopy(model))
        order = training_order(exp, step, step + 1, rank=rank)
        batches = list(
            iterate_batches(
                make_loader(exp.train_set, order, WorkerOptions(num_workers=0), exp.device, persistent=False)
            )
        )
        state.step = step
        values = accumulate_gradients(part, state, iter(batches))
        meter = Meter(1, reset=False)
        meter.add(1, 1, values)
        counted = [
            min(len(batch), exp.plan.own(size, rank))
            for batch, size in zip(batches, exp.plan.batch_sizes(step), strict=True)
        ]
        made.append(
            meter.mean()
            | {
                "gradients": [parameter.grad for parameter in state.model.parameters()],
                "ids": [i for batch, n in zip(batches, counted, strict=True) for i in batch.ids[:n].tolist()],
            }
        )
    return made


def test_the_environment_of_torchrun_says_who_this_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert world_from_environment() == World(0, 1, 0)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert world_from_environment() == World(5, 8, 1)
    with pytest.raises(UserError, match=r"dist\.nproc=4: torchrun has started 8 processes"):
        train.run(compose(["nproc=4"]), tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["device=cuda:1"], r"device=cuda:1: is one GPU, but each of dist\.nproc=2 processes needs its own"),
        (["backend.compile=true", "backend.compile_mode=reduce-overhead"], "captures CUDA graphs"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compose(["nproc=2", *words])


@pytest.mark.parametrize(
    ("exitcode", "said", "kind", "told"),
    [
        (-9, None, UserError, r"process 1 of the run \(pid 77\) was terminated by SIGKILL, most likely"),
        (1, "data.train: holds no sample", UserError, "^data.train: holds no sample$"),
        (1, "KeyError: 'x'", RuntimeError, "(?s)process 1 of the run failed.*line 5"),  # a fault of ours: its traceback
        (1, None, RuntimeError, "without a message"),
    ],
)
def test_the_error_of_a_run_is_that_of_its_process(
    exitcode: int, said: str | None, kind: type[Exception], told: str, tmp_path: Path
) -> None:
    if kind is UserError and said is not None:
        (tmp_path / "user_error_1.txt").write_text(said)
    elif said is not None:
        (tmp_path / "1").mkdir()
        file = {"message": {"message": said, "extraInfo": {"py_callstack": "line 5"}}}
        (tmp_path / "1" / "error.json").write_text(json.dumps(file))
    error = SimpleNamespace(failures={1: SimpleNamespace(exitcode=exitcode, pid=77)})
    with pytest.raises(kind, match=told):
        raise _failure(error, tmp_path, Path("runs/one"))


# ---- with processes ----


def start(words: list[str], **more: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-m", "vexp.train", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def trained(out: Path, words: list[str]) -> Path:
    """The folder of a run that went well."""
    process = start([*words, f"out_root={out.parent}", f"run_name={out.name}"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""  # no warning and no log of torch's launcher
    (folder,) = out.iterdir()
    return folder


def values(folder: Path, mode: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows if row["mode"] == mode]


def content(folder: Path, name: str = "last.pth") -> dict[str, Any]:
    return checkpoint.load(folder / "checkpoints" / name)


def assert_close(first: Path, second: Path) -> None:
    """Weights and their average, to float32 rounding."""
    a, b = content(first), content(second)
    for part in ("model", "ema"):
        for key in a[part]:
            torch.testing.assert_close(a[part][key], b[part][key], rtol=1e-4, atol=1e-5)


def assert_equal(first: Path, second: Path) -> None:
    a, b = content(first), content(second)
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    assert values(first, "val")[-1] == values(second, "val")[-1]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with batches of 4."""
    return trained(tmp_path_factory.mktemp("one") / "run", [*WORDS, "data.batch_size=4"])


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes with batches of 2."""
    return trained(tmp_path_factory.mktemp("two") / "run", [*WORDS, "data.batch_size=2", "nproc=2"])


@pytest.mark.slow
def test_two_processes_are_as_one_with_batches_twice_as_long(one: Path, two: Path) -> None:
    assert_close(one, two)
    for a, b in zip(values(one, "train"), values(two, "train"), strict=True):
        assert a.pop("mode") == b.pop("mode")
        assert a == pytest.approx(b, rel=1e-4)
    before = values(one, "val")[0]
    assert before["step"] == 0
    assert before == values(two, "val")[0]  # of the same weights: to the bit, the loss included
    assert (one / "eval" / "report.json").exists()
    assert sorted(path.name for path in one.rglob("*")) == sorted(path.name for path in two.rglob("*"))
    assert re.search(r"8 samples per step \(batch 2 x accumulate 2 x 2 processes\)", (two / "log.txt").read_text())


@pytest.mark.slow
def test_resumed_by_two_then_one_then_two(one: Path, two: Path, tmp_path: Path) -> None:
    """The same steps and, to rounding, the same weights as without any change."""
    alone = trained(
        tmp_path / "alone", [*WORDS, "data.batch_size=4", f"resume={two}/checkpoints/step_1.pth", "eval.start=null"]
    )
    assert "2 processes before, 1 now" in (alone / "log.txt").read_text()
    again = trained(
        tmp_path / "again",
        [*WORDS, "data.batch_size=2", "nproc=2", f"resume={alone}/checkpoints/step_3.pth", "eval.start=null"],
    )
    assert [row["step"] for row in values(again, "train")] == [4]
    assert_close(again, one)
    process = start(["--resume", str(two), "nproc=1", "data.batch_size=2"])  # half of the samples a step
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "it had 2 processes, now 1: data.batch_size is per process" in errors


#: Numbers drawn by each process (dropout) and its own batch norm.
DRAWN = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.batch_size=2", "data.train.indices=15",
    "model.width=8", "model.dropout=0.2", "diff_rank_seed=true", "nproc=2", "epochs=2", "log=text", "log.plots=false",
    "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*DRAWN, "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1"]
    return trained(tmp_path_factory.mktemp("drawn") / "run", words)


@pytest.mark.slow
def test_resumed_by_as_many_processes_to_the_bit(drawn: Path, tmp_path: Path) -> None:
    rng = content(drawn)["rng"]
    assert not torch.equal(rng[0]["torch"], rng[1]["torch"])  # diff_rank_seed
    assert_equal(trained(tmp_path / "resumed", [*DRAWN, f"resume={drawn}/checkpoints/step_3.pth"]), drawn)


def running(process: subprocess.Popen[str], out: Path, checkpoints: int) -> tuple[Path, list[int]]:
    """(folder, process ids) of a run that has written so many checkpoints."""
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/checkpoints/step_*.pth"))) < checkpoints:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    (folder,) = out.iterdir()
    said = re.search(r"processes: (\d+) on .*?, (\d+) on ", (folder / "log.txt").read_text())
    assert said is not None
    return folder, [int(said[1]), int(said[2])]


ENDLESS = [
    *DRAWN, "epochs=500", "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=3",
    "eval=never",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all(rank: int, tmp_path: Path) -> None:
    process = start([*ENDLESS, f"out_root={tmp_path}", "run_name=killed"])
    folder, ids = running(process, tmp_path / "killed", 3)
    os.kill(ids[rank], signal.SIGKILL)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert process.returncode == 2
    assert errors.count("\n") == 1, errors  # one paragraph
    assert f"process {rank} of the run (pid {ids[rank]}) was terminated by SIGKILL" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in ids)
    found = checkpoint.find(folder / "checkpoints")
    assert found is not None
    checkpoint.load(found)


@pytest.mark.slow
def test_what_one_process_cannot_do_ends_all_with_its_words(tmp_path: Path, motion_cache: Path) -> None:
    """A video that one of two processes cannot read."""
    trained(tmp_path / "made", ["debug=fast", "data.train_clips=2", "data.val_clips=1", "model.width=8"])
    videos = sorted(motion_cache.rglob("*.mp4"))[:8]
    (tmp_path / "broken.mp4").write_bytes(b"not a video at all" * 100)
    rows = [f"{path} {i % 2}" for i, path in enumerate([*videos, tmp_path / "broken.mp4"])]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n")
    words = [
        "data=video_list", f"data.train.ann_file={tmp_path}/list.txt", f"data.val.ann_file={tmp_path}/list.txt",
        "data.num_workers=0", "data.batch_size=2", "epochs=2", "model.width=8", "log=text", "log.plots=false",
        "device=cpu", "nproc=2",
    ]  # fmt: skip
    process = start([*words, f"out_root={tmp_path}", "run_name=failed"])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.count("broken.mp4") == 1, errors
    assert errors.count("\n") == 1
    (folder,) = (tmp_path / "failed").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "failed"
    assert "broken.mp4" in result["error"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_a_checkpoint_to_go_on_from(number: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM to the process that was started, Ctrl-C as a terminal gives it to all: exit status 75."""
    process = start([*ENDLESS, f"out_root={tmp_path}", "run_name=stopped"])
    folder, _ = running(process, tmp_path / "stopped", 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=25)  # dist.grace is 30
    assert process.returncode == 75, errors
    assert errors == ""
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "interrupted"
    state = content(folder)
    assert (state["step"], len(state["rng"])) == (result["step"], 2)
