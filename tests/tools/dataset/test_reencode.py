"""Proxies have the frames and times of their originals and are written atomically."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.tables import default_lane_has

from vexp.data.decoding.pyav import VideoReader
from vexp.tools.dataset.conversion import Job
from vexp.tools.dataset.estimate import milliseconds_per_clip
from vexp.tools.dataset.reencode import ENCODINGS

Run = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("encoding", ["h264", "mjpeg"])
@pytest.mark.parametrize(
    ("name", "options"),
    default_lane_has(
        2,
        [
            ("long_gop.mp4", {"gop": 250}),
            ("variable.mkv", {"times": [n + n // 7 + 3 for n in range(40)]}),  # variable frame rate, later than 0
            ("packed.avi", {"codec": "mpeg4", "b_frames": 0}),  # no times in the file
            ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ],
    ),
)
def test_proxy_frames_match_video(
    encode: ModuleType, tmp_path: Path, name: str, options: dict[str, object], encoding: str
) -> None:
    original = encode.write_video(tmp_path / name, frames=40, size=(160, 96), **options)
    kind = replace(ENCODINGS[encoding], short_side=48)
    proxy = tmp_path / kind.target_name(f"proxies/{name}")
    assert kind(Job(original, proxy)) == 40
    with VideoReader(original) as before, VideoReader(proxy) as after:
        frames, indices = after.frames(range(40)), np.arange(0, 32, 4)
        assert frames.shape == (40, 48, 80, 3)
        assert [encode.read_number(frame) for frame in frames] == list(range(40))
        assert np.abs(before.frames(range(40)).mean((1, 2)) - frames.mean((1, 2))).max() < 2  # colors, per frame
        np.testing.assert_allclose(after.times, before.times, atol=1.01e-3)  # Matroska counts milliseconds
    with VideoReader(proxy) as reader:
        reader.frames(indices)
        assert reader.decoded == len(indices) if encoding == "mjpeg" else reader.decoded < 40
    assert [path.name for path in proxy.parent.iterdir() if path.name.startswith(".")] == []


def test_mjpeg_proxies_of_a_video_are_equal_files(encode: ModuleType, tmp_path: Path) -> None:
    """libx264 does not write the same bytes twice in one process, although its input is equal."""
    original = encode.write_video(tmp_path / "video.mp4", frames=20, size=(160, 96))
    targets = [tmp_path / ENCODINGS["mjpeg"].target_name(f"{number}/video") for number in range(2)]
    for target in targets:
        ENCODINGS["mjpeg"](Job(original, target))
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_proxy_is_upright_and_not_enlarged(encode: ModuleType, tmp_path: Path) -> None:
    original = encode.set_display_matrix(encode.write_video(tmp_path / "turned.mp4", frames=5), 0, 1, -1, 0)
    ENCODINGS["h264"](Job(original, tmp_path / "proxy.mp4"))
    with VideoReader(original) as before, VideoReader(tmp_path / "proxy.mp4") as after:
        assert after.frames([4]).shape == before.frames([4]).shape == (1, 80, 48, 3)
        assert np.abs(before.frames([4]).astype(int) - after.frames([4])).mean() < 4


def test_rescale_rerun_converts_only_missing(encode: ModuleType, tmp_path: Path, run: Run) -> None:
    """Estimate, folders, a list and a damaged video; a second run converts only missing videos."""
    videos, proxies, train_list = tmp_path / "videos", tmp_path / "proxies", tmp_path / "train.txt"
    (videos / "a b").mkdir(parents=True)
    encode.write_video(videos / "a b/one.avi", frames=20, codec="mpeg4", b_frames=0)
    content = encode.write_video(videos / "two.mp4", frames=20).read_bytes()
    (videos / "broken.mp4").write_bytes(content[: len(content) // 2])
    train_list.write_text("a b/one.avi 3\ntwo.mp4 1\nbroken.mp4 0\n")
    arguments = ("rescale", videos, proxies, "--train", train_list)
    status, output = run(*arguments, "--dry-run")
    assert status == 0
    assert "3 videos, from a measured sample" in output
    assert "times as fast" in output
    assert not proxies.exists()
    assert run(*arguments, "--sample", "0")[0] == 1
    names = sorted(str(path.relative_to(proxies)) for path in proxies.rglob("*") if path.is_file())
    assert names == [".lock", "a b/one.mp4", "failures.txt", "lists/train.csv", "prepared.json", "two.mp4"]
    assert (proxies / "lists/train.csv").read_text() == "path,label\na b/one.mp4,3\ntwo.mp4,1\n"
    assert (proxies / "failures.txt").read_text().startswith(str(videos / "broken.mp4"))
    modified = (proxies / "two.mp4").stat().st_mtime_ns
    (videos / "broken.mp4").write_bytes(content)
    status, output = run(*arguments)
    assert status == 0
    assert "3 videos, 2 of them are done" in output
    assert " times\nreading a clip of 16x4 takes " in output  # space, then speed
    assert (proxies / "two.mp4").stat().st_mtime_ns == modified
    assert "broken.mp4,0" in (proxies / "lists/train.csv").read_text()
    assert not (proxies / "failures.txt").exists()
    status, output = run(*arguments, "--encoding", "mjpeg")
    assert (status, "other settings" in output) == (2, True)


@pytest.mark.slow
def test_rescale_with_workers(encode: ModuleType, tmp_path: Path) -> None:
    """Workers are processes that import the script again."""
    videos = _folder(tmp_path / "videos")
    for number in range(5):
        encode.write_video(videos / f"{number}.mp4")
    command = [sys.executable, "-m", "vexp", "dataset", "rescale", videos, tmp_path / "proxies", "--workers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "proxies").glob("*.mp4"))) == 5


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_milliseconds_per_clip_removes_links(encode: ModuleType, tmp_path: Path) -> None:
    original = encode.write_video(tmp_path / "v.mp4", frames=80)
    assert milliseconds_per_clip(original, _folder(tmp_path / "links"), draws=1) > 0
    assert not list((tmp_path / "links").iterdir())
