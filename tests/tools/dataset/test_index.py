"""The index: properties of files, reused for unchanged files, as CSV and JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.decoding.pyav import VideoReader
from vexp.tools.dataset import file_info as file_info
from vexp.tools.dataset.file_info import FileInfo, FolderOfFrames, Inspect
from vexp.tools.dataset.index import read_index, write_index

Run = Callable[..., tuple[int, str]]


def test_inspect_video(encode: ModuleType, tmp_path: Path) -> None:
    video = encode.set_display_matrix(encode.write_video(tmp_path / "v.mp4", frames=30, gop=12), 0, 1, -1, 0)
    found = Inspect(tmp_path, decode=True)("v.mp4")
    assert (found.frames, found.fps, found.duration) == (30, 25.0, 1.2)
    assert (found.width, found.height) == (48, 80)  # upright
    assert (found.keyframes, found.longest_gop) == (3, 12)  # 0, 12, 24
    assert (found.codec, found.container, found.fault, found.error) == ("h264", "mov", "", "")
    assert found.sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert found.bytes == video.stat().st_size


def test_inspect_file_without_frame_count(collection: Path) -> None:
    found = Inspect(collection)("run/c_g2.avi")
    assert (found.frames, found.fps, found.duration, found.container) == (22, 25.0, 0.88, "avi")
    assert (found.keyframes, found.longest_gop) == (2, 12)


def test_inspect_reports_faults(encode: ModuleType, tmp_path: Path) -> None:
    content = bytearray(encode.write_video(tmp_path / "v.mp4", frames=60).read_bytes())
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "note.mp4").write_text("not a video")
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 200] = bytes(200)
    (tmp_path / "damaged.mp4").write_bytes(content)
    fault = {
        name: Inspect(tmp_path, decode=True)(name).fault for name in ("cut.mp4", "note.mp4", "damaged.mp4", "no.mp4")
    }
    assert fault == {"cut.mp4": "unreadable", "note.mp4": "unreadable", "damaged.mp4": "damaged", "no.mp4": "missing"}
    assert Inspect(tmp_path)("damaged.mp4").fault == ""  # only decoding finds it
    assert "damaged.mp4: frame" in Inspect(tmp_path, decode=True)("damaged.mp4").error


def test_inspect_skipped_frame_is_damage(encode: ModuleType, tmp_path: Path) -> None:
    """The frame count of an AVI omits an undecodable frame; the file is still reported as damaged."""
    content = encode.write_video(tmp_path / "v.avi", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0).read_bytes()
    middle = content.index(b"\xff\xd8\xff", len(content) // 2)  # start of a JPEG
    (tmp_path / "v.avi").write_bytes(content[:middle] + bytes(300) + content[middle + 300 :])
    found = Inspect(tmp_path, decode=True)("v.avi")
    assert (found.frames, found.fault) == (59, "damaged")
    assert "a part of the stream cannot be decoded" in found.error


def test_inspect_decodes_strictly(encode: ModuleType, tmp_path: Path) -> None:
    """Only the error detection of the codec finds some flipped bits of a JPEG."""
    path = encode.write_video(tmp_path / "v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0, frames=1)
    intact = path.read_bytes()
    start = intact.index(b"\xff\xda")  # start of the coded data
    found = {"": 0, "damaged": 0}
    for position in range(start + 40, intact.index(b"\xff\xd9", start), 9):
        path.write_bytes(intact[:position] + bytes([intact[position] ^ 16]) + intact[position + 1 :])
        with VideoReader(path) as reader:
            decoded = sum(1 for _ in reader.iter_valid_frames())
        assert decoded == 1  # the damage is not detected
        found[Inspect(tmp_path, decode=True)("v.mov").fault] += 1
    assert found["damaged"] > 0


def test_inspect_folder_of_frames(tmp_path: Path) -> None:
    import simplejpeg

    for number in range(3):
        image = simplejpeg.encode_jpeg(np.full((24, 32, 3), 40 * number, np.uint8))
        (tmp_path / f"frame_{number}.jpg").write_bytes(image)
    inspect = Inspect(tmp_path.parent, decode=True, frames=FolderOfFrames("frame_{}.jpg", 0))
    found = inspect(tmp_path.name)
    assert (found.frames, found.width, found.height, found.codec, found.fault) == (3, 32, 24, "jpg", "")
    (tmp_path / "frame_1.jpg").write_bytes(image[:-40])
    damaged = inspect(tmp_path.name)
    assert (damaged.fault, damaged.sha256 != found.sha256) == ("damaged", True)


def test_index_round_trip(tmp_path: Path) -> None:
    rows = [
        FileInfo(path="b, 2.mp4", frames=3, fps=29.97, sha256="ab"),
        FileInfo(path="a", fault="missing", error='"x", y'),
    ]
    for name in ("i.csv", "i.json"):
        write_index(tmp_path / name, rows)
        assert list(read_index(tmp_path / name).items()) == [("a", rows[1]), ("b, 2.mp4", rows[0])]


@pytest.mark.parametrize("content", ["", "path,frames\na,1\n", "[1]", '[{"path": "a"}]', "\0\0"])
def test_read_index_rejects_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "i.json").write_text(content)
    with pytest.raises(UserError, match="is not a valid index"):
        read_index(tmp_path / "i.json")
    (tmp_path / "i.csv").write_text(content)
    with pytest.raises(UserError, match="is not a valid index"):
        read_index(tmp_path / "i.csv")
    with pytest.raises(UserError, match=r"must be named"):
        read_index(tmp_path / "i.txt")


def test_index_inspects_only_changed_files(
    videos: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only new and changed files are inspected, also after an interrupt."""
    inspected: list[str] = []
    describe = file_info._describe_video

    def record_inspected(facts: FileInfo, path: Path, decode: bool) -> None:
        inspected.append(path.name)
        if killed and len(inspected) == 3:
            raise KeyboardInterrupt
        describe(facts, path, decode)

    monkeypatch.setattr(file_info, "_describe_video", record_inspected)
    target, killed = tmp_path / "out/index.csv", True
    status, output = run("index", videos, target)
    assert (status, len(inspected), target.exists()) == (130, 3, False)
    assert output.endswith("vexp: interrupted; run the same command again to resume\n")
    inspected, killed = [], False
    assert run("index", videos, target)[0] == 0
    assert len(inspected) == 3  # the two of the interrupted command are reused
    assert list(read_index(target)) == sorted(str(path.relative_to(videos)) for path in videos.rglob("*_g?.*"))
    assert os.listdir(target.parent) == ["index.csv"]
    inspected = []
    (videos / "run/a_g1.mp4").write_bytes((videos / "run/b_g1.mp4").read_bytes())
    (videos / "jump/e_g4.mp4").unlink()
    assert run("index", videos, target)[0] == 0
    assert inspected == ["a_g1.mp4"]
    found = read_index(target)
    assert len(found) == 4
    assert found["run/a_g1.mp4"].sha256 == found["run/b_g1.mp4"].sha256
    assert run("index", videos, target, "--dry-run")[1].startswith("4 files, ")


def test_index_of_list_as_json(videos: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "train.txt").write_text("run/a_g1.mp4 0\nrun/gone.mp4 1\n")
    status, output = run("index", videos, tmp_path / "i.json", "--train", tmp_path / "train.txt")
    assert status == 1
    assert "2 files; 1 with a fault, see the column error" in output
    records = json.loads((tmp_path / "i.json").read_text())
    assert [(record["path"], record["fault"]) for record in records] == [
        ("run/a_g1.mp4", ""),
        ("run/gone.mp4", "missing"),
    ]
