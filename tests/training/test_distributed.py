"""Runs of several processes: equality with one process, resuming, and the end of all when one fails."""

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
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import checkpoint, compose, train
from vexp.core.errors import UserError
from vexp.data.loading.dataloader import WorkerOptions, iterate_batches, make_loader
from vexp.experiment.setup import build_experiment
from vexp.model.sharded import local_part
from vexp.runtime.amp import Amp
from vexp.runtime.distributed import World, world_from_environment
from vexp.runtime.parallel import Fsdp
from vexp.tracking.meter import Meter
from vexp.training.batches import training_order
from vexp.training.launch import _failure
from vexp.training.run import new_state
from vexp.training.step import accumulate_gradients

#: No batch norm, whose statistics are those of one process; the last step has a batch of 3 for two processes.
OVERRIDES = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.train.indices=15", "data.eval_batch_size=3",
    "model.width=8", "model.norm=group", "optimizer=sgd", "optimizer.lr=0.01", "ema=average", "grad=clip",
    "grad.accumulate=2", "epochs=2", "log=text", "log.plots=false", "log.interval=1", "device=cpu", "eval.start=0",
    "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def videos(motion_cache: Path) -> None:
    """Write the videos before the runs, which would print that."""
    compose(OVERRIDES).data.prepare()


# ---- the steps of each process, computed in one process ----


@pytest.mark.parametrize("step", [0, 1])  # a step of 8 samples, and one of 7 whose last batch is split 2 : 1
def test_mean_over_processes_equals_one_process_with_larger_batches(step: int) -> None:
    """The mean of gradients, loss and accuracy over two processes is that of one with batches twice as large."""
    single = step_of_processes(step, nproc=1, batch_size=4)[0]
    parts = step_of_processes(step, nproc=2, batch_size=2)
    for expected, *gradients in zip(single["gradients"], *(part["gradients"] for part in parts), strict=True):
        torch.testing.assert_close(sum(gradients) / 2, expected, rtol=1e-4, atol=1e-5)
    for name in ("loss", "top1_acc"):
        assert sum(part[name] for part in parts) / 2 == pytest.approx(single[name], rel=1e-5)
    assert sorted(sample for part in parts for sample in part["ids"]) == sorted(single["ids"])


def test_process_without_samples_has_weight_zero() -> None:
    """The last batch has 3 samples for four processes: the fourth gets a sample with weight 0."""
    parts = step_of_processes(1, nproc=4, batch_size=1)
    single = step_of_processes(1, nproc=1, batch_size=4)[0]
    for expected, *gradients in zip(single["gradients"], *(part["gradients"] for part in parts), strict=True):
        torch.testing.assert_close(sum(gradients) / 4, expected, rtol=1e-4, atol=1e-5)
    assert sum(part["top1_acc"] for part in parts) / 4 == pytest.approx(single["top1_acc"])


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_gradients_equal_those_of_one_batch(accumulate: int) -> None:
    """The gradient is that of the mean loss over the samples of the step, 7 here: the last batch is smaller."""
    single = step_of_processes(1, nproc=1, batch_size=8, accumulate=1)[0]
    parts = step_of_processes(1, nproc=1, batch_size=8 // accumulate, accumulate=accumulate)[0]
    assert len(single["ids"]) == 7
    assert sorted(parts["ids"]) == sorted(single["ids"])
    for expected, actual in zip(single["gradients"], parts["gradients"], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert parts["loss"] == pytest.approx(single["loss"], rel=1e-5)


def step_of_processes(step: int, *, nproc: int, batch_size: int, accumulate: int = 2) -> list[dict[str, Any]]:
    """Return metrics, gradients and sample ids of a step in each process, before they are exchanged."""
    parts = []
    sizes = [f"nproc={nproc}", f"data.batch_size={batch_size}", f"grad.accumulate={accumulate}"]
    exp = build_experiment(compose([*OVERRIDES, *sizes]))
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
        metrics = accumulate_gradients(part, state, iter(batches))
        meter = Meter(1, reset=False)
        meter.add(1, 1, metrics)
        counts = [
            min(len(batch), exp.plan.own(size, rank))
            for batch, size in zip(batches, exp.plan.batch_sizes(step), strict=True)
        ]
        parts.append(
            meter.mean()
            | {
                "gradients": [parameter.grad for parameter in state.model.parameters()],
                "ids": [i for batch, n in zip(batches, counts, strict=True) for i in batch.ids[:n].tolist()],
            }
        )
    return parts


def test_world_is_read_from_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert world_from_environment() == World(0, 1, 0)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert world_from_environment() == World(5, 8, 1)
    with pytest.raises(UserError, match=r"dist\.nproc=4: torchrun has started 8 processes"):
        train.run(compose(["nproc=4"]), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        (["device=cuda:1"], r"device=cuda:1: is one GPU, but each of dist\.nproc=2 processes needs its own"),
        (["backend.compile=true", "backend.compile_mode=reduce-overhead"], "captures CUDA graphs"),
    ],
)
def test_compose_rejects_options_that_conflict_with_nproc(overrides: list[str], pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        compose(["nproc=2", *overrides])


@pytest.mark.parametrize(
    ("exitcode", "message", "kind", "pattern"),
    [
        (-9, None, UserError, r"process 1 of the run \(pid 77\) was terminated by SIGKILL, most likely"),
        (1, "data.train: holds no sample", UserError, "^data.train: holds no sample$"),
        (1, "KeyError: 'x'", RuntimeError, "(?s)process 1 of the run failed.*line 5"),  # a bug of vexp: with traceback
        (1, None, RuntimeError, "without a message"),
    ],
)
def test_failure_of_process_is_error_of_run(
    exitcode: int, message: str | None, kind: type[Exception], pattern: str, tmp_path: Path
) -> None:
    if kind is UserError and message is not None:
        (tmp_path / "user_error_1.txt").write_text(message)
    elif message is not None:
        (tmp_path / "1").mkdir()
        file = {"message": {"message": message, "extraInfo": {"py_callstack": "line 5"}}}
        (tmp_path / "1" / "error.json").write_text(json.dumps(file))
    error = SimpleNamespace(failures={1: SimpleNamespace(exitcode=exitcode, pid=77)})
    with pytest.raises(kind, match=pattern):
        raise _failure(error, tmp_path, Path("runs/one"))


# ---- with several processes ----


def start(overrides: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-m", "vexp.train", *overrides]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def train_in_processes(out: Path, overrides: list[str]) -> Path:
    """Train in processes without any error output; return the run folder."""
    process = start([*overrides, f"out_root={out.parent}", f"run_name={out.name}"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""  # no warning and no log of the launcher
    (folder,) = out.iterdir()
    return folder


def assert_close(first: Path, second: Path) -> None:
    """Check that weights and their average are equal up to float32 rounding."""
    a, b = read_checkpoint(first), read_checkpoint(second)
    for part in ("model", "ema"):
        for key in a[part]:
            torch.testing.assert_close(a[part][key], b[part][key], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process with batches of 4."""
    return train_in_processes(tmp_path_factory.mktemp("one") / "run", [*OVERRIDES, "data.batch_size=4"])


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes with batches of 2."""
    return train_in_processes(tmp_path_factory.mktemp("two") / "run", [*OVERRIDES, "data.batch_size=2", "nproc=2"])


@pytest.mark.slow
def test_run_of_two_processes_matches_one_process_with_larger_batches(one: Path, two: Path) -> None:
    assert_close(one, two)
    for a, b in zip(read_metrics(one, "train"), read_metrics(two, "train"), strict=True):
        assert a.pop("mode") == b.pop("mode")
        assert a == pytest.approx(b, rel=1e-4)
    before = read_metrics(one, "val")[0]
    assert before["step"] == 0
    assert before == read_metrics(two, "val")[0]  # of the same weights, so equal to the bit
    assert (one / "eval" / "report.json").exists()
    assert sorted(path.name for path in one.rglob("*")) == sorted(path.name for path in two.rglob("*"))
    assert re.search(r"8 samples per step \(batch 2 x accumulate 2 x 2 processes\)", (two / "log.txt").read_text())


@pytest.mark.slow
def test_resume_with_other_number_of_processes_matches_uninterrupted_run(one: Path, two: Path, tmp_path: Path) -> None:
    """Two processes, then one, then two: the steps are equal, and the weights up to rounding."""
    single = train_in_processes(
        tmp_path / "single",
        [*OVERRIDES, "data.batch_size=4", f"resume={two}/checkpoints/step_1.pth", "eval.start=null"],
    )
    assert "2 processes before, 1 now" in (single / "log.txt").read_text()
    again = train_in_processes(
        tmp_path / "again",
        [*OVERRIDES, "data.batch_size=2", "nproc=2", f"resume={single}/checkpoints/step_3.pth", "eval.start=null"],
    )
    assert [row["step"] for row in read_metrics(again, "train")] == [4]
    assert_close(again, one)
    process = start(["--resume", str(two), "nproc=1", "data.batch_size=2"])  # half of the samples per step
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "it had 2 processes, now 1: data.batch_size is per process" in errors


#: Each process draws its own random numbers (dropout) and has its own batch norm.
RANDOM = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.batch_size=2", "data.train.indices=15",
    "model.width=8", "model.dropout=0.2", "diff_rank_seed=true", "nproc=2", "epochs=2", "log=text", "log.plots=false",
    "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = [*RANDOM, "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=-1"]
    return train_in_processes(tmp_path_factory.mktemp("random") / "run", overrides)


@pytest.mark.slow
def test_resume_with_two_processes_gives_equal_weights(random_run: Path, tmp_path: Path) -> None:
    rng = read_checkpoint(random_run)["rng"]
    assert not torch.equal(rng[0]["torch"], rng[1]["torch"])  # diff_rank_seed
    resumed = train_in_processes(tmp_path / "resumed", [*RANDOM, f"resume={random_run}/checkpoints/step_3.pth"])
    assert_same_weights(resumed, random_run)
    assert read_metrics(resumed, "val")[-1] == read_metrics(random_run, "val")[-1]


#: A transformer with what acts on its parameters; 15 clips, so the last step has a batch of 3 for two processes.
TRANSFORMER = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.train.indices=15", "data.eval_batch_size=3",
    "model=timesformer_divst", "model.num_frames=8", "model.img_size=64", "model.patch_size=16", "model.width=24",
    "model.depth=3", "model.heads=2", "model.drop_path=0", "model.dropout=0", "optimizer=adamw",
    "optimizer.paramwise.layer_decay=0.7", "ema=average",
    "grad=clip", "grad.accumulate=2", "lr=cosine", "lr.warmup=linear", "lr.warmup_iters=1", "epochs=2", "log=text",
    "log.plots=false", "log.interval=1", "device=cpu", "checkpoint.interval=1", "checkpoint.by_epoch=false",
    "checkpoint.max_keep_ckpts=-1", "eval.start=0",
]  # fmt: skip
TWO = ["nproc=2", "data.batch_size=2"]
FSDP = [*TWO, "dist.strategy=fsdp", "backend.activation_checkpointing=true"]


@pytest.mark.slow
def test_fsdp_matches_ddp_and_resumes_with_other_numbers_of_processes(tmp_path: Path) -> None:
    """DDP in two processes; FSDP in two; and FSDP in two, then one process, then FSDP in two."""
    ddp = train_in_processes(tmp_path / "ddp", [*TRANSFORMER, *TWO])
    fsdp = train_in_processes(tmp_path / "fsdp", [*TRANSFORMER, *FSDP])
    assert_close(fsdp, ddp)
    for a, b in zip(read_metrics(fsdp), read_metrics(ddp), strict=True):
        assert a.pop("mode") == b.pop("mode")
        assert a == pytest.approx(b, rel=1e-4)
    first, second = read_checkpoint(fsdp), read_checkpoint(ddp)
    assert shapes(first["optimizer"]["state"]) == shapes(second["optimizer"]["state"])
    single = [*TRANSFORMER, "data.batch_size=4", "eval=never", f"resume={fsdp}/checkpoints/step_1.pth"]
    one = train_in_processes(tmp_path / "one", single)
    again = [*TRANSFORMER, *FSDP, "eval=never", f"resume={one}/checkpoints/step_3.pth"]
    assert_close(train_in_processes(tmp_path / "again", again), ddp)


def shapes(state: Any) -> Any:
    """Replace the tensors of nested dicts by their shapes."""
    if isinstance(state, dict):
        return {key: shapes(value) for key, value in state.items()}
    return state.shape if isinstance(state, torch.Tensor) else state


@pytest.mark.slow
def test_fsdp_report_of_nonfinite_loss_has_whole_weights(tmp_path: Path) -> None:
    """The main process writes it, but all take part in gathering the weights."""
    process = start(
        [*TRANSFORMER, *FSDP, "optimizer.lr=1e30", "grad=plain", f"out_root={tmp_path}", "run_name=nonfinite"]
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "is not finite" in errors
    (folder,) = (tmp_path / "nonfinite").iterdir()
    report = json.loads((folder / "nonfinite.json").read_text())
    assert "backbone.blocks.2.mlp.fc1.weight" in report["weight_norms"]


@pytest.mark.slow
def test_fsdp_with_fp16_matches_loss_scale_and_loss_of_ddp(tmp_path: Path) -> None:
    """Both strategies scale the loss alike, and skip the same steps if any overflows."""
    runs = [
        train_in_processes(tmp_path / name, [*TRANSFORMER, *overrides, "amp=fp16", "eval=never", "epochs=1"])
        for name, overrides in (("ddp", TWO), ("fsdp", [*TWO, "dist.strategy=fsdp"]))
    ]
    ddp, fsdp = (read_metrics(run, "train") for run in runs)
    for a, b in zip(ddp, fsdp, strict=True):
        assert (a["loss_scale"], a["skipped_steps"]) == (b["loss_scale"], b["skipped_steps"])
        assert a["loss"] == pytest.approx(b["loss"], rel=0.02)


@pytest.mark.slow
def test_fsdp_skips_the_step_in_all_processes_if_the_part_of_one_overflows(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_overflow_in_second_process, (str(tmp_path / "store"),), nprocs=2)


def _overflow_in_second_process(rank: int, store: str) -> None:
    cpu, amp = torch.device("cpu"), Amp(dtype="fp16")
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = torch.nn.Linear(4, 4)
    Fsdp(model, None, amp, cpu, World(rank, 2, rank))
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0)
    with amp.autocast(cpu):
        loss = model(torch.ones(2, 4)).sum()
    scaler.scale(loss).backward()
    if rank == 1:
        local_part(model.weight.grad)[0, 0] = float("inf")  # type: ignore[arg-type]
    before = local_part(model.weight).detach().clone()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 1.0
    assert torch.equal(local_part(model.weight), before)
    torch.distributed.destroy_process_group()


def wait_for_checkpoints(process: subprocess.Popen[str], out: Path, checkpoints: int) -> tuple[Path, list[int]]:
    """Wait until a run has written a number of checkpoints; return its folder and the ids of its processes."""
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/checkpoints/step_*.pth"))) < checkpoints:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    (folder,) = out.iterdir()
    match = re.search(r"processes: (\d+) on .*?, (\d+) on ", (folder / "log.txt").read_text())
    assert match is not None
    return folder, [int(match[1]), int(match[2])]


ENDLESS = [
    *RANDOM, "epochs=500", "checkpoint.interval=1", "checkpoint.by_epoch=false", "checkpoint.max_keep_ckpts=3",
    "eval=never",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_ends_run(rank: int, tmp_path: Path) -> None:
    process = start([*ENDLESS, f"out_root={tmp_path}", "run_name=killed"])
    folder, ids = wait_for_checkpoints(process, tmp_path / "killed", 3)
    os.kill(ids[rank], signal.SIGKILL)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert process.returncode == 2
    assert errors.count("\n") == 1, errors  # a single paragraph
    assert f"process {rank} of the run (pid {ids[rank]}) was terminated by SIGKILL" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in ids)
    newest = checkpoint.find(folder / "checkpoints")
    assert newest is not None
    assert checkpoint.load(newest)["step"] >= 3


def workers_of(ids: list[int]) -> list[int]:
    """Return the ids of the data workers of some processes."""
    children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in ids]
    return [int(pid) for row in children for pid in row if "data_worker" in Path(f"/proc/{pid}/comm").read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_signal_ends_run_with_stopped_worker(rank: int, tmp_path: Path) -> None:
    """The stopped worker of one process is replaced after 10 seconds, so that all processes end with their step."""
    process = start([*ENDLESS, f"out_root={tmp_path}", "run_name=stopped", "data.num_workers=1"])
    folder, ids = wait_for_checkpoints(process, tmp_path / "stopped", 2)
    (worker,) = workers_of([ids[rank]])
    os.kill(worker, signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)  # dist.grace
    assert (process.returncode, errors) == (75, "")
    assert ("new workers load the same batches" in output) == (rank == 0)  # the main process prints
    assert read_checkpoint(folder)["step"] == json.loads((folder / "result.json").read_text())["step"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in [*ids, worker])


@pytest.mark.slow
def test_deleted_records_end_run_of_two_processes_with_one_sentence(tmp_path: Path) -> None:
    process = start([*ENDLESS, "epochs=null", "max_steps=60", f"out_root={tmp_path}", "run_name=lost"])
    folder, ids = wait_for_checkpoints(process, tmp_path / "lost", 2)
    (folder / "metrics.jsonl").unlink()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.count("\n") == 1, errors
    assert f"{folder}: metrics.jsonl or the folder was deleted, renamed or replaced during the run" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in ids)


@pytest.mark.slow
def test_user_error_of_one_process_ends_run_with_its_message(tmp_path: Path, motion_cache: Path) -> None:
    """One of two processes cannot read a video."""
    train_in_processes(tmp_path / "motion", ["debug=fast", "data.train_clips=2", "data.val_clips=1", "model.width=8"])
    videos = sorted(motion_cache.rglob("*.mp4"))[:8]
    (tmp_path / "broken.mp4").write_bytes(b"not a video at all" * 100)
    rows = [f"{path} {i % 2}" for i, path in enumerate([*videos, tmp_path / "broken.mp4"])]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n")
    overrides = [
        "data=video_list", f"data.train.ann_file={tmp_path}/list.txt", f"data.val.ann_file={tmp_path}/list.txt",
        "data.num_workers=0", "data.batch_size=2", "epochs=2", "model.width=8", "log=text", "log.plots=false",
        "device=cpu", "nproc=2",
    ]  # fmt: skip
    process = start([*overrides, f"out_root={tmp_path}", "run_name=failed"])
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
def test_signal_ends_run_with_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM is sent to the started process, Ctrl-C to all as a terminal does; the exit status is 75."""
    process = start([*ENDLESS, f"out_root={tmp_path}", "run_name=stopped"])
    folder, _ = wait_for_checkpoints(process, tmp_path / "stopped", 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=25)  # dist.grace is 30
    assert process.returncode == 75, errors
    assert errors == ""
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "interrupted"
    state = read_checkpoint(folder)
    assert (state["step"], len(state["rng"])) == (result["step"], 2)
