"""Worker processes: batches do not depend on them, they leave nothing behind, and their memory use is constant."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vexp.core.errors import UserError
from vexp.data.batch.batch import Collate
from vexp.data.loading.dataloader import (
    SequentialSampler,
    StepPlan,
    TrainSampler,
    WorkerOptions,
    iterate_batches,
    make_loader,
)
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import ArrayReader, Source
from vexp.data.transforms.crops import RandomResizedCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.photometric import ColorJitter
from vexp.data.transforms.resize import Flip, Resize

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
CPU = torch.device("cpu")
SAMPLES = 11


class NoiseSource(Source):
    """Videos of noise, each of another length."""

    classes = ("one", "two")
    labels = np.arange(SAMPLES) % 2

    def __len__(self):
        return SAMPLES

    def name(self, index):
        return f"noise {index}"

    def open(self, index):
        return ArrayReader(np.random.RandomState(index).randint(0, 256, (5 + index, 16, 20, 3), np.uint8))


TRAIN = {
    "sample": SampleFrames(clip_len=4, frame_interval=2, num_clips=2),
    "crop": RandomResizedCrop(),
    "resize": Resize(scale=[8, 8], keep_ratio=False),
    "flip": Flip(),
    "jitter": ColorJitter(),
}
TEST = {
    "sample": SampleFrames(clip_len=4, frame_interval=2, num_clips=3, test_mode=True),
    "crop": ThreeCrop(crop_size=16),
}


def train_loader(workers, *, first_step=0, drop_last=False, **options):
    plan = StepPlan(SAMPLES, 3, 1, drop_last)
    order = TrainSampler(plan, seed=2, shuffle=True, first_step=first_step, total_steps=2 * plan.steps_per_epoch)
    dataset = ClipDataset(NoiseSource(), TRAIN, seed=1, lazy=True)
    return make_loader(dataset, order, WorkerOptions(num_workers=workers, **options), CPU, persistent=False)


def content(batch):
    return batch.frames.numpy().tobytes(), batch.labels.tolist(), batch.ids.tolist()


def contents(loader):
    return [content(batch) for batch in iterate_batches(loader)]


@pytest.fixture(scope="module")
def straight():
    """Two epochs of batches of 3, 3, 3 and 2, made in this process."""
    made = contents(train_loader(0))
    assert [len(ids) for _, _, ids in made] == [3, 3, 3, 2] * 2
    return made


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_loader_workers_do_not_change_batches(straight, workers):
    assert contents(train_loader(workers)) == straight


@pytest.mark.slow  # each spawned worker imports torch
@pytest.mark.parametrize(("workers", "context"), [(1, "spawn"), (2, "spawn"), (4, "spawn"), (2, "forkserver")])
def test_loader_start_method_does_not_change_batches(straight, workers, context):
    assert contents(train_loader(workers, mp_context=context)) == straight
    assert contents(train_loader(workers, mp_context=context, first_step=6)) == straight[6:]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("first_step", [1, 6])
def test_loader_resume_within_epoch_does_not_change_batches(straight, workers, first_step):
    assert contents(train_loader(workers, first_step=first_step)) == straight[first_step:]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_drop_last_drops_incomplete_step(straight, workers):
    assert contents(train_loader(workers, drop_last=True)) == straight[:3] + straight[4:7]


def test_loader_kept_batches_are_not_overwritten(straight):
    # More batches than a worker has blocks.
    loader = train_loader(1)
    kept = [batch.frames for _ in range(3) for batch in iterate_batches(loader)]
    assert [frames.numpy().tobytes() for frames in kept] == [frames for frames, _, _ in straight] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_persistent_workers_repeat_the_pass(workers):
    dataset = ClipDataset(NoiseSource(), TEST, seed=1, lazy=True)
    loader = make_loader(
        dataset, SequentialSampler(SAMPLES, 4), WorkerOptions(num_workers=workers), CPU, persistent=True
    )
    first, second = contents(loader), contents(loader)
    assert first == second
    expected = Collate()([dataset[0, index] for index in range(SAMPLES)]).frames.numpy()  # (N, 9, 4, 16, 16, 3)
    assert b"".join(frames for frames, _, _ in first) == expected.tobytes()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("lazy", [True, False])
def test_loader_frame_smaller_than_crop_raises(workers, lazy):
    steps = {"sample": SampleFrames(clip_len=2), "crop": ThreeCrop(crop_size=18)}
    dataset = ClipDataset(NoiseSource(), steps, seed=1, lazy=lazy)
    loader = make_loader(
        dataset, SequentialSampler(SAMPLES, 4), WorkerOptions(num_workers=workers), CPU, persistent=False
    )
    with pytest.raises(UserError, match=r"noise 0: .*18x18.* 20x16"):
        contents(loader)


@pytest.mark.slow
def test_worker_memory_is_constant(motion_cache):
    """20,000 samples of real video through one worker that stays: resident memory within 5 % after a warm-up."""
    from vexp.data.sources.config import Motion

    data = Motion(train_clips=2, val_clips=1)
    data.prepare()
    source = data.source("train")
    steps = {"sample": SampleFrames(clip_len=8), "crop": RandomResizedCrop(), "jitter": ColorJitter(hue=0),
             "resize": Resize(scale=[32, 32], keep_ratio=False), "flip": Flip()}  # fmt: skip
    plan = StepPlan(len(source), 16, 1, False)
    order = TrainSampler(plan, seed=0, shuffle=True, first_step=0, total_steps=20_000 // 16)
    dataset = ClipDataset(source, steps, seed=0, lazy=True)
    loader = make_loader(dataset, order, WorkerOptions(num_workers=1), CPU, persistent=False)
    resident, others = [], children(os.getpid())
    for step, _ in enumerate(iterate_batches(loader)):
        if step % 50 == 0:
            (worker,) = set(children(os.getpid())) - set(others)
            resident.append(int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    print("resident MiB:", [round(size / 2**20, 1) for size in resident])
    settled = resident[2:]
    assert max(settled) <= 1.05 * settled[0]


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from test_workers import iterate_batches, train_loader
if __name__ == "__main__":
    kept = []
    for batch in iterate_batches(train_loader(2, mp_context={context!r})):
        kept.append(batch)
        print(len(kept), flush=True)
        if len(kept) == 3:
            sys.stdin.read()
"""


def shared_files():
    return set(os.listdir("/dev/shm"))


@pytest.mark.integration
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="the system has no /dev/shm")
@pytest.mark.parametrize(
    ("context", "wait"),
    [
        ("fork", False),
        pytest.param("fork", True, marks=pytest.mark.slow),
        pytest.param("spawn", True, marks=pytest.mark.slow),  # two imports of torch
    ],
)
def test_killed_run_leaves_nothing_in_shared_memory(tmp_path, context, wait):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(folder=str(Path(__file__).parent), context=context))
    before = shared_files()
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with run:
        assert [run.stdout.readline() for _ in range(3)] == ["1\n", "2\n", "3\n"]
        workers = children(run.pid)
        assert len(workers) >= 2
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30  # its workers look every five seconds whether it lives, and end then
    while wait and time.monotonic() < deadline and (shared_files() - before or any(map(alive, workers))):
        time.sleep(0.1)
    assert shared_files() - before == set()
    assert not wait or [pid for pid in workers if alive(pid)] == []


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


HELD = """
import sys
sys.path.insert(0, {folder!r})
from test_workers import iterate_batches, train_loader
held = iterate_batches(train_loader(2))  # as torch.compile keeps what its frames have seen
next(held)
"""


@pytest.mark.integration
def test_process_exits_while_loader_is_referenced(tmp_path):
    script = tmp_path / "held.py"
    script.write_text(HELD.format(folder=str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
