"""Every video is written here; what a plain decode from the first packet on delivers is the truth in each test."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from encode import numbered_frame, patch_box, plain_decode, read_number, remux, write_video

from vexp.data.decode import VideoReader
from vexp.data.video_file import Recent
from vexp.errors import UserError

OPEN_GOP = {"x264_params": "open-gop=1:keyint=12:scenecut=0:b-adapt=0", "b_frames": 3}
HEVC = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:"
IRREGULAR = sorted(random.Random(0).sample(range(200), 60))  # presentation times of a variable frame rate


def _cut(source: str, target: str, first_packet: int = 0, shift: int = 0, **video: Any) -> Callable[[Path], Path]:
    return lambda folder: remux(
        write_video(folder / source, **video), folder / target, first_packet=first_packet, shift=shift
    )


def _video(name: str, **video: Any) -> Callable[[Path], Path]:
    return lambda folder: write_video(folder / name, **video)


# name: (how it is made, the numbers of the frames it shows, whether its frames are found by seeking)
VIDEOS: dict[str, tuple[Callable[[Path], Path], range, bool]] = {
    "h264_gop1": (_video("v.mp4", gop=1, b_frames=0), range(60), True),
    "h264_gop3": (_video("v.mp4", gop=3, b_frames=1, x264_params="b-adapt=0:scenecut=0"), range(60), True),
    "h264_gop12": (_video("v.mp4"), range(60), True),
    "h264_gop250": (_video("v.mp4", gop=250, b_frames=3, frames=260, x264_params="scenecut=0"), range(260), True),
    "h264_no_b_frames": (_video("v.mp4", b_frames=0), range(60), True),
    "h264_open_gop": (_video("v.mp4", **OPEN_GOP), range(60), True),
    "h264_open_gop_mkv": (_video("v.mkv", **OPEN_GOP), range(60), True),
    # Intra refresh: the "key frames" are P-frames from which the picture is whole only some frames later.
    "h264_intra_refresh": (_video("v.mp4", b_frames=0, x264_params="intra-refresh=1:keyint=12"), range(60), True),
    "h264_variable_rate": (_video("v.mp4", times=IRREGULAR), range(60), True),
    "h264_10_bit": (_video("v.mp4", pix_fmt="yuv420p10le"), range(60), True),
    "h264_odd_size": (_video("v.mkv", size=(81, 49), pix_fmt="yuv444p"), range(60), True),
    "h264_mkv": (_video("v.mkv"), range(60), True),
    "h264_one_frame": (_video("v.mp4", frames=1), range(1), True),
    "hevc": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=0"), range(60), True),
    "hevc_open_gop": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=1"), range(60), True),
    # Leading pictures that are decodable from the key frame alone: the decoder delivers them before it.
    "hevc_radl": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=0:radl=2"), range(60), True),
    "vp9": (_video("v.webm", codec="libvpx-vp9", b_frames=0, deadline="realtime", cpu_used="8"), range(60), True),
    "av1": (_video("v.mp4", codec="libsvtav1", b_frames=0, size=(160, 96), preset="10", crf="20"), range(60), True),
    "mjpeg_mov": (_video("v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0), range(60), True),
    # An edit list that hides 5 frames, in the first GOP; that hides 14, with a key frame and leading pictures.
    "edit_list": (_cut("v.mp4", "cut.mp4", shift=-5), range(5, 60), True),
    "edit_list_open_gop": (_cut("v.mp4", "cut.mp4", shift=-14, **OPEN_GOP), range(14, 60), True),
    "starts_later": (_cut("v.mp4", "cut.mp4", shift=3), range(60), True),
    # The first packets are not decodable without the key frame before them: the decoder delivers from number 12 on.
    "no_key_frame_first": (_cut("v.mp4", "cut.mkv", first_packet=5), range(12, 60), False),
    "vp8": (_video("v.webm", codec="libvpx", b_frames=0, deadline="realtime", auto_alt_ref="0"), range(60), False),
    "mpeg4_avi": (_video("v.avi", codec="mpeg4"), range(60), False),
    "mpeg4_mp4": (_video("v.mp4", codec="mpeg4"), range(60), False),
    "mpeg2_ts": (_video("v.ts", codec="mpeg2video"), range(60), False),
    "h264_ts": (_video("v.ts"), range(60), False),
    "h264_ts_mid_gop": (_cut("v.ts", "cut.ts", first_packet=5), range(12, 60), False),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = VIDEOS[name][0](tmp_path_factory.mktemp(name))
        return made[name]

    return make


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_a_plain_decode(name: str, video: Callable[[str], Path]) -> None:
    _, numbers, _ = VIDEOS[name]
    truth = plain_decode(video(name))
    assert [read_number(frame) for frame in truth] == list(numbers)  # the test's own footing
    count, rng = len(truth), np.random.default_rng(0)
    with VideoReader(video(name)) as reader:
        assert reader.num_frames == count
        assert (reader.height, reader.width) == truth.shape[1:3]
        whole = reader.frames(range(count))
        assert whole.dtype == np.uint8
        np.testing.assert_array_equal(whole, truth)
        for frame in rng.permutation(count)[:60]:  # alone, in random order: each from its own key frame
            np.testing.assert_array_equal(reader.frames([frame]), truth[[frame]])
        for size in (2, 5, 16):  # unsorted, with repeats
            indices = rng.integers(0, count, size)
            np.testing.assert_array_equal(reader.frames(indices), truth[indices])


@pytest.mark.parametrize("name", VIDEOS)
def test_seeks_only_where_timestamps_can_be_trusted(
    name: str, video: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vexp.data.decode.RECENT", Recent())  # as in a process that has not seen the file
    _, numbers, seeks = VIDEOS[name]
    with VideoReader(video(name)) as reader:
        count = reader.num_frames
        assert reader.decoded == (0 if seeks else count)  # counted by decoding, or read off the packets
        before = reader.decoded
        reader.frames([count - 1])
        if not seeks:
            assert reader.decoded - before == len(numbers)  # from the first frame on


# (video, indices, most frames that may be decoded for them)
DECODED = [
    ("h264_gop12", [30], 12),  # its own GOP at the worst
    ("h264_gop12", [1, 30, 55], 36),  # three distant GOPs
    ("h264_gop1", range(0, 60, 4), 15),  # every frame a key frame: none is decoded in vain
    ("h264_no_b_frames", [0, 59, 0, 59, 59], 24),  # repeats cost nothing
    ("h264_gop250", [40], 31),  # 30 of 40 frames before it are references: B-frames that nothing needs are discarded
    ("h264_gop250", [10, 251], 20),  # the next GOP, but far ahead: a seek
    ("hevc_radl", [24], 3),  # the key frame and, at most, its leading pictures
    ("mpeg4_avi", [10], 11),  # counting stops at the last wanted frame
]


@pytest.mark.parametrize(("name", "indices", "most"), DECODED)
def test_decodes_few_frames(name: str, indices: list[int], most: int, video: Callable[[str], Path]) -> None:
    with VideoReader(video(name)) as reader:
        reader.frames(indices)
        assert len(set(indices)) <= reader.decoded <= most


def test_every_packet_called_a_key_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    truth = plain_decode(path)
    patch_box(path, b"stss", 0, b"free")  # an MP4 without its table of key frames: every sample counts as one
    with VideoReader(path) as reader:
        for frame in (59, 5, 30, 31):
            np.testing.assert_array_equal(reader.frames([frame]), truth[[frame]])


def test_empty_sample_is_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)
    patch_box(path, b"stsz", 16 + 4 * 20, bytes(4))  # size of sample 20; the next one then begins where it did
    with VideoReader(path) as reader:
        assert reader.num_frames == 59
        assert [read_number(frame) for frame in reader.frames([58, 0])] == [58, 0]


def test_joined_transport_streams(tmp_path: Path) -> None:
    first, second = write_video(tmp_path / "1.ts", frames=20), write_video(tmp_path / "2.ts", frames=10)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())  # the presentation times start again
    with VideoReader(joined) as reader:
        assert reader.num_frames == 30
        assert [read_number(frame) for frame in reader.frames([29, 3, 23])] == [9, 3, 3]


def test_size_change_is_refused(tmp_path: Path) -> None:
    first, second = write_video(tmp_path / "1.ts", frames=20), write_video(tmp_path / "2.ts", frames=10, size=(160, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(joined) as reader:
        assert reader.frames([3, 4]).shape == (2, 48, 80, 3)
        with pytest.raises(UserError, match=r"joined.ts: frame 25 .*its size differs"):
            reader.frames([3, 25])


def test_rate_and_size(video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_mkv")) as reader:
        assert (reader.fps, reader.width, reader.height) == (25, 80, 48)
    with VideoReader(video("h264_variable_rate")) as reader:
        assert reader.fps == pytest.approx(25 * 60 / (IRREGULAR[-1] - IRREGULAR[0] + 1), rel=0.05)


def test_first_of_two_video_streams(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, [(80, 48), (160, 96)], strict=True):  # the larger one is FFmpeg's "best"
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for stream in streams:
            for number in range(3):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, stream.width, stream.height), format="rgb24")
                frame.pts = number
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert (reader.width, reader.height, reader.num_frames) == (80, 48, 3)


def test_index_outside(video: Callable[[str], Path]) -> None:
    for name in ("h264_gop12", "mpeg4_avi"):
        for indices in ([60], [3, 60, 4], [-1], [1000]):
            with VideoReader(video(name)) as reader, pytest.raises(UserError, match=r"outside 0\.\.59.* 60 frames"):
                reader.frames(indices)  # also before num_frames was asked


@pytest.mark.parametrize("indices", [3, [[0, 1]], [0.5], [True], ["0"]])
def test_indices_of_another_type(indices: object, video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_gop12")) as reader, pytest.raises(ValueError, match="flat list of whole numbers"):
        reader.frames(indices)  # type: ignore[arg-type]


def test_no_indices(video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_gop12")) as reader:
        assert reader.frames([]).shape == (0, 48, 80, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_starts_no_threads(video: Callable[[str], Path]) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    with VideoReader(video("h264_gop12")) as reader:
        before = threads()
        reader.frames(range(10))
        assert threads() == before
