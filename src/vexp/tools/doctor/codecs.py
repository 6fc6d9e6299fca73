"""Codecs and decoders. Imports compiled packages: runs in processes of its own, one a package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.data.decoding import FRAME_BACKENDS, PACKAGES, VIDEO_BACKENDS, check_installed, open_video
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult, problem

CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg", "mpeg4")
SIZE, FRAMES = (340, 256), 96  # of the video that is made: width and height, frames
_VIDEO, _PICTURE = "video.mp4", "picture.jpg"
REPAIR = "pip install --force-reinstall av"
_DISTRIBUTIONS = {"opencv": "opencv-python-headless", "turbojpeg": "PyTurboJPEG"}


def codecs(folder: Path) -> list[CheckResult]:
    """What PyAV decodes; makes the video and the picture that the decoders are tried on."""
    import av

    known = [name for name in CODECS if _decodes(name)]
    absent = [name for name in CODECS if name not in known]
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    text = f"{', '.join(known)} (PyAV {av.__version__}, libavcodec {version})"
    found = [CheckResult("codecs", OK, f"decodes {text}", values={"decodes": known})]
    if absent:
        missing = f"not in this PyAV: {', '.join(absent)}"
        found.append(CheckResult("more codecs", MISSING, missing, REPAIR, "h264" in absent, {"missing": absent}))
    for name, what, make in (
        ("H.264 encoder", "writes the embedded set", _make_video),
        ("JPEG encoder", "makes a picture to try decoders on", _make_picture),
    ):
        try:
            make(folder)
            found.append(CheckResult(name, OK, what))
        except Exception as error:  # whatever is broken: the decoders are looked at all the same
            found.append(problem(name, error, fix=REPAIR))
    return found


def _decodes(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "r")
    except Exception:  # of several kinds, from release to release
        return False
    return True


def _make_video(folder: Path) -> None:
    """A moving texture as H.264."""
    import numpy as np

    from vexp.data.sources.motion import write_mp4

    texture = _texture()
    moved = [np.roll(texture, (2 * t, 3 * t), (0, 1))[: SIZE[1], : SIZE[0]] for t in range(FRAMES)]
    write_mp4(folder / _VIDEO, np.stack(moved))


def _make_picture(folder: Path) -> None:
    """A JPEG."""
    import av

    picture = av.VideoFrame.from_ndarray(_texture()[: SIZE[1], : SIZE[0]].copy(), format="rgb24")
    with av.open(str(folder / _PICTURE), "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        file.mux(stream.encode(picture.reformat(format="yuvj420p")))
        file.mux(stream.encode())


def _texture() -> Any:
    """Squares of random colours, somewhat larger than a frame: uint8 (H, W, 3)."""
    import numpy as np

    squares = np.random.default_rng(0).integers(40, 216, (SIZE[1] // 8 + 1, SIZE[0] // 8 + 1, 3), np.uint8)
    return np.kron(squares, np.ones((8, 8, 1), np.uint8))


def video_of(folder: Path) -> Path:
    """The video that ``codecs`` has made there."""
    return folder / _VIDEO


def video_backend(name: str, folder: Path) -> list[CheckResult]:
    """Whether it is installed, and decodes."""
    label, needed = f"data.decoding_backend={name}", name == "av"
    fix = PACKAGES[name][1]
    try:
        check_installed(name)
    except UserError:
        return [CheckResult(label, MISSING, "not installed", fix, needed)]
    if not video_of(folder).exists():
        return [CheckResult(label, WARNING, "installed; no video could be made to try it on", needed=needed)]
    try:
        with open_video(video_of(folder), name) as reader:
            shape = reader.frames([0, FRAMES // 2]).shape
    except UserError as error:
        return [CheckResult(label, MISSING, str(error).partition(": ")[2] or str(error), fix, needed)]
    if shape != (2, SIZE[1], SIZE[0], 3):
        return [problem(label, f"gives frames of shape {shape}", fix=fix, needed=needed)]
    return [CheckResult(label, OK, f"{_version(name)} decodes", needed=needed)]


def image_backend(name: str, folder: Path) -> list[CheckResult]:
    """The same of a decoder of raw frames."""
    from vexp.data.decoding.images import image_decoder

    label, fix = f"raw frames, {name}", PACKAGES[name][1]
    try:
        decode = image_decoder(name)
    except UserError as error:
        return [CheckResult(label, MISSING, str(error).partition(": ")[2], fix)]
    picture = folder / _PICTURE
    if not picture.exists():
        return [CheckResult(label, WARNING, "installed; no picture could be made to try it on")]
    shape = decode(picture.read_bytes(), False).shape
    return [CheckResult(label, OK, f"{_version(name)} decodes") if shape[2] == 3 else problem(label, f"shape {shape}")]


def backends() -> list[tuple[str, str]]:
    """("video_backend", "av") ...: all that there are."""
    videos = [("video_backend", name) for name in VIDEO_BACKENDS if name != "auto"]
    return videos + [("image_backend", name) for name in FRAME_BACKENDS if name != "auto"]


def _version(backend: str) -> str:
    package = _DISTRIBUTIONS.get(backend, backend)
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def fix_of(backend: str) -> str:
    """The command that installs it."""
    return PACKAGES[backend][1]
