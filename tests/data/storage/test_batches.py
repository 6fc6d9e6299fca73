"""One set of encoded clips read from a folder, a zip, a tar, shards and a server: the same batches byte for byte."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.archives import write_shards, write_tar, write_zip
from support.encode import write_video
from support.file_server import FileServer

import vexp.data
from vexp.core.errors import UserError
from vexp.data.decoding import open_video
from vexp.data.sources.segments import open_features, read_features

OVERRIDES = [
    "data.batch_size=3", "data.num_workers=0", "seed=3", "pipeline.train.sample.clip_len=4",
]  # fmt: skip
CLIPS = {
    "run/a.mp4": {}, "run/b b.mkv": {"b_frames": 0}, "jump/c.webm": {"codec": "libvpx-vp9", "b_frames": 0},
    "jump/#d.avi": {"codec": "mpeg4"}, "jump/e.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0},
    "run/f.ts": {"codec": "mpeg2video"},
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of as many codecs and containers in folders of classes, frames of them, features, and their lists."""
    folder = tmp_path_factory.mktemp("clips")
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for name, options in CLIPS.items():
            (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
            write_video(folder / "clips" / name, frames=20, **options)
            rows.writerow([name, name.partition("/")[0]])
    lines = []
    for number, name in enumerate(CLIPS):
        frames = folder / "frames" / f"v{number}"
        frames.mkdir(parents=True)
        with open_video(folder / "clips" / name) as reader:
            for index, frame in enumerate(reader.frames(range(6))):
                _save(frames / f"img_{index + 1:05}.jpg", frame)
        lines.append(f"v{number} 6 {number % 2}\n")
    (folder / "frames.txt").write_text("".join(lines))
    return folder


def _save(path: Path, frame: np.ndarray) -> None:
    import cv2

    cv2.imwrite(str(path), frame)


def prefixes(kind: str, folder: Path, target: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The prefix of a folder that is made into an archive, or put on the server."""
    if kind == "shards":
        return str(write_shards(target, folder, 3))
    name = {"deflated": "c.zip", "remote_tar": "c.tar", "remote_zip": "c.zip"}.get(kind, f"c.{kind}")
    if name.endswith(".tar"):
        write_tar(server.root / name, folder)
    elif name.endswith(".zip"):
        write_zip(server.root / name, folder, deflated=kind == "deflated")
    if kind == "http":
        (server.root / "c").symlink_to(folder)
        return f"{server.url}/c"
    if kind == "variable":
        (server.root / "c").symlink_to(folder)
        server.password = "me:word"
        monkeypatch.setenv("CLIPS_URL", f"{server.url.replace('://', '://me:word@')}/c")
        return "$CLIPS_URL"
    return f"{server.url}/{name}" if kind.startswith("remote") else str(server.root / name)


KINDS = ["zip", "deflated", "tar", "shards", "http", "variable", "remote_tar", "remote_zip"]


def batches(overrides: list[str]) -> list[dict[str, torch.Tensor]]:
    return list(vexp.data.loader([*OVERRIDES, *overrides]))


def assert_equal(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> None:
    assert len(found) == len(expected) == 2
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a["video"], b["video"])
        assert torch.equal(a["label"], b["label"])
        assert a["video_name"] == b["video_name"]


@pytest.mark.integration
def test_batches_of_every_place_are_equal(
    clips: Path, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ["zip", "tar", "http"]
    cases: dict[str, tuple[Path, list[str], Callable[[str], list[str]]]] = {
        "list": (
            clips / "clips",
            KINDS,
            lambda p: ["data=video_list", f"data.train.ann_file={clips}/list.csv", prefix(p)],
        ),
        "folder": (clips / "clips", some, lambda p: ["data=folder", prefix(p)]),
        "frames": (
            clips / "frames",
            some,
            lambda p: ["data=raw_frames", f"data.train.ann_file={clips}/frames.txt", prefix(p)],
        ),
    }
    for folder, kinds, overrides in cases.values():
        expected = batches(overrides(str(folder)))
        for kind in kinds:
            for path in server.root.iterdir():
                path.unlink()
            server.password = ""
            target = tmp_path / f"{folder.name}_{kind}"
            target.mkdir(exist_ok=True)
            assert_equal(batches(overrides(prefixes(kind, folder, target, server, monkeypatch))), expected)
            _forget()


def prefix(text: str) -> str:
    return f"data.train.data_prefix='{text}'"


def _forget() -> None:
    from data.storage.conftest import forget

    forget()


@pytest.mark.parametrize("kind", ["tar", "http"])
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_batches_of_workers_are_equal(
    kind: str, context: str, clips: Path, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["data=video_list", f"data.train.ann_file={clips}/list.csv"]
    expected = batches([*overrides, prefix(f"{clips}/clips")])
    workers = ["data.num_workers=2", f"data.mp_context={context}"]
    place = prefixes(kind, clips / "clips", tmp_path, server, monkeypatch)
    assert_equal(batches([*overrides, *workers, prefix(place)]), expected)


def test_two_lists_with_prefixes_of_their_own(
    clips: Path, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(first: str, second: str) -> list[dict[str, torch.Tensor]]:
        lists = f"data.train.ann_file=[{clips}/list.csv,{clips}/list.csv]"
        return batches(["data=video_list", lists, f"data.train.data_prefix=['{first}','{second}']"])

    tar, http = (prefixes(kind, clips / "clips", tmp_path, server, monkeypatch) for kind in ("tar", "http"))
    found, expected = of(tar, http), of(f"{clips}/clips", f"{clips}/clips")
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a["video"], b["video"])
    names = [name for batch in found for name in batch["video_name"]]
    assert f"{tar}/run/a.mp4" in names
    assert f"{http}/run/a.mp4" in names


@pytest.mark.parametrize("backend", ["av", "decord", "opencv", "torchcodec"])
def test_every_backend_reads_stored_videos(
    backend: str, clips: Path, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of an archive, whose name has characters with a meaning for FFmpeg, and local copies."""
    pytest.importorskip({"opencv": "cv2"}.get(backend, backend))
    places = [str(write_tar(tmp_path / "c: d,.tar", clips / "clips"))]
    places += [prefixes(kind, clips / "clips", tmp_path, server, monkeypatch) for kind in ("zip", "deflated", "http")]
    for name in ("run/a.mp4", "run/b b.mkv", "jump/c.webm"):
        plain, reference = open_frames(clips / "clips" / name, backend), open_frames(clips / "clips" / name, "av")
        assert np.abs(plain.astype(int) - reference).mean() < 3  # backends convert colors with other rounding
        for place in places:
            with open_video(f"{place}/{name}", backend) as reader:
                assert type(reader).__module__.endswith(backend)  # no other was taken in its place
                assert reader.num_frames == 20
                assert np.array_equal(reader.frames([3, 19, 0]), plain)
            _forget()


def open_frames(path: Path, backend: str) -> np.ndarray:
    with open_video(path, backend) as reader:
        return reader.frames([3, 19, 0])


def test_open_video_missing_in_archive_names_it(clips: Path, tmp_path: Path) -> None:
    place = write_tar(tmp_path / "c.tar", clips / "clips")
    with pytest.raises(
        UserError, match=r"c\.tar/x\.mp4: cannot be read as a video: .* no file of this name.*data_prefix"
    ):
        open_video(f"{place}/x.mp4")


@pytest.mark.parametrize("kind", ["zip", "tar", "http"])
def test_features_of_every_place_are_equal(
    kind: str, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "v.npy", np.random.default_rng(0).random((5, 4), np.float32))
    (tmp_path / "features" / "w.csv").write_text("a,b\n1,2\n3,4\n")
    place = prefixes(kind, tmp_path / "features", tmp_path, server, monkeypatch)
    folder = open_features(place, ["v", "w"])
    assert "x" not in folder
    for name in ("v.npy", "w.csv"):
        assert np.array_equal(read_features(f"{place}/{name}"), read_features(tmp_path / "features" / name))
