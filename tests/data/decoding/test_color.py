from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from support.encode import numbered_frame, plain_decode, set_display_matrix, write_color, write_video

from vexp.core.errors import UserError
from vexp.data.decoding import color
from vexp.data.decoding.pyav import VideoReader

# Display matrix (a, b, c, d) and what it does to a picture.
MATRICES: list[tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = [
    ((1, 0, 0, 1), lambda frame: frame),
    ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),  # a quarter turn clockwise, as phones held upright write
    ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
    ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),  # mirrored, as front cameras write: not a half turn
    ((1, 0, 0, -1), lambda frame: frame[::-1]),
    ((0, 1, 1, 0), lambda frame: frame.swapaxes(0, 1)),
    ((-1, 1, -1, -1), lambda frame: frame),  # 135 degrees: left as coded
]


@pytest.mark.parametrize(("matrix", "turn"), MATRICES)
def test_display_matrix_rotates_frames(
    matrix: tuple[int, int, int, int], turn: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = write_video(tmp_path / "v.mp4", frames=3)
    expected = np.stack([turn(frame) for frame in plain_decode(path)])
    with VideoReader(set_display_matrix(path, *matrix)) as reader:
        assert (reader.height, reader.width) == expected.shape[1:3]
        np.testing.assert_array_equal(reader.frames([0, 1, 2]), expected)


@pytest.mark.parametrize(("matrix", "warns"), [((1, 1, -1, 1), True), ((0, 1, -1, 0), False), ((-1, 0, 0, 1), False)])
def test_oblique_display_matrix_is_logged_once(
    matrix: tuple[int, int, int, int], warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = set_display_matrix(write_video(tmp_path / "v.mp4", frames=3), *matrix)
    for _ in range(2):
        with VideoReader(path) as reader:
            reader.frames([0, 1])
    assert [f"{path}: the display matrix is not a rotation" in record.getMessage() for record in caplog.records] == (
        [True] if warns else []
    )


def test_unsupported_color_matrix_is_named(tmp_path: Path) -> None:
    path = write_color(tmp_path / "v.mp4", (81, 90, 240), 8, 1)  # YCgCo
    with VideoReader(path) as reader, pytest.raises(UserError, match=r"color matrix 8 .*ffmpeg -i INPUT -vf zscale"):
        reader.frames([0])


# (Y, Cb, Cr), matrix, range -> RGB by the formulas of BT.601, BT.709 (H.273, 8.3).
COLOURS = [
    ((16, 128, 128), None, None, (0, 0, 0)),  # untagged: limited range
    ((235, 128, 128), None, None, (255, 255, 255)),
    ((81, 90, 240), None, None, (254, 0, 0)),  # untagged: BT.601
    ((81, 90, 240), 5, 1, (254, 0, 0)),  # bt470bg = BT.601
    ((81, 90, 240), 6, 1, (254, 0, 0)),  # smpte170m = BT.601
    ((81, 90, 240), 1, 1, (255, 24, 0)),  # BT.709
    ((81, 90, 240), 1, 2, (255, 36, 10)),  # BT.709, full range
    ((16, 128, 128), 5, 2, (16, 16, 16)),  # full range
]


@pytest.mark.parametrize(("yuv", "matrix", "colour_range", "rgb"), COLOURS)
def test_color_follows_matrix_and_range(
    yuv: tuple[int, int, int], matrix: int | None, colour_range: int | None, rgb: tuple[int, int, int], tmp_path: Path
) -> None:
    with VideoReader(write_color(tmp_path / "v.mp4", yuv, matrix, colour_range)) as reader:
        difference = reader.frames([1]).astype(int) - rgb
    assert np.abs(difference).max() <= 2  # swscale's fixed point


def test_reader_converts_all_frames_with_the_same_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context per frame keeps megabytes of each with FFmpeg 8 (PyAV #2320)."""
    made = []

    def reformatter() -> VideoReformatter:
        made.append(VideoReformatter())
        return made[-1]

    monkeypatch.setattr(color, "VideoReformatter", reformatter)
    with VideoReader(write_video(tmp_path / "v.mp4", frames=8, pix_fmt="yuv420p10le")) as reader:
        reader.frames(list(range(8)))
        reader.frames([7, 0])
    assert len(made) == 2  # one for each step of the conversion


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("10_bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ("odd_size.mkv", {"pix_fmt": "yuv444p", "size": (81, 49)}),
        ("odd_size_420.webm", {"codec": "libvpx-vp9", "size": (81, 49), "b_frames": 0, "deadline": "realtime"}),
        ("full_range.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0}),
    ],
)
def test_pixels_match_the_encoded_image(name: str, video: dict[str, Any], tmp_path: Path) -> None:
    with VideoReader(write_video(tmp_path / name, frames=8, **video)) as reader:
        frames = reader.frames([7])
        original = numbered_frame(7, reader.width, reader.height)
    error = np.abs(frames[0].astype(int) - original)
    assert error.mean() < 8  # lossy coding; a wrong bit depth, order of channels or shift gives over 30
    assert error[:, -1].mean() < 24  # the last column, which shares its colour with no other where the width is odd
