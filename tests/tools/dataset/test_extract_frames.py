"""Extracted frames equal the decoded video, and extracted flow its motion."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vexp
from vexp.core.errors import UserError
from vexp.data.decoding.frame_folder import RawFrameReader
from vexp.data.decoding.pyav import VideoReader
from vexp.tools.dataset.conversion import Job
from vexp.tools.dataset.extract_frames import ExtractFlow, ExtractFrames, check_template, flow_method, quantize_flow

Run = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("name", ["run/a_g1.mp4", "run/c_g2.avi"])
def test_extracted_frames_match_video(collection: Path, encode: ModuleType, name: str, tmp_path: Path) -> None:
    """Frame numbers and pixels (up to JPEG compression) with a custom template and start index."""
    count = ExtractFrames(filename_tmpl="f{:03d}.jpeg", start_index=0)(Job(collection / name, tmp_path / "out"))
    reader = RawFrameReader(tmp_path / "out", "f{:03d}.jpeg", first=0)
    frames = reader.frames(range(reader.num_frames))
    with VideoReader(collection / name) as video:
        expected = video.frames(range(video.num_frames))
    assert count == len(frames) == len(expected)
    assert [encode.read_number(frame) for frame in frames] == list(range(count))
    assert np.abs(frames.astype(int) - expected).mean() < 3
    assert sorted(os.listdir(tmp_path / "out"))[:2] == [".frames.json", "f000.jpeg"]


def test_extract_frames_rotates_and_resizes(encode: ModuleType, tmp_path: Path) -> None:
    video = encode.set_display_matrix(encode.write_video(tmp_path / "v.mp4", frames=3, size=(160, 96)), 0, 1, -1, 0)
    ExtractFrames(short_side=48)(Job(video, tmp_path / "small"))
    assert RawFrameReader(tmp_path / "small", "img_{:05}.jpg").frames([2]).shape == (1, 80, 48, 3)
    ExtractFrames(short_side=480)(Job(video, tmp_path / "same"))  # frames are never enlarged
    assert RawFrameReader(tmp_path / "same", "img_{:05}.jpg").frames([2]).shape == (1, 160, 96, 3)


def moving(count: int, dx: int, dy: int) -> list[np.ndarray]:
    """Return frames of 96x128 with a texture that moves by (dx, dy) per frame."""
    import cv2

    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return [
        np.ascontiguousarray(texture[100 - dy * t : 196 - dy * t, 100 - dx * t : 228 - dx * t]) for t in range(count)
    ]


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_flow_method_measures_motion(method: str) -> None:
    """Channel 0 is x to the right, channel 1 is y down, in pixels."""
    before, after = moving(2, 3, -2)
    flow = flow_method(method)(before, after)
    assert (flow.shape, flow.dtype) == ((96, 128, 2), np.float32)
    np.testing.assert_allclose(np.median(flow, (0, 1)), (3, -2), atol=0.1)


def test_quantize_flow_levels() -> None:
    """As in denseflow, -20..20 pixels map to 0..255 and larger values are clipped."""
    pixels = np.array([-30, -20, -10, 0, 0.08, 10, 20, 99], np.float32)
    assert quantize_flow(pixels, 20).tolist() == [0, 0, 64, 128, 128, 191, 255, 255]  # 127.5 rounds to the even 128
    assert quantize_flow(np.float32([-5, 2.5]), 5).tolist() == [0, 191]


def test_flow_is_read_by_raw_frames(encode: ModuleType, tmp_path: Path, run: Run) -> None:
    """The printed command reads the extracted flow with data=raw_frames data.modality=Flow."""
    import av

    videos = tmp_path / "videos"
    for label, dx in (("left", -2), ("right", 2)):
        (videos / label).mkdir(parents=True)
        with av.open(str(videos / label / "v.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for image in moving(6, dx, 1):
                frame = av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, -1), format="rgb24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    flow = tmp_path / "flow"
    status, output = run("flow", videos, flow)
    assert status == 0
    rows_of_list = (flow / "lists/train.csv").read_text().split()
    assert rows_of_list == ["path,label,total_frames", "left/v,left,5", "right/v,right,5"]
    assert "data=raw_frames data.modality=Flow" in output
    arguments = [part for part in output.split("vexp train")[1].split() if part.startswith("data")]
    source = vexp.compose([*arguments, "img_norm=flow"]).data.source("train")
    for row, dx in ((0, -2), (1, 2)):
        with source.open(row) as reader:
            frames = reader.frames(range(reader.num_frames))
        assert frames.shape == (5, 96, 128, 2)
        pixels = np.median(frames, (0, 1, 2)) / 255 * 40 - 20
        np.testing.assert_allclose(pixels, (dx, 1), atol=0.25)


def test_frames_rerun_converts_only_changes(videos: Path, tmp_path: Path, run: Run) -> None:
    """A damaged video is reported and left out; a second run converts only missing and changed videos."""
    content = (videos / "run/a_g1.mp4").read_bytes()
    (videos / "run/a_g1.mp4").write_bytes(content[: len(content) // 2])
    frames = tmp_path / "frames"
    assert run("frames", videos, frames, "--dry-run")[0] == 0
    assert not frames.exists()
    status, output = run("frames", videos, frames)
    assert status == 1
    assert "1 samples are left out of the lists" in output
    assert (frames / "failures.txt").read_text().startswith(str(videos / "run/a_g1.mp4"))
    assert not (frames / "run/a_g1").exists()
    assert not list(frames.rglob("*.tmp"))
    stale = frames / "jump/e_g4/img_00001.jpg"
    before = stale.stat().st_mtime_ns
    (frames / "run/.b_g1.99999999.tmp").mkdir()  # left by a killed process
    (videos / "run/a_g1.mp4").write_bytes(content)
    os.utime(videos / "jump/d_g3.mp4", ns=(1, 1))
    status, output = run("frames", videos, frames)
    assert status == 0
    assert "5 videos, 3 of them are done" in output
    assert "converted 2 in" in output
    assert stale.stat().st_mtime_ns == before
    assert not list(frames.rglob("*.tmp"))
    assert not (frames / "failures.txt").exists()
    rows = csv.DictReader((frames / "lists/train.csv").read_text().split())
    counts = {row["path"]: row["total_frames"] for row in rows}
    assert counts == {"jump/d_g3": "23", "jump/e_g4": "24", "run/a_g1": "20", "run/b_g1": "21", "run/c_g2": "22"}
    status, output = run("frames", videos, frames, "--quality", 80)
    assert (status, "other settings (quality 95 -> 80)" in output) == (2, True)
    status, output = run("flow", videos, frames)
    assert (status, "made_by ExtractFrames -> ExtractFlow" in output) == (2, True)


@pytest.mark.parametrize(
    ("template", "flow", "message"),
    [
        ("img.jpg", False, "two files the same name"),
        ("img_{}_{}.jpg", False, "Replacement index 1"),
        ("img_{:05}.png", False, "must name .jpg files"),
        ("../{:05}.jpg", False, "without a folder"),
        ("flow_{:05}.jpg", True, "two files the same name"),
        ("flow_{}.jpg", True, "two files the same name"),
    ],
)
def test_check_template_rejects(template: str, flow: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_template(template, flow=flow)


def test_flow_of_one_frame_raises(encode: ModuleType, tmp_path: Path) -> None:
    video = encode.write_video(tmp_path / "one.mp4", frames=1)
    with pytest.raises(UserError, match="optical flow needs two"):
        ExtractFlow()(Job(video, tmp_path / "out"))
    assert os.listdir(tmp_path) == ["one.mp4"]
