"""Bad samples and errors of plugins: which exceptions end a run, and what they report."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.encode import write_video
from support.noise import NoiseSource

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.loading.dataloader import SequentialSampler, WorkerOptions, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.outcomes import Failure
from vexp.data.loading.plugin_errors import PluginError, locations
from vexp.data.sources.base import ArrayReader, VideoSource
from vexp.data.sources.raw_frames import RawFrameSource
from vexp.data.transforms.crops import CenterCrop, RandomCrop, TenCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.photometric import ColorJitter

CPU = torch.device("cpu")
workers_warn = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
SAMPLE = {"sample": SampleFrames(clip_len=2)}


def clip_dataset(source, on_bad="fail", **steps):
    return ClipDataset(source, SAMPLE | steps, seed=0, lazy=True, on_bad=on_bad)


def batches(dataset, workers):
    loader = make_loader(
        dataset, SequentialSampler(len(dataset), 3), WorkerOptions(num_workers=workers), CPU, persistent=False
    )
    return list(iterate_batches(loader))


class BrokenTransform:
    """A transform of a plugin that fails on the fourth sample."""

    def __init__(self, fail):
        self.fail = fail

    def apply(self, frames, rng):
        self.fail(frames)
        return frames


def numpy_error(frames):
    return np.zeros(3) + np.zeros(4)


def bug(frames):
    raise KeyError("color")


def missing_file(frames):
    Path("overlay.png").read_bytes()


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("on_bad", ["fail", "replace", "leave_out"])
@pytest.mark.parametrize(
    ("fail", "cause"), [(numpy_error, "ValueError"), (bug, "KeyError"), (missing_file, "FileNotFoundError")]
)
def test_plugin_transform_error_ends_the_run(workers, on_bad, fail, cause):
    dataset = clip_dataset(NoiseSource([]), on_bad, broken=BrokenTransform(fail))
    with pytest.raises(PluginError) as caught:
        batches(dataset, workers)
    name = f"{__name__}.BrokenTransform.apply"
    assert str(caught.value).startswith(f"{name}, which is not part of vexp, failed on video 0.mp4: {cause}")
    assert [fail.__name__ in function for _, function, _ in locations(caught.value)][-1:] == [fail is not missing_file]
    if workers:  # the worker's traceback takes the place of the cause
        assert f"in {fail.__name__}" in str(caught.value.__cause__)
        assert multiprocessing.active_children() == []  # although ``caught`` holds the frames of the iteration
    else:
        assert type(caught.value.__cause__).__name__ == cause


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_plugin_source_error_ends_the_run(workers):
    source = NoiseSource([])
    source.open = lambda index: ArrayReader(np.zeros((2, 3, 4))[:, None, None, None].astype(np.uint8)[index // 9, "x"])
    with pytest.raises(PluginError, match=r"test_dataset\.<lambda>, which is not part of vexp"):
        batches(clip_dataset(source, "replace"), workers)


@workers_warn
def test_error_in_worker_stops_all_workers(monkeypatch):
    monkeypatch.setattr(ClipDataset, "_labels", numpy_error)
    loader = make_loader(
        clip_dataset(NoiseSource([])), SequentialSampler(9, 3), WorkerOptions(num_workers=2), CPU, persistent=True
    )
    for _ in range(2):  # the second pass starts new workers
        with pytest.raises(TypeError, match="in DataLoader worker process"):
            list(iterate_batches(loader))
        assert multiprocessing.active_children() == []


def test_vexp_error_is_raised_unchanged(monkeypatch):
    monkeypatch.setattr("vexp.data.transforms.pipeline.np", None)
    with pytest.raises(AttributeError, match="NoneType"):
        clip_dataset(NoiseSource([]))[0, 0]


def test_memory_error_is_raised_unchanged():
    def fail(frames):
        raise MemoryError

    with pytest.raises(MemoryError):
        clip_dataset(NoiseSource([]), broken=BrokenTransform(fail))[0, 0]


# ---- unreadable files ----


def video_source(path: Path, backend: str = "auto") -> VideoSource:
    return VideoSource(Annotation.pack([path.name], [0], ["a"], str(path.parent)), backend=backend)


def damaged(tmp_path: Path, kind: str) -> Path:
    path = write_video(tmp_path / "v.mp4", frames=20)
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a video" * 100)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        content = bytearray(path.read_bytes())
        content[60 : len(content) // 2] = bytes(len(content) // 2 - 60)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "folder", "zeroed"])
@pytest.mark.parametrize("backend", ["auto", "opencv", "decord", "torchcodec"])
def test_unreadable_video_is_bad_sample(tmp_path, kind, backend):
    if backend not in ("auto", "opencv"):
        pytest.importorskip(backend)
    failure = clip_dataset(video_source(damaged(tmp_path, kind), backend))[0, 0]
    assert isinstance(failure, Failure)
    assert "v.mp4" in failure.message


@pytest.mark.parametrize("kind", ["missing folder", "missing frame", "text frame", "empty frame"])
@pytest.mark.parametrize("backend", ["auto", "opencv", "pillow", "simplejpeg"])
def test_unreadable_raw_frames_are_bad_sample(tmp_path, kind, backend):
    from PIL import Image

    folder = tmp_path / "video"
    folder.mkdir()
    for number in range(1, 5):
        Image.new("RGB", (16, 12)).save(folder / f"img_{number:05}.jpg")
    for path in folder.iterdir():
        if kind in ("missing folder", "missing frame"):
            path.unlink()
        else:
            path.write_bytes(b"no image" * 50 if kind == "text frame" else b"")
    if kind == "missing folder":
        folder.rmdir()
    annotation = Annotation.pack(["video"], [0], ["a"], str(tmp_path))
    failure = clip_dataset(RawFrameSource(annotation, backend=backend))[0, 0]
    assert isinstance(failure, Failure)


@pytest.mark.parametrize(
    "step",
    [
        ThreeCrop(crop_size=18),
        TenCrop(crop_size=18),
        CenterCrop(crop_size=18),
        RandomCrop(size=18),
        ColorJitter(),
        CenterCrop(crop_size=[30, 4]),
    ],
)
def test_frames_that_do_not_fit_a_transform_are_bad_sample(step):
    source = NoiseSource([])
    channels = 2 if isinstance(step, ColorJitter) else 3
    source.open = lambda index: ArrayReader(np.zeros((4, 16, 20, channels), np.uint8))
    failure = clip_dataset(source, step=step)[0, 0]
    assert isinstance(failure, Failure)
    assert "video 0.mp4" in failure.message


def test_unknown_frame_rate_is_bad_sample():
    dataset = ClipDataset(NoiseSource([]), {"sample": SampleFrames(clip_len=2, target_fps=5)}, seed=0, lazy=True)
    failure = dataset[0, 0]
    assert isinstance(failure, Failure)
    assert "frame rate" in failure.message


SCRIPT = """
import numpy as np
from support.noise import NoiseSource
from test_dataset import BrokenTransform, batches, clip_dataset, numpy_error
if __name__ == "__main__":
    batches(clip_dataset(NoiseSource([]), broken=BrokenTransform(numpy_error)), {workers})
"""


@pytest.mark.integration
@pytest.mark.parametrize("workers", [0, 1])
def test_plugin_error_prints_traceback_of_plugin(tmp_path, workers):
    script = tmp_path / "run.py"
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1])]
    script.write_text(f"import sys\nsys.path[:0] = {paths!r}\n" + SCRIPT.format(workers=workers))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "in numpy_error" in done.stderr
    assert "which is not part of vexp" in done.stderr.strip().splitlines()[-1]


def test_mark_fatal_sample_is_not_loaded_again():
    dataset = clip_dataset(NoiseSource([]))
    dataset.mark_fatal(3, "video 3.mp4: crashed")
    assert dataset[4, 3] == Failure(3, "video 3.mp4: crashed", 4, fatal=True)


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_dataset_user_error_is_bad_sample(workers):
    source = NoiseSource([1])
    assert clip_dataset(source)[0, 1] == Failure(1, "video 1.mp4: truncated", 0)
    with pytest.raises(UserError, match=r"video 1\.mp4: truncated") as caught:
        batches(clip_dataset(source), workers)
    assert multiprocessing.active_children() == []  # although ``caught`` holds the frames of the iteration
    assert caught.value.__traceback__ is not None
