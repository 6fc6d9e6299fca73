"""Codecs and decoding backends. Imports compiled packages, so each check runs in its own subprocess."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.data.decoding import FRAME_BACKENDS, PACKAGES, VIDEO_BACKENDS, check_installed, open_video
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult, failure

CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg", "mpeg4")
SIZE, FRAMES = (340, 256), 96  # width, height and length of the test video
REINSTALL_PYAV = "pip install --force-reinstall av"
_VIDEO, _IMAGE = "video.mp4", "image.jpg"
_DISTRIBUTIONS = {"opencv": "opencv-python-headless", "turbojpeg": "PyTurboJPEG"}


def codecs(folder: Path) -> list[CheckResult]:
    """List what PyAV decodes, and write the test video and image for the backends."""
    import av

    available = [name for name in CODECS if _can_decode(name)]
    absent = [name for name in CODECS if name not in available]
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    text = f"decodes {', '.join(available)} (PyAV {av.__version__}, libavcodec {version})"
    results = [CheckResult("codecs", OK, text, values={"decodes": available})]
    if absent:
        text = f"not in this PyAV: {', '.join(absent)}"
        results.append(CheckResult("more codecs", MISSING, text, REINSTALL_PYAV, "h264" in absent, {"missing": absent}))
    for name, purpose, write in (
        ("H.264 encoder", "writes the embedded dataset", _write_video),
        ("JPEG encoder", "writes a test image for the frame decoders", _write_image),
    ):
        try:
            write(folder)
            results.append(CheckResult(name, OK, purpose))
        except Exception as error:  # a broken encoder does not prevent the checks of the decoders
            results.append(failure(name, error, fix=REINSTALL_PYAV))
    return results


def _can_decode(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "r")
    except Exception:  # the type depends on the release of PyAV
        return False
    return True


def _write_video(folder: Path) -> None:
    """Encode a moving texture."""
    import numpy as np

    from vexp.data.sources.motion import write_mp4

    texture = _texture()
    frames = [np.roll(texture, (2 * t, 3 * t), (0, 1))[: SIZE[1], : SIZE[0]] for t in range(FRAMES)]
    write_mp4(sample_video(folder), np.stack(frames))


def _write_image(folder: Path) -> None:
    import av

    frame = av.VideoFrame.from_ndarray(_texture()[: SIZE[1], : SIZE[0]].copy(), format="rgb24")
    with av.open(str(folder / _IMAGE), "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        file.mux(stream.encode(frame.reformat(format="yuvj420p")))
        file.mux(stream.encode())


def _texture() -> Any:
    """Return squares of random colors, slightly larger than a frame: uint8 (H, W, 3)."""
    import numpy as np

    squares = np.random.default_rng(0).integers(40, 216, (SIZE[1] // 8 + 1, SIZE[0] // 8 + 1, 3), np.uint8)
    return np.kron(squares, np.ones((8, 8, 1), np.uint8))


def sample_video(folder: Path) -> Path:
    """Return the path of the test video that ``codecs`` writes."""
    return folder / _VIDEO


def video_backend(name: str, folder: Path) -> list[CheckResult]:
    """Check that a video backend is installed and decodes the test video."""
    label, needed, fix = f"data.decoding_backend={name}", name == "av", install_command(name)
    try:
        check_installed(name)
    except UserError:
        return [CheckResult(label, MISSING, "not installed", fix, needed)]
    if not sample_video(folder).exists():
        return [CheckResult(label, WARNING, "installed; not tested because no test video was written", needed=needed)]
    try:
        with open_video(sample_video(folder), name) as reader:
            shape = reader.frames([0, FRAMES // 2]).shape
    except (UserError, OSError) as error:
        return [CheckResult(label, MISSING, str(error).partition(": ")[2] or str(error), fix, needed)]
    if shape != (2, SIZE[1], SIZE[0], 3):
        return [failure(label, f"decodes frames of shape {shape}", fix=fix, needed=needed)]
    return [CheckResult(label, OK, f"{_version(name)} decodes", needed=needed)]


def image_backend(name: str, folder: Path) -> list[CheckResult]:
    """Check that a decoder of raw frames is installed and decodes the test image."""
    from vexp.data.decoding.images import image_decoder

    label = f"raw frames, {name}"
    try:
        decode = image_decoder(name)
    except UserError as error:
        return [CheckResult(label, MISSING, str(error).partition(": ")[2], install_command(name))]
    image = folder / _IMAGE
    if not image.exists():
        return [CheckResult(label, WARNING, "installed; not tested because no test image was written")]
    shape = decode(image.read_bytes(), False).shape
    if shape[2] != 3:
        return [failure(label, f"decodes frames of shape {shape}")]
    return [CheckResult(label, OK, f"{_version(name)} decodes")]


def backends() -> list[tuple[str, str]]:
    """Return the check and the name of every backend: ("video_backend", "av"), ..."""
    videos = [("video_backend", name) for name in VIDEO_BACKENDS if name != "auto"]
    return videos + [("image_backend", name) for name in FRAME_BACKENDS if name != "auto"]


def install_command(backend: str) -> str:
    return PACKAGES[backend][1]


def _version(backend: str) -> str:
    package = _DISTRIBUTIONS.get(backend, backend)
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package
