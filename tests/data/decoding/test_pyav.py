"""Every video is written here; what a plain decode from the first packet on delivers is the truth in each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.encode import numbered_frame, patch_box, plain_decode, read_number, write_video
from support.tables import default_lane_has
from support.videos import IRREGULAR, ROTATED, VIDEOS

from vexp.core.errors import UserError
from vexp.data.decoding import container
from vexp.data.decoding.pyav import VideoReader
from vexp.data.decoding.video_info import VideoInfoCache


@pytest.mark.parametrize("name", default_lane_has(4, list(VIDEOS)))
def test_frames_equal_a_sequential_decode(name: str, video: Callable[[str], Path]) -> None:
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
            if frame % 3 == 0:  # also as the first request of a decoder
                with VideoReader(video(name)) as fresh:
                    np.testing.assert_array_equal(fresh.frames([frame]), truth[[frame]])
        for size in (2, 5, 16):  # unsorted, with repeats
            indices = rng.integers(0, count, size)
            np.testing.assert_array_equal(reader.frames(indices), truth[indices])
        np.testing.assert_array_equal(np.stack(list(reader.iter_valid_rgb_frames())), truth)


@pytest.mark.parametrize("name", VIDEOS)
def test_reader_seeks_only_with_reliable_times(
    name: str, video: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vexp.data.decoding.pyav.VIDEO_INFO_CACHE", VideoInfoCache()
    )  # as in a process that has not seen the file
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
    ("h264_gop250", [11], 6),  # nothing that is stored after it
    ("hevc_radl", [12], 1),  # not even the leading pictures of a key frame
    ("mpeg4_avi", [10], 11),  # counting stops at the last wanted frame
]


@pytest.mark.parametrize(("name", "indices", "most"), DECODED)
def test_reader_decodes_few_frames(name: str, indices: list[int], most: int, video: Callable[[str], Path]) -> None:
    with VideoReader(video(name)) as reader:
        reader.frames(indices)
        assert len(set(indices)) <= reader.decoded <= most


def test_mp4_without_key_frame_table_returns_the_right_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    truth = plain_decode(path)
    patch_box(path, b"stss", 0, b"free")  # an MP4 without its table of key frames: every sample counts as one
    with VideoReader(path) as reader:
        for frame in (59, 5, 30, 31):
            np.testing.assert_array_equal(reader.frames([frame]), truth[[frame]])


def test_empty_sample_is_not_a_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)
    patch_box(path, b"stsz", 16 + 4 * 20, bytes(4))  # size of sample 20; the next one then begins where it did
    with VideoReader(path) as reader:
        assert reader.num_frames == 59
        assert [read_number(frame) for frame in reader.frames([58, 0])] == [58, 0]


def test_joined_transport_streams_are_counted(tmp_path: Path) -> None:
    first, second = write_video(tmp_path / "1.ts", frames=20), write_video(tmp_path / "2.ts", frames=10)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())  # the presentation times start again
    with VideoReader(joined) as reader:
        assert reader.num_frames == 30
        assert [read_number(frame) for frame in reader.frames([29, 3, 23])] == [9, 3, 3]


def test_overlapping_times_of_joined_files_are_counted(tmp_path: Path) -> None:
    """The second GOP begins before the first one ends: the n-th time is not the n-th frame of a decode."""
    path, joined = write_video(tmp_path / "v.mp4", frames=24, b_frames=0), tmp_path / "joined.mkv"
    with av.open(str(path)) as source, av.open(str(joined), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.pts is not None and stream.time_base is not None:
                packet.dts, packet.stream = packet.pts, copy
                packet.pts += round((4 if number < 12 else 0.5) / (25 * stream.time_base))  # 4 .. 15, 12.5 .. 23.5
                target.mux(packet)
    truth = plain_decode(joined)
    assert [read_number(frame) for frame in truth] == list(range(24))
    with VideoReader(joined) as reader:
        np.testing.assert_array_equal(reader.frames(range(24)), truth)
        np.testing.assert_array_equal(reader.frames([20, 10, 13]), truth[[20, 10, 13]])


def test_reader_used_by_threads_returns_the_right_frames(video: Callable[[str], Path]) -> None:
    truth = plain_decode(video("h264_gop12"))
    with VideoReader(video("h264_gop12")) as reader, ThreadPoolExecutor(4) as threads:
        requests = np.random.default_rng(0).integers(0, 60, (40, 3))
        for indices, frames in zip(requests, threads.map(reader.frames, requests), strict=True):
            np.testing.assert_array_equal(frames, truth[indices])


def test_rows_stored_from_the_bottom_are_read(tmp_path: Path) -> None:
    """Raw pictures in an AVI are stored from the last row on, which FFmpeg hands on as a negative line size."""
    path = write_video(tmp_path / "v.avi", codec="rawvideo", pix_fmt="bgr24", b_frames=0, frames=4)
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(reader.frames(range(4)), [numbered_frame(number) for number in range(4)])


def test_transparent_vp9_is_read(tmp_path: Path) -> None:
    """PyAV issue 1930: FFmpeg crashed on the second stream of a picture with transparency."""
    path = write_video(
        tmp_path / "v.webm", codec="libvpx-vp9", pix_fmt="yuva420p", b_frames=0, frames=6, deadline="realtime",
        cpu_used="8",
    )  # fmt: skip
    with VideoReader(path) as reader:
        assert [read_number(frame) for frame in reader.frames(range(6))] == list(range(6))


def test_joined_files_of_other_rates_keep_frames_and_times(tmp_path: Path) -> None:
    """After a join of files (lerobot issue 2627) the frame that was found was hundreds of seconds away."""
    path = write_video(tmp_path / "v.mp4", frames=60, times=[*range(20), *range(20, 60, 2), *range(60, 120, 3)])
    with VideoReader(path) as reader:
        assert [read_number(frame) for frame in reader.frames([19, 20, 39, 40, 59])] == [19, 20, 39, 40, 59]
        np.testing.assert_allclose(reader.times[[19, 20, 39, 40, 59]] * 25, [19, 20, 58, 60, 117], atol=1e-6)


def test_size_change_raises(tmp_path: Path) -> None:
    first, second = write_video(tmp_path / "1.ts", frames=20), write_video(tmp_path / "2.ts", frames=10, size=(160, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(joined) as reader:
        assert reader.frames([3, 4]).shape == (2, 48, 80, 3)
        message = r"joined.ts: frame 25 .*its size differs .*: 160x96, not 80x48. .* ffmpeg -i INPUT -vf scale=80:48"
        with pytest.raises(UserError, match=message):
            reader.frames([3, 25])


def test_reader_returns_rate_and_size(video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_mkv")) as reader:
        assert (reader.fps, reader.width, reader.height) == (25, 80, 48)
    with VideoReader(video("h264_variable_rate")) as reader:
        assert reader.fps == pytest.approx(25 * 60 / (IRREGULAR[-1] - IRREGULAR[0] + 1), rel=0.05)


def test_reader_with_two_streams_reads_the_first(tmp_path: Path) -> None:
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


def test_frames_index_out_of_range_raises(video: Callable[[str], Path]) -> None:
    for name in ("h264_gop12", "mpeg4_avi"):
        for indices in ([60], [3, 60, 4], [-1], [1000]):
            with (
                VideoReader(video(name)) as reader,
                pytest.raises(UserError, match=r"is out of range.* 60 frames"),
            ):
                reader.frames(indices)  # also before num_frames was asked


@pytest.mark.parametrize("indices", [3, [[0, 1]], [0.5], [True], ["0"]])
def test_frames_indices_of_another_type_raise(indices: object, video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_gop12")) as reader, pytest.raises(ValueError, match="flat list of integers"):
        reader.frames(indices)  # type: ignore[arg-type]


def test_frames_without_indices_is_empty(video: Callable[[str], Path]) -> None:
    with VideoReader(video("h264_gop12")) as reader:
        assert reader.frames([]).shape == (0, 48, 80, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_reader_starts_no_threads(video: Callable[[str], Path]) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    with VideoReader(video("h264_gop12")) as reader:
        before = threads()
        reader.frames(range(10))
        assert threads() == before


@pytest.mark.parametrize("name", [*VIDEOS, *ROTATED])
def test_metadata_without_decoding_frames_equal_those_of_a_probe(name: str, video: Callable[[str], Path]) -> None:
    opened = container.open_without_probe(video(name))
    is_mp4 = name.startswith(("h264", "edit_list", "starts", "rotated", "mirrored")) and video(name).suffix == ".mp4"
    assert (opened is not None) == is_mp4
    if opened is None:
        return
    probed = container.open_stream(video(name), strict=False)
    facts, expected = (asdict(container.describe(*each)) for each in (opened, probed))
    np.testing.assert_equal(facts, expected)
    for each in (opened, probed):
        each[0].close()


def test_frame_that_is_missing_without_a_probe_is_read_with_one(
    video: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, probes = VideoReader._run, []

    def incomplete(self: VideoReader, *arguments: Any) -> Iterator[Any]:
        probes.append(self._is_probed)
        return run(self, *arguments) if self._is_probed else iter(())

    monkeypatch.setattr(VideoReader, "_run", incomplete)
    with VideoReader(video("h264_gop12")) as reader:
        assert [read_number(frame) for frame in reader.frames([30, 5])] == [30, 5]
    assert probes == [False, True]
