"""Windows of long videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import write_zip
from support.file_server import serving

from vexp.core.errors import ConfigError, UserError
from vexp.data.decoding import open_video
from vexp.data.sources.unlabeled import find_videos, split_into_windows


def test_find_videos_lists_every_place(
    video: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, folders and parts of archives and servers; a name that ends as that of a video is one file."""
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "in"
    for name in ("a.mp4", "b/b.mp4", "b/.c.mp4", "b/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(video("h264_gop12"))
    clips = write_zip(tmp_path / "clips.zip", folder)
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path) as server:
        for place in ("in", str(folder), "clips.zip", str(clips), f"{server.url}/in", f"{server.url}/clips.zip"):
            assert [name for _, name in find_videos(place)] == ["a.mp4", "b/b.mp4"]
        for place in (
            "in/b/b.mp4", "clips.zip/b/b.mp4", f"{server.url}/in/b/b.mp4", f"{server.url}/clips.zip/b/b.mp4",
            "in/b", f"zip://b::{clips}", "clips.zip/b", f"{server.url}/in/b", f"{server.url}/clips.zip/b",
        ):  # fmt: skip
            ((path, name),) = find_videos(place)
            assert name == "b.mp4"
            with open_video(path) as reader, open_video(video("h264_gop12")) as plain:
                assert (reader.frames([3, 0]) == plain.frames([3, 0])).all()
        for place in ("in/x.mp4", "clips.zip/x.mp4", f"{server.url}/in/x.mp4"):
            with pytest.raises(ConfigError, match="no such file or folder"):
                find_videos(place)
        with pytest.raises(ConfigError, match=r"contains no video"):
            find_videos("clips.zip/none")
    with pytest.raises(ConfigError, match="no such archive"):
        find_videos("none.zip/a.mp4")


@pytest.mark.parametrize(
    ("window", "stride", "text"),
    [
        (1e-9, 1e-9, r"window=1e-09 is shorter than a frame, which lasts 0\.\d+ seconds$"),
        (0.5, 1e-9, r"stride=1e-09 is shorter than a frame"),
    ],
)
def test_split_into_windows_shorter_than_a_frame_raises(
    video: Callable[[str], Path], window: float, stride: float, text: str
) -> None:
    """There would be billions of them."""
    path = video("h264_gop12")
    with pytest.raises(UserError, match=text) as caught:
        split_into_windows(path, path.name, window=window, stride=stride)
    assert str(caught.value).startswith(f"{path}: ")


def test_split_into_windows_of_one_frame(video: Callable[[str], Path]) -> None:
    path = video("h264_gop12")
    (whole,) = split_into_windows(path, path.name, window=1000, stride=1000)
    assert whole.window is not None
    duration = whole.window[1]
    count = len(split_into_windows(path, path.name, window=duration / 10, stride=duration / 10))
    assert count == 10
