"""Folders of images: the file of each frame, its pixels, and errors of missing or damaged files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.encode import numbered_frame, read_number, write_video
from support.paths import GOLDEN_DIR

from vexp.core.errors import UserError
from vexp.data.decoding import FRAME_BACKENDS, open_video
from vexp.data.decoding.frame_folder import RawFrameReader
from vexp.data.decoding.images import image_decoder
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.config import RawFrames
from vexp.data.sources.splits import Split, TrainSplit
from vexp.data.transforms.frame_sampling import SampleFrames

GOLDEN = json.loads((GOLDEN_DIR / "decode.json").read_text(encoding="utf-8"))


def write_frames(
    folder: Path, count: int, tmpl: str = "img_{:05}.jpg", first: int = 1, size: tuple[int, int] = (80, 48)
) -> Path:
    """Images of frames 0..count-1; for a template with two places, x holds the frame's first channel, y its last."""
    folder.mkdir(parents=True, exist_ok=True)
    flow = tmpl.count("{") == 2
    for number in range(count):
        frame = numbered_frame(number, *size)
        for axis, channel in (("x", 0), ("y", 2)) if flow else (("", None),):
            name = tmpl.format(*([axis] if flow else []), first + number)
            picture = frame[..., ::-1] if channel is None else frame[..., channel]
            assert cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("raw") / "clip", 12)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("raw") / "clip", 12, "flow_{}_{:05d}.jpg")


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    try:
        image_decoder(name)
    except UserError as error:
        pytest.skip(str(error))
    return name


each = pytest.mark.parametrize("backend", FRAME_BACKENDS, indirect=True)

# ---- the reader ----


@each
def test_frames_are_returned_in_order_of_indices(backend: str, folder: Path) -> None:
    with RawFrameReader(folder, "img_{:05}.jpg", total=12, backend=backend) as reader:
        frames = reader.frames([7, 0, 7, 11])
        assert (frames.dtype, frames.shape) == (np.uint8, (4, 48, 80, 3))
        assert [read_number(frame) for frame in frames] == [7, 0, 7, 11]
        assert (reader.num_frames, reader.width, reader.height) == (12, 80, 48)
        assert reader.frames([]).shape == (0, 48, 80, 3)


@each
def test_flow_has_two_channels(backend: str, flow: Path) -> None:
    with RawFrameReader(flow, "flow_{}_{:05d}.jpg", flow=True, backend=backend) as reader:
        frames = reader.frames([3, 1])
        assert (reader.num_frames, frames.shape, frames.dtype) == (12, (2, 48, 80, 2), np.uint8)
        for place, number in enumerate((3, 1)):
            for channel, source in ((0, 0), (1, 2)):  # x holds red, y blue
                true = numbered_frame(number)[..., source].astype(int)
                assert np.abs(frames[place, ..., channel] - true).mean() < 2


@each
@pytest.mark.parametrize("gray", [False, True])
def test_backends_return_the_same_pixels(backend: str, gray: bool, folder: Path) -> None:
    for path in sorted(folder.iterdir())[:3]:  # gray: the luma of a colored JPEG
        content = path.read_bytes()
        np.testing.assert_array_equal(image_decoder(backend)(content, gray), image_decoder("auto")(content, gray))


@each
@pytest.mark.parametrize("case", GOLDEN["raw"], ids=lambda case: case["suffix"])
def test_raw_frame_colors_equal_mmaction2(case: dict[str, Any], backend: str, tmp_path: Path) -> None:
    tmpl = f"img_{{:05}}.{case['suffix']}"
    for number, (red, green, blue) in enumerate(GOLDEN["rgb"], start=1):
        cv2.imwrite(str(tmp_path / tmpl.format(number)), np.full((32, 48, 3), (blue, green, red), np.uint8))
    with RawFrameReader(tmp_path, tmpl, backend=backend) as reader:
        indices = [file - 1 for file in case["files"]]
        if case["suffix"] == "png" and backend in ("simplejpeg", "turbojpeg"):
            with pytest.raises(UserError, match=r"not a JPEG file; set data.*=opencv or pillow"):
                reader.frames(indices)
            return
        assert reader.frames(indices)[:, 16, 24].tolist() == case["colours"]


def test_start_index_and_offset_select_files(tmp_path: Path) -> None:
    write_frames(tmp_path, 10, "f{:03}.jpg", first=0)
    with RawFrameReader(tmp_path, "f{:03}.jpg", first=4, total=5) as reader:
        assert [read_number(frame) for frame in reader.frames([0, 4])] == [4, 8]
        for outside in (5, -1):  # 5 exists, but is no part of the sample
            with pytest.raises(UserError, match=rf"index {outside} is out of range: the video has 5 frames"):
                reader.frames([0, outside])


def test_folder_without_number_is_counted(tmp_path: Path) -> None:
    write_frames(tmp_path, 6)
    (tmp_path / "img_00009.jpg").write_bytes(b"")  # behind a gap
    (tmp_path / "notes.txt").write_text("x")
    assert RawFrameReader(tmp_path, "img_{:05}.jpg").num_frames == 6
    assert RawFrameReader(tmp_path, "img_{:05}.jpg", first=3).num_frames == 4
    write_frames(tmp_path, 7)
    assert RawFrameReader(tmp_path, "img_{:05}.jpg").num_frames == 7  # counted anew


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


FAULTS = {"empty": lambda content: b"", "text": lambda content: b"hello " * 50, "cut": _cut, "head": lambda c: c[:100]}


@each
@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_image_raises_with_path(fault: str, backend: str, tmp_path: Path) -> None:
    path = write_frames(tmp_path, 3) / "img_00002.jpg"
    path.write_bytes(FAULTS[fault](path.read_bytes()))
    with RawFrameReader(tmp_path, "img_{:05}.jpg", backend=backend) as reader:
        assert read_number(reader.frames([2])[0]) == 2
        with pytest.raises(UserError, match=rf"img_00002\.jpg: frame 1 cannot be decoded \({backend}\): "):
            reader.frames([0, 1, 2])


@pytest.mark.filterwarnings("default")  # PyTurboJPEG warns where others raise
@pytest.mark.parametrize("backend", ["auto", "simplejpeg", "turbojpeg"], indirect=True)
def test_damage_within_jpeg_raises(backend: str, folder: Path) -> None:
    content = (folder / "img_00002.jpg").read_bytes()
    scan = content.rfind(b"\xff\xda")
    damaged = content[: scan + 200] + b"\xff" * 40 + content[scan + 240 :]
    for bad in (damaged, content[:-300]):
        with pytest.raises((ValueError, OSError, UserWarning), match=r"JPEG|marker"):
            image_decoder(backend)(bad, False)


def test_opencv_that_fills_missing_rows_raises(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """OpenCV 4 does, 5 says so itself."""
    content = (folder / "img_00002.jpg").read_bytes()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((48, 80, 3), np.uint8))
    assert image_decoder("opencv")(content, False).shape == (48, 80, 3)
    for length in (len(content) // 2, len(content) - 2):
        with pytest.raises(ValueError, match="file is truncated"):
            image_decoder("opencv")(content[:length], False)


def test_missing_file_raises(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", 5)
    (tmp_path / "clip" / "img_00003.jpg").unlink()
    with RawFrameReader(tmp_path / "clip", "img_{:05}.jpg", total=5) as reader:
        expected = r"img_00003\.jpg: no such file: frame 2 of 5 \(1 \+ 2\).* holds 4 files; correct filename_tmpl"
        with pytest.raises(UserError, match=expected):
            reader.frames([1, 2])
    with pytest.raises(UserError, match=r"img_00000\.jpg: no such file, so the folder holds no frame"):
        RawFrameReader(tmp_path / "clip", "img_{:05}.jpg", first=0)
    with pytest.raises(UserError, match=r"none: no folder of raw frames"):
        RawFrameReader(tmp_path / "none", "img_{:05}.jpg")
    with pytest.raises(UserError, match=r"none: no such folder of raw frames"):
        RawFrameReader(tmp_path / "none", "img_{:05}.jpg", total=5).frames([0])


def test_images_of_two_sizes_raise(tmp_path: Path) -> None:
    write_frames(tmp_path, 3)
    write_frames(tmp_path, 1, first=2, size=(40, 24))
    with pytest.raises(UserError, match=r"img_00002\.jpg: is 40x24, but other images of its folder are 80x48"):
        RawFrameReader(tmp_path, "img_{:05}.jpg").frames([0, 1])


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(numbered_frame(5)).save(tmp_path / "img_00001.jpg", exif=exif, quality=95)
    for backend in ("auto", "opencv", "pillow"):
        with RawFrameReader(tmp_path, "img_{:05}.jpg", backend=backend) as reader:
            assert [read_number(frame) for frame in reader.frames([0])] == [5]


# ---- PyTurboJPEG without its library, or with too old a one ----


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("Unable to locate turbojpeg library automatically.", "apt-get install libturbojpeg0"),
        ("PyTurboJPEG 2.0 requires libjpeg-turbo 3.0 or later.", re.escape("pip install 'PyTurboJPEG<2'")),
    ],
)
def test_turbojpeg_not_usable_raises_with_hint(
    reason: str, cure: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    turbojpeg = pytest.importorskip("turbojpeg")

    def fail() -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(turbojpeg, "TurboJPEG", fail)
    image_decoder.cache_clear()
    with pytest.raises(UserError, match=f"^data.decoding_backend=turbojpeg: .*{cure}") as caught:
        RawFrameReader(folder, "img_{:05}.jpg", backend="turbojpeg")
    assert "\n" not in str(caught.value)
    image_decoder.cache_clear()


# ---- the data option ----


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Any]:
    write_frames(tmp_path / "frames" / "a" / "b", 10)
    write_frames(tmp_path / "frames" / "c", 7)
    case = GOLDEN["annotation"][0]
    (tmp_path / "train.txt").write_text(case["text"])
    (tmp_path / "offset.txt").write_text("a/b 4 3 1\nc 0 7 0\n")
    (tmp_path / "uncounted.txt").write_text("a/b 1\nc 0\n")
    return {
        name: {"train": TrainSplit(ann_file=str(tmp_path / f"{name}.txt"), data_prefix=str(tmp_path / "frames")),
               "val": Split(from_split="train")}
        for name in ("train", "offset", "uncounted")
    }  # fmt: skip


def opened(data: RawFrames) -> list[tuple[str, int, list[int]]]:
    """(name, number of frames, numbers in the first and the last one) of every sample."""
    source = data.source("train")
    assert source is not None
    rows = []
    for index in range(len(source)):
        with source.open(index) as reader:
            ends = reader.frames([0, reader.num_frames - 1])
            rows.append((source.name(index), reader.num_frames, [read_number(frame) for frame in ends]))
    return rows


def test_raw_frames_source_has_samples_of_list(lists: dict[str, Any]) -> None:
    assert opened(RawFrames(**lists["train"])) == [("a/b", 10, [0, 9]), ("c", 7, [0, 6])]
    assert opened(RawFrames(**lists["offset"], with_offset=True)) == [("a/b", 3, [4, 6]), ("c", 7, [0, 6])]
    assert opened(RawFrames(**lists["uncounted"])) == [("a/b", 10, [0, 9]), ("c", 7, [0, 6])]
    with pytest.raises(UserError, match=r"img_00000\.jpg: no such file: frame 0 of 10 \(0 \+ 0\)"):
        opened(RawFrames(**lists["train"], start_index=0))


def test_dataset_samples_of_frames_and_flow(lists: dict[str, Any], flow: Path, tmp_path: Path) -> None:
    steps = {"sample": SampleFrames(clip_len=4, frame_interval=2, test_mode=True)}
    source = RawFrames(**lists["train"]).source("train")
    assert source is not None
    batch = ClipDataset(source, steps, seed=0, lazy=True)[0, 0]
    assert [read_number(frame) for frame in np.asarray(batch.frames)[0]] == [1, 3, 5, 7]
    (tmp_path / "flow.txt").write_text(f"{flow} 12 0\n")
    data = RawFrames(
        train=TrainSplit(ann_file=str(tmp_path / "flow.txt")), val=Split(from_split="train"), modality="Flow"
    )
    source = data.source("train")
    assert source is not None
    with source.open(0) as reader:
        assert reader.frames([0]).shape == (1, 48, 80, 2)


# options and message
WRONG = [
    ({"filename_tmpl": "img.jpg"}, "filename_tmpl=img.jpg: needs one field in braces, for the number"),
    ({"filename_tmpl": "{}_{:05}.jpg"}, "needs one field in braces"),
    ({"filename_tmpl": "img_{:05"}, "needs one field in braces"),
    ({"filename_tmpl": "img_{n}.jpg"}, "needs one field in braces"),
    ({"filename_tmpl": "img_{:05}.jpg", "modality": "Flow"}, "needs two fields in braces, for x or y and for the"),
    ({"modality": "Depth"}, "modality=Depth: must be one of RGB, Flow"),
    ({"decoding_backend": "av"}, "decoding_backend=av: must be one of auto, simplejpeg"),
    ({"with_offset": True, "format": "videos"}, "format=videos: "),
    ({"start_index": -1}, "start_index=-1: must be >= 0"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_raw_frames_invalid_options_raise(options: dict[str, Any], message: str, lists: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RawFrames(**lists["train"], **options)


def test_video_file_instead_of_folder_raises(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", frames=2)
    (tmp_path / "train.txt").write_text("v.mp4 2 0\n")
    data = RawFrames(
        train=TrainSplit(ann_file=str(tmp_path / "train.txt")), val=Split(from_split="train"), format="frames"
    )
    with pytest.raises(UserError, match=r"v\.mp4: is a file, not a folder of raw frames; .* data=video_list"):
        opened(data)


# ---- colors of videos, recorded from the same packages ----


@pytest.mark.parametrize("backend", ["av", "decord", "opencv"])
def test_video_colors_equal_mmaction2(backend: str, tmp_path: Path) -> None:
    """Flat colors through a lossy codec: within two gray levels of what was recorded from another encoding of them."""
    av = pytest.importorskip("av")
    pytest.importorskip({"opencv": "cv2"}.get(backend, backend))
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.options = {"crf": "10"}
        for number, color in enumerate(GOLDEN["rgb"]):
            frame = av.VideoFrame.from_ndarray(np.full((32, 64, 3), color, np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with open_video(path, backend) as reader:
        found = reader.frames(GOLDEN["video"]["frames"])[:, 16, 32].astype(int)
        assert np.abs(found - GOLDEN["video"]["colours"]).max() <= 2
        with pytest.raises(UserError, match=r"index 10 is out of range"):  # IndexError there, and -1 was the last frame
            reader.frames(GOLDEN["past_the_end"])
