"""What cannot be read, wholly or in part: a `UserError` that names the file, never another frame, never a wait."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from support.encode import numbered_frame, plain_decode, read_number, remux, write_video
from support.paths import ROOT

from vexp.core.errors import UserError
from vexp.data.decoding.pyav import VideoReader


def _overwrite(path: Path, packet_number: int, share: float, content: Callable[[int], bytes]) -> None:
    """Replace a packet from `share` of its length on by `content(length)`."""
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[packet_number]
        assert packet.pos is not None
        start, end = packet.pos + int(packet.size * share), packet.pos + packet.size
    data = bytearray(path.read_bytes())
    data[start:end] = content(end - start)
    path.write_bytes(data)


# Share of the packet that stays, its new content. The first is an error; the second is concealed: the decoder delivers
# frame 30 marked, and 31..35, which are predicted from it, unmarked.
@pytest.mark.parametrize(("share", "byte"), [(0, b"\xff"), (0.5, b"\x55")])
def test_damaged_packet_rejects_the_rest_of_its_gop(share: float, byte: bytes, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", size=(160, 96), b_frames=0, x264_params="scenecut=0")  # key frames 0, 12 ...
    truth = plain_decode(path)
    _overwrite(path, 30, share, lambda length: byte * length)
    with VideoReader(path) as reader:
        assert reader.num_frames == 60
        np.testing.assert_array_equal(reader.frames([28, 59, 36]), truth[[28, 59, 36]])
        for frame in (30, 31, 35):
            with pytest.raises(
                UserError, match=rf"v\.mp4: frame {frame} cannot be decoded \(PyAV .*, h264\): .*damaged"
            ):
                reader.frames([0, frame])
        with pytest.raises(UserError, match="frame 30 cannot be decoded"):
            list(reader.iter_valid_rgb_frames())


def test_missing_frame_is_not_replaced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", codec="libx265", x265_params="log-level=none:keyint=12:scenecut=0")
    truth = plain_decode(path)
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    lost = [number for number, packet in enumerate(packets) if packet.is_disposable][10]  # nothing is predicted from it
    missing = sorted(packet.pts for packet in packets if packet.pts is not None).index(packets[lost].pts)
    # A NAL unit of type 38, filler: sound HEVC that holds no picture.
    _overwrite(path, lost, 0, lambda length: (length - 4).to_bytes(4, "big") + b"\x4c\x01" + b"\xff" * (length - 6))
    with VideoReader(path) as reader:
        others = [frame for frame in range(60) if frame != missing]
        np.testing.assert_array_equal(reader.frames(others), truth[others])
        for indices in ([missing], [missing, missing + 1], range(60)):
            with pytest.raises(UserError, match=f"frame {missing} cannot be decoded .*does not deliver it"):
                reader.frames(indices)
        with pytest.raises(UserError, match="only 59 of 60 frames can be decoded"):
            list(reader.iter_valid_frames())


def test_damaged_frame_is_left_out_of_a_count(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)
    _overwrite(path, 30, 0, lambda length: b"\x55" * length)
    truth = plain_decode(path)
    with VideoReader(path) as reader:
        assert reader.num_frames == len(truth) == 59
        np.testing.assert_array_equal(reader.frames([29, 30, 58]), truth[[29, 30, 58]])  # every frame is a key frame
        np.testing.assert_array_equal(np.stack(list(reader.iter_valid_rgb_frames())), truth)
        assert reader.decode_error
    with VideoReader(write_video(tmp_path / "sound.avi", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)) as reader:
        assert len(list(reader.iter_valid_frames())) == 60
        assert not reader.decode_error


def _head(share: float, name: str, **video: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_video(folder / name, **video)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def _content(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _head_with_index(folder: Path) -> Path:
    """The index in front, as videos for the web have it: the frames past the cut are missing."""
    path = remux(write_video(folder / "whole.mp4"), folder / "v.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    return path


def _named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")  # a plain open would wait for a writer
    return folder / "pipe.mp4"


def _sound(cover_art: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with av.open(str(folder / "v.mp4"), "w") as output:
            sound = output.add_stream("aac", rate=44100)
            if cover_art:
                picture = output.add_stream("mjpeg", rate=25)
                picture.width, picture.height, picture.pix_fmt = 40, 40, "yuvj420p"
                picture.disposition = Disposition.attached_pic
                output.mux(picture.encode(av.VideoFrame(40, 40, "yuvj420p")))
                output.mux(picture.encode(None))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
        return folder / "v.mp4"

    return make


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/v.ts\n#EXT-X-ENDLIST\n"

# what is wrong: (how it is made, a word of the reason)
UNREADABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.mp4", "No such file"),
    "folder": (lambda folder: folder, "a folder"),
    "named pipe": (_named_pipe, "not a file"),
    "empty": (_content("v.mp4", b""), "empty"),
    "text": (_content("v.mp4", b"hello, world\n" * 500), "Invalid data"),
    "text that FFmpeg would draw": (_content("v.txt", b"hello, world\n" * 500), "no video stream"),
    "playlist": (_content("v.m3u8", PLAYLIST), "Invalid data"),
    "noise": (_content("v.avi", np.random.default_rng(0).bytes(9000)), "Invalid data"),
    "sound only": (_sound(cover_art=False), "no video stream"),
    "sound with cover art": (_sound(cover_art=True), "no video stream"),
    "cut MP4, index at the end": (_head(0.5, "v.mp4"), "Invalid data"),
    "cut MP4, index in front": (_head_with_index, "truncated"),
    "cut MKV": (_head(0.5, "v.mkv"), "truncated"),
    "cut AVI": (_head(0.75, "v.avi", codec="mpeg4"), "truncated"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_reader_unreadable_file_raises(fault: str, tmp_path: Path) -> None:
    make, reason = UNREADABLE[fault]
    path = make(tmp_path)
    start = time.monotonic()
    with pytest.raises(UserError, match=reason) as caught:
        VideoReader(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as a video: ")
    assert "remove it from the annotation" in str(caught.value)
    assert ("data_prefix" in str(caught.value)) == (fault == "missing")  # as a rule all of them are
    assert time.monotonic() - start < 5


def test_stream_without_frames_raises(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.ts", gop=250, x264_params="scenecut=0")
    cut = remux(path, tmp_path / "cut.ts", first_packet=5)  # not one key frame
    with VideoReader(cut) as reader:
        for ask in (lambda: reader.num_frames, lambda: reader.width, lambda: reader.frames([0])):
            with pytest.raises(UserError, match=r"cut\.ts: .*not one frame"):
                ask()


def test_animated_webp_is_named_and_animated_gif_is_read(tmp_path: Path) -> None:
    images = [Image.fromarray(numbered_frame(number)) for number in range(5)]
    for suffix in ("webp", "gif", "png"):
        images[0].save(tmp_path / f"v.{suffix}", save_all=True, append_images=images[1:], duration=40)
    reads_webp = int(av.__version__.partition(".")[0]) >= 19
    if not reads_webp:
        with (
            VideoReader(tmp_path / "v.webp") as reader,
            pytest.raises(UserError, match=r"v\.webp: .*animated WebP.*python -c"),
        ):
            reader.frames([0])
    for suffix in ("gif", "png", *(["webp"] if reads_webp else [])):  # a PNG is what the message recommends
        with VideoReader(tmp_path / f"v.{suffix}") as reader:
            assert [read_number(frame) for frame in reader.frames([4, 0, 2])] == [4, 0, 2]


def test_file_cut_after_a_packet_is_truncated(tmp_path: Path) -> None:
    whole = remux(write_video(tmp_path / "whole.mp4", b_frames=0), tmp_path / "v.mp4", movflags="faststart")
    with av.open(str(whole)) as container:
        last = max(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    whole.write_bytes(whole.read_bytes()[:last])
    with pytest.raises(UserError, match="truncated"):
        VideoReader(whole)


def test_reader_ignores_the_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("v.txt", "v.avi", "v", "%d.mp4", "camera1:left.mp4"):  # the last like an address
        write_video(tmp_path / "v.mp4", frames=3).rename(name)
        with VideoReader(name) as reader:
            assert [read_number(frame) for frame in reader.frames([2, 0])] == [2, 0]


def test_reader_accepts_a_title_that_is_not_utf8(tmp_path: Path) -> None:
    path = remux(write_video(tmp_path / "whole.mp4"), tmp_path / "v.mp4", title="Caf.")
    path.write_bytes(path.read_bytes().replace(b"Caf.", b"Caf\xe9"))  # Latin-1
    with VideoReader(path) as reader:
        assert reader.num_frames == 60


def test_strict_finds_more_damage(tmp_path: Path) -> None:
    """A flipped bit in a JPEG's coded data: most decode to something, and only the codec's own checks can tell."""
    path = write_video(tmp_path / "v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0, frames=1, size=(160, 96))
    truth, sound = plain_decode(path), path.read_bytes()
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        assert packet.pos is not None
        start, size = packet.pos, packet.size
    verdicts: dict[bool, list[str]] = {False: [], True: []}
    for place in range(start + size // 2, start + size, 29):
        flipped = bytearray(sound)
        flipped[place] ^= 16
        path.write_bytes(flipped)
        for strict, found in verdicts.items():
            with VideoReader(path, strict=strict) as reader:
                try:
                    same = np.array_equal(reader.frames([0]), truth)
                    found.append("right" if same else "different")
                except UserError:
                    found.append("error")
    assert verdicts[True].count("error") > verdicts[False].count("error")
    assert all(strict in (loose, "error") for loose, strict in zip(*verdicts.values(), strict=True))


def test_strict_reads_undamaged_files(tmp_path: Path) -> None:
    for number, video in enumerate(({}, {"codec": "libx265", "x265_params": "log-level=none"}, {"codec": "mpeg4"})):
        path = write_video(tmp_path / f"{number}.mp4", **video)
        with VideoReader(path, strict=True) as reader:
            np.testing.assert_array_equal(reader.frames(range(60)), plain_decode(path))


@pytest.mark.slow
def test_flipped_bits_never_hang_or_crash() -> None:
    script = ROOT / "scripts/harness/measure_damage.py"
    words = [sys.executable, str(script), "--flips", "40", "--seed", "1", "--backends", "av,av strict,opencv,decord"]
    table = subprocess.run(words, capture_output=True, text=True, timeout=900, check=True).stdout.splitlines()[2:]
    assert len(table) >= 5 * 3
    errors = {}
    for line in table:
        _, codec, backend, error, right, different, hang, crash, _ = (cell.strip() for cell in line.split("|"))
        assert int(error) + int(right) + int(different) == 40, line
        assert (hang, crash) == ("0", "0"), line
        errors[codec, backend] = int(error)
    assert errors["h264", "av"] > errors["h264", "opencv"]  # what the decoder concealed is refused
    assert all(errors[codec, "av strict"] >= errors[codec, "av"] for codec in ("h264", "hevc", "vp9", "mpeg4", "mjpeg"))
    assert errors["mjpeg", "av strict"] > errors["mjpeg", "av"]
