"""The built-in dataset: its files and lists, and that only the order of the frames contains the class."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import vexp
from vexp.data.loading.dataset import flip_table
from vexp.data.sources import motion
from vexp.data.sources.motion import CLASSES, ensure_motion, trajectory

SMALL = {"train_clips": 2, "val_clips": 1}
X, Y, ANGLE, LOG_SIZE = range(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_motion(tmp_path_factory.mktemp("motion"), seed=0, **SMALL)


@pytest.fixture(scope="module")
def mirror_image() -> dict[str, str]:
    """Of every class, as the data option has it."""
    table = flip_table(list(CLASSES), vexp.compose(["data=motion"]).data.flip_label_map)
    return dict(zip(CLASSES, (CLASSES[i] for i in table), strict=True))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_same_seed_gives_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # whatever the number of workers
    assert digests(ensure_motion(tmp_path, seed=0, **SMALL)) == digests(folder)


@pytest.mark.integration
def test_clips_differ_and_other_seed_changes_all(folder: Path, tmp_path: Path) -> None:
    def clips(where: Path) -> list[str]:
        return [digest for name, digest in digests(where).items() if name.endswith(".mp4")]

    both = clips(folder) + clips(ensure_motion(tmp_path, seed=1, **SMALL))
    assert len(both) == len(set(both)) == 2 * 3 * len(CLASSES)


def test_clip_does_not_depend_on_number_of_clips_and_progress_is_called(folder: Path, tmp_path: Path) -> None:
    threads, seen = cv2.getNumThreads(), []
    made = ensure_motion(
        tmp_path, seed=0, train_clips=1, val_clips=1, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 16) for done in range(1, 17)]
    assert cv2.getNumThreads() == threads
    fewer, full = digests(made), digests(folder)
    clips = [name for name in fewer if name.endswith(".mp4")]
    assert len(clips) == 2 * len(CLASSES)
    assert [fewer[name] for name in clips] == [full[name] for name in clips]


def test_lists_contain_every_file_once_with_its_class(folder: Path) -> None:
    assert (folder / "classes.txt").read_text().splitlines() == list(CLASSES)
    assert "<path> <class index>" in (folder / "README.md").read_text()
    for split, clips in (("train", 2), ("val", 1)):
        rows = [line.split(" ") for line in (folder / f"{split}.txt").read_text().splitlines()]
        assert {path for path, _ in rows} == {f"{split}/{file.name}" for file in (folder / split).iterdir()}
        assert all(Path(path).name.startswith(CLASSES[int(label)] + "_") for path, label in rows)
        assert [int(label) for _, label in rows] == [*range(len(CLASSES))] * clips  # any first lines are balanced


def test_files_are_h264_of_32_frames(folder: Path) -> None:
    files = sorted(folder.rglob("*.mp4"))
    assert len(files) == 3 * len(CLASSES)
    for file in files:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 16
        assert decode(file).shape == (32, 96, 128, 3)


def test_files_contain_rendered_frames(folder: Path) -> None:
    drawn = motion.render_clip(0, "train", 3, 1).astype(float)
    error = np.abs(decode(folder / "train" / "down_001.mp4") - drawn)
    assert error.mean() < 6  # gray levels: compression and half-resolution color


def test_second_call_writes_nothing(folder: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = times()
    assert ensure_motion(folder.parent, seed=0, **SMALL) == folder
    assert times() == before


@pytest.mark.integration
def test_concurrent_calls_succeed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(ensure_motion, tmp_path, seed=0, train_clips=1, val_clips=1) for _ in range(2)]
        folders = {future.result() for future in made}
    assert [*tmp_path.iterdir()] == [*folders]  # one folder, and no unfinished one beside it


def test_failed_call_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, frames: np.ndarray) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(motion, "write_mp4", fail)
    with pytest.raises(OSError, match="disk full"):
        ensure_motion(tmp_path, seed=0, **SMALL)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("train_clips", 0), ("val_clips", 0)],
)
def test_invalid_numbers_raise(name: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ensure_motion(tmp_path, **{"seed": 0, **SMALL, name: value})
    assert [*tmp_path.iterdir()] == []


# Per class: the column that moves and the sign of its step from frame to frame.
MOTIONS = {
    "left": (X, -1),
    "right": (X, 1),
    "up": (Y, -1),  # y points down
    "down": (Y, 1),
    "clockwise": (ANGLE, 1),  # from x (right) towards y (down): clockwise on the screen
    "counter_clockwise": (ANGLE, -1),
    "grow": (LOG_SIZE, 1),
    "shrink": (LOG_SIZE, -1),
}


@pytest.mark.parametrize("name", CLASSES)
def test_trajectory_moves_one_coordinate_at_constant_rate(name: str) -> None:
    column, sign = MOTIONS[name]
    for seed in range(20):
        steps = np.diff(trajectory(CLASSES.index(name), np.random.default_rng(seed)), axis=0)
        assert not np.delete(steps, column, axis=1).any()  # the others hold still
        step = np.median(steps[:, column])
        low, high = {X: (1.6, 2.4), Y: (1.6, 2.4), ANGLE: np.radians((5, 9)), LOG_SIZE: (0.03, 0.04)}[column]
        assert low <= sign * step <= high
        restarts = np.sum(~np.isclose(steps[:, column], step))
        assert restarts <= 1  # out of the range at one end and in at the other at most once in a clip


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance between two empirical distribution functions."""
    points = np.concatenate([first, second])
    ranks = [np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(ranks[0] - ranks[1]).max())


@pytest.mark.integration
def test_single_frame_distribution_does_not_depend_on_class() -> None:
    draws = 3000
    limit = 2.5 * np.sqrt(2 / draws)  # Kolmogorov-Smirnov, two samples: passed by chance but for 1 in 100 000
    frames = np.array(
        [
            [trajectory(label, np.random.default_rng([label, draw]))[[0, 16, 31]] for draw in range(draws)]
            for label in range(len(CLASSES))
        ]
    )  # (class, draw, frame, column)
    frames[..., ANGLE] %= 2 * np.pi
    for states in np.moveaxis(frames, 2, 0):
        # Products of two centered columns: they must not depend on each other differently from class to class either.
        centered = states - states.mean(axis=(0, 1))
        pairs = [centered[..., i] * centered[..., j] for i, j in ((X, Y), (X, LOG_SIZE), (Y, LOG_SIZE))]
        for values in (*np.moveaxis(states, -1, 0), *pairs):
            for label in range(1, len(CLASSES)):
                assert kolmogorov_smirnov(values[0], values[label]) < limit


def displacement(clip: np.ndarray) -> np.ndarray:
    """Sum over frames of the dominant motion (x, y) in pixels, from optical flow where it is fast."""
    total = np.zeros(2)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
    for before, after in itertools.pairwise(gray):
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        fast = np.linalg.norm(flow, axis=2)
        moving = flow[(fast > 1) & (fast < 3)]  # not the slow clutter and not a restart of the loop
        total += moving.sum(axis=0) / fast.size
    return total


@pytest.mark.integration
def test_flip_label_map_equals_mirrored_motion(folder: Path, mirror_image: dict[str, str]) -> None:
    for name, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        for number in range(2):
            clip = decode(folder / "train" / f"{name}_{number:03d}.mp4")
            moved = displacement(clip)
            assert np.argmax(np.abs(moved)) == axis
            assert np.sign(moved[axis]) == sign
            expected = MOTIONS[mirror_image[name]][1]
            assert np.sign(displacement(np.ascontiguousarray(clip[:, :, ::-1]))[axis]) == expected


def test_flip_label_map_swaps_left_right_and_rotations_only(mirror_image: dict[str, str]) -> None:
    assert {a: b for a, b in mirror_image.items() if a != b} == {
        "left": "right",
        "right": "left",
        "clockwise": "counter_clockwise",
        "counter_clockwise": "clockwise",
    }


def test_clockwise_class_rotates_clockwise_on_screen() -> None:
    # One marked corner: pasted at angle 0 it is at the upper left; turned by a quarter clockwise, at the upper right.
    patch = np.zeros((64, 64, 4), np.float32)
    patch[8:24, 8:24] = (255, 255, 255, 1)
    corners = []
    for angle in (0.0, np.pi / 2):
        canvas = np.zeros((96, 128, 3), np.uint8)
        motion._paste(patch, np.array([64, 48, angle, np.log(20)]), canvas)
        rows, columns = np.nonzero(canvas[..., 0] > 127)
        corners.append((columns.mean() < 64, rows.mean() < 48))
    assert corners == [(True, True), (False, True)]  # (left half, upper half)
