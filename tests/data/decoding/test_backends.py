"""Every video backend delivers the frames of a plain decode, or refuses the file by name: never a neighbour."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from av.stream import Disposition
from support.encode import numbered_frame, patch_box, read_number, write_video
from support.videos import ROTATED, VIDEOS

from vexp.core.errors import ConfigError, UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.decoding import VIDEO_BACKENDS, open_video
from vexp.data.decoding.pyav import VideoReader
from vexp.data.decoding.third_party import ThirdPartyReader
from vexp.data.sources.base import VideoSource

NOT_IN_FFMPEG_4 = "cannot be opened by decord: .*cannot find video stream"

# backend: videos that it refuses, and in what words; every other one it must read right
REFUSED: dict[str, dict[str, str]] = {
    "av": {},
    "opencv": {"av1": "the decoder stops before this frame"},  # its wheel holds no AV1 decoder
    "decord": {
        "av1": NOT_IN_FFMPEG_4,
        "edit_list": "edit list of the file hides",
        "edit_list_open_gop": "edit list of the file hides",
        "no_key_frame_first": "finds 55 frames instead of 48",
        "mpeg2_ts": r"counts .*\(mpegts\) incorrectly",
        "h264_ts": r"counts .*\(mpegts\) incorrectly",
        "h264_ts_mid_gop": r"counts .*\(mpegts\) incorrectly",
        **dict.fromkeys(ROTATED, "rotated or mirrored"),
    },
    "torchcodec": {
        "h264_open_gop": "key frame is a random access point",
        "h264_open_gop_mkv": "key frame is a random access point",
        "h264_intra_refresh": "key frame is a random access point",
        "edit_list_open_gop": "key frame is a random access point",
        "mirrored": "does not mirror",
        **{name: "are not reliable" for name, (_, _, seeks) in VIDEOS.items() if not seeks},
    },
}

REFUSED["torchcodec_cuda"] = REFUSED["torchcodec"]

TOLERANCE = {"h264_10_bit": 8}
"""Grey levels by which a backend may differ from ours: its FFmpeg converts with another one's rounding. 1 elsewhere."""

QUICK = {"h264_gop12", "h264_open_gop", "h264_variable_rate", "h264_10_bit", "hevc", "mpeg4_avi_packed", "rotated_90"}
"""What the default lane looks at, the hazards; the slow one has all."""


@functools.cache
def unusable(backend: str) -> str:
    """Why a backend cannot be tested here; "" if it can."""
    modules = {"auto": "av", "opencv": "cv2", "torchcodec_cuda": "torchcodec"}
    pytest.importorskip(modules.get(backend, backend))
    if backend == "torchcodec_cuda" and not torch.cuda.is_available():
        return "there is no GPU here"
    if backend.startswith("torchcodec"):
        from torchcodec._internally_replaced_utils import load_core_libraries

        try:
            load_core_libraries()
        except (RuntimeError, OSError):
            return "torchcodec finds no FFmpeg libraries here"
    return ""


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if unusable(name):
        pytest.skip(unusable(name))
    return name


FOREIGN = [name for name in VIDEO_BACKENDS if name not in ("auto", "av")]
foreign = pytest.mark.parametrize("backend", FOREIGN, indirect=True)
each = pytest.mark.parametrize("backend", VIDEO_BACKENDS, indirect=True)

MATRIX = [
    pytest.param(name, backend, marks=() if name in QUICK else pytest.mark.slow)
    for name in (*VIDEOS, *ROTATED)
    for backend in FOREIGN
]


@pytest.mark.parametrize(("name", "backend"), MATRIX, indirect=["backend"])
def test_backend_returns_the_reference_frames_or_rejects(name: str, backend: str, video: Callable[[str], Path]) -> None:
    path, rng = video(name), np.random.default_rng(0)
    with VideoReader(path) as reader:
        truth = reader.frames(range(reader.num_frames))
    reason = REFUSED[backend].get(name)
    if reason is not None:
        with pytest.raises(UserError, match=reason) as caught, open_video(path, backend) as reader:
            reader.frames([0])
        assert str(caught.value).startswith(str(path))
        assert backend in str(caught.value)
        return
    with open_video(path, backend) as reader:
        assert (reader.num_frames, reader.height, reader.width) == truth.shape[:3]

        def check(indices: Sequence[int]) -> None:
            frames = reader.frames(indices)
            assert frames.dtype == np.uint8
            if name in VIDEOS:  # the right frame, whatever its colours
                assert [read_number(f) for f in frames] == [read_number(f) for f in truth[indices]]
            difference = np.abs(frames.astype(int) - truth[indices])
            assert difference.max(initial=0) <= TOLERANCE.get(name, 1)

        check(list(range(len(truth))))
        for size in (1, 1, 1, 2, 5, 16):  # unsorted, with repeats
            check(rng.integers(0, len(truth), size).tolist())


def test_refusal_table_names_existing_backends_and_videos() -> None:
    assert set(REFUSED) == {*FOREIGN, "av"}
    assert all(set(refused) <= {*VIDEOS, *ROTATED} for refused in REFUSED.values())


@foreign
def test_backend_with_two_streams_reads_the_first(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, [(80, 48), (160, 96)], strict=True):  # the larger one is FFmpeg's "best"
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for stream in streams:
            for number in range(3):
                picture = numbered_frame(number, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    if backend == "decord":
        with pytest.raises(UserError, match="one of several video streams"):
            open_video(path, backend)
        return
    with open_video(path, backend) as reader:
        assert reader.frames([2, 0]).shape == (2, 48, 80, 3)


@foreign
def test_backend_with_cover_art_reads_the_video(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        art = output.add_stream("mjpeg", rate=25)
        art.width, art.height, art.pix_fmt = 160, 96, "yuvj420p"
        art.disposition = Disposition.attached_pic
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        output.mux(art.encode(av.VideoFrame(160, 96, "yuvj420p")))
        output.mux(art.encode(None))
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert reader.frames([0]).shape == (1, 48, 80, 3)
    if backend == "decord":
        with pytest.raises(UserError, match="several video streams"):
            open_video(path, backend)
        return
    with open_video(path, backend) as reader:
        assert [read_number(frame) for frame in reader.frames([2, 0])] == [2, 0]
        art_first = dataclasses.replace(reader.file, stream=1, video_streams=[0, 1])
        reader.file = art_first
        assert bool(reader._unsupported_reason()) == (backend == "opencv")


@each
def test_frames_index_out_of_range_raises(backend: str, video: Callable[[str], Path]) -> None:
    for indices in ([60], [3, 60, 4], [-1]):
        with (
            open_video(video("h264_gop12"), backend) as reader,
            pytest.raises(UserError, match=r"is out of range"),
        ):
            reader.frames(indices)


@each
@pytest.mark.parametrize("indices", [3, [[0, 1]], [0.5], [True], ["0"]])
def test_frames_indices_of_another_type_raise(indices: object, backend: str, video: Callable[[str], Path]) -> None:
    with open_video(video("h264_gop12"), backend) as reader, pytest.raises(ValueError, match="flat list of integers"):
        reader.frames(indices)  # type: ignore[arg-type]


@each
def test_frames_without_indices_is_empty(backend: str, video: Callable[[str], Path]) -> None:
    with open_video(video("h264_gop12"), backend) as reader:
        assert reader.frames([]).shape == (0, 48, 80, 3)


@each
def test_open_video_accepts_names_like_addresses_and_patterns(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("v", "%d.mp4", "camera1:left.mp4", "v.txt"):
        write_video(tmp_path / "v.mp4", frames=3).rename(name)
        with open_video(name, backend) as reader:
            assert [read_number(frame) for frame in reader.frames([2, 0])] == [2, 0]


@each
def test_times_start_at_the_first_frame(backend: str, video: Callable[[str], Path]) -> None:
    with open_video(video("starts_later"), backend) as reader:
        assert reader.times is not None
        np.testing.assert_allclose(reader.times, np.arange(60) / 25)  # from the first frame, wherever that lies
        assert reader.fps == pytest.approx(25)


@foreign
def test_damaged_frame_is_named(backend: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", size=(160, 96), b_frames=0, x264_params="scenecut=0")  # key frames 0, 12 ...
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[30]
        assert packet.pos is not None
        start, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    for indices in ([30], [28, 30, 59]):
        pattern = rf"v\.mp4: frame (28|30|59) cannot be decoded \({backend}\): "
        with open_video(path, backend) as reader, pytest.raises(UserError, match=pattern):
            reader.frames(indices)


def test_opencv_skipped_frame_is_not_replaced_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's grab passes over a frame that cannot be decoded: here it is made to."""
    path = write_video(tmp_path / "v.mp4")
    calls, capture = [], cv2.VideoCapture

    class Skipping:
        def __init__(self, *arguments: Any) -> None:
            self.capture = capture(*arguments)

        def grab(self) -> bool:
            calls.append(1)
            return self.capture.grab() and (len(calls) != 20 or self.capture.grab())

        def __getattr__(self, name: str) -> Any:
            return getattr(self.capture, name)

    monkeypatch.setattr("vexp.data.decoding.opencv.cv2.VideoCapture", Skipping)
    with open_video(path, "opencv") as reader:
        assert read_number(reader.frames([18])[0]) == 18
        with pytest.raises(
            UserError,
            match=r"frame 30 cannot .*\(opencv\): the decoder returned the frame at 1.240 s instead of 1.200 s",
        ):
            reader.frames([30])


class Short(ThirdPartyReader):
    """Delivers one frame fewer than it is asked for."""

    backend = "short"

    def _unsupported_reason(self) -> str:
        return ""

    def _open(self) -> None: ...

    def _deliver(self, numbers: list[int]) -> Any:
        yield from np.zeros((len(numbers) - 1, 48, 80, 3), np.uint8)

    def close(self) -> None: ...


def test_backend_that_stops_early_raises(video: Callable[[str], Path]) -> None:
    with Short(video("h264_gop12")) as reader, pytest.raises(UserError, match=r"frame 7 .*short.*does not return it"):
        reader.frames([3, 7])


def test_backend_frame_of_another_shape_raises(video: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Short, "_deliver", lambda self, numbers: iter(np.zeros((1, 48, 80, 4), np.uint8)))
    with Short(video("h264_gop12")) as reader, pytest.raises(UserError, match=r"frame 3 .*shape is \(48, 80, 4\)"):
        reader.frames([3])


@each
def test_segments_count_frames_from_their_start(backend: str, video: Callable[[str], Path]) -> None:
    """A sample that is a part of a file, in seconds: its frames are numbered from its start."""
    path = video("h264_gop12")
    rows = Annotation.pack([path.name] * 2, [0, 0], ["a"], str(path.parent))
    rows.segments = np.array([[0.4, 1.2], [2.0, np.nan]])  # frames 10..29, 50..59
    source = VideoSource(rows, backend=backend)
    for index, numbers in ((0, range(10, 30)), (1, range(50, 60))):
        with source.open(index) as reader:
            assert reader.num_frames == len(numbers)
            assert [read_number(frame) for frame in reader.frames(range(len(numbers)))] == list(numbers)


def test_backend_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch, video: Callable[[str], Path]) -> None:
    monkeypatch.setattr("vexp.data.decoding.backends.find_spec", lambda name: None)
    for backend, command in (("decord", "pip install decord"), ("opencv", "pip install opencv-python-headless")):
        with pytest.raises(UserError, match=f"^data.decoding_backend={backend}: .* not installed: {command}"):
            open_video(video("h264_gop12"), backend)


def test_open_video_rejects_unknown_options(video: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="decoding_backend=ffmpeg: must be one of auto, av"):
        open_video(video("h264_gop12"), "ffmpeg")
    pytest.importorskip("decord")
    with pytest.raises(ValueError, match="strict=true: is not supported by decord"):
        open_video(video("h264_gop12"), "decord", strict=True)


def test_backend_auto_is_pyav(video: Callable[[str], Path]) -> None:
    with open_video(video("h264_gop12")) as reader:
        assert isinstance(reader, VideoReader)


@each
@pytest.mark.parametrize("size", [(2, 2), (2, 40), (4, 2), (17, 9), (31, 2)])
def test_backend_reads_small_and_odd_sizes(size: tuple[int, int], backend: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", frames=3, size=size, codec="libx264", pix_fmt="yuv444p", b_frames=0)
    with VideoReader(path) as reader:
        truth = reader.frames([0, 1, 2])
    assert truth.shape == (3, size[1], size[0], 3)
    if backend == "decord" and size[0] in (2, 4, 6, 8, 12, 16, 24, 48, 72):  # it trips over the padding of its own rows
        with open_video(path, backend) as reader, pytest.raises(UserError, match=r"frame 0 .*size must exactly match"):
            reader.frames([0, 2])
        return
    with open_video(path, backend) as reader:
        np.testing.assert_allclose(reader.frames([2, 0]).astype(int), truth[[2, 0]], atol=1)


def _no_frames(folder: Path) -> Path:
    with av.open(str(folder / "v.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        output.start_encoding()
    return folder / "v.mp4"


def _written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _cut(folder: Path) -> Path:
    path = write_video(folder / "v.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


# what is wrong: (how it is made, a word of the reason)
UNREADABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.mp4", "No such file"),
    "folder": (lambda folder: folder, "a folder"),
    "empty": (_written("v.mp4", b""), "empty"),
    "text": (_written("v.mp4", b"hello, world\n" * 500), "Invalid data"),
    "noise": (_written("v.avi", np.random.default_rng(0).bytes(9000)), "Invalid data"),
    "truncated": (_cut, "truncated"),
    "no frames": (_no_frames, "not one frame|no video stream|Invalid"),
}


@each
@pytest.mark.parametrize("fault", UNREADABLE)
def test_backend_unreadable_file_raises(fault: str, backend: str, tmp_path: Path) -> None:
    make, reason = UNREADABLE[fault]
    path = make(tmp_path)
    with pytest.raises(UserError, match=reason) as caught, open_video(path, backend) as reader:
        reader.frames([0])
    assert str(caught.value).startswith(f"{path}: ")


def test_decoding_on_a_gpu_without_one_raises(monkeypatch: pytest.MonkeyPatch, video: Callable[[str], Path]) -> None:
    monkeypatch.setattr("vexp.data.decoding.backends.find_spec", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="decodes on an NVIDIA GPU, but torch finds none") as caught:
        open_video(video("h264_gop12"), "torchcodec_cuda")
    assert caught.value.key == "data.decoding_backend"


@each
def test_backend_reads_a_single_frame(backend: str, video: Callable[[str], Path]) -> None:
    with open_video(video("h264_one_frame"), backend) as reader:
        assert reader.num_frames == 1
        assert [read_number(frame) for frame in reader.frames([0, 0])] == [0, 0]


@each
def test_backend_ignores_a_wrong_count_in_the_header(backend: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)
    for count in (7, 9000):
        patch_box(path, b"avih", 8 + 16, count.to_bytes(4, "little"))  # dwTotalFrames
        patch_box(path, b"strh", 8 + 32, count.to_bytes(4, "little"))  # dwLength
        if backend.startswith("torchcodec"):
            with pytest.raises(UserError, match="are not reliable"):
                open_video(path, backend)
            continue
        with open_video(path, backend) as reader:
            assert reader.num_frames == 60
            assert [read_number(frame) for frame in reader.frames([59, 0])] == [59, 0]


def test_opencv_rejects_interlaced_frames_and_changing_sizes(tmp_path: Path) -> None:
    interlaced = write_video(tmp_path / "i.mp4", frames=3, flags="+ildct+ilme")
    for path, reason in ((interlaced, "interlaced"), (_joined(tmp_path), "size changes")):
        with pytest.raises(UserError, match=f"opencv .*{reason}"):
            open_video(path, "opencv")


def _joined(folder: Path) -> Path:
    parts = [write_video(folder / f"{size[0]}.ts", frames=5, size=size).read_bytes() for size in ((80, 48), (160, 96))]
    (folder / "joined.ts").write_bytes(b"".join(parts))
    return folder / "joined.ts"
