"""Codecs and decoding backends. Imports compiled packages, so each check runs in its own subprocess."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.data.decoding import FRAME_BACKENDS, PACKAGES, VIDEO_BACKENDS, check_installed, open_video
from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult, failure

CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg", "mpeg4")
SIZE, FRAMES = (340, 256), 96  # width, height and length of the test video
REINSTALL_PYAV = "pip install --force-reinstall av"
_IMAGE = "image.jpg"
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
    encoders = {
        "H.264 encoder": (_write_video, "writes the embedded dataset"),
        "JPEG encoder": (_write_image, "writes a test image for the frame decoders"),
    }
    for name, (write, purpose) in encoders.items():
        try:
            write(folder)
            results.append(CheckResult(name, OK, purpose))
        except Exception as error:  # a broken encoder does not prevent the checks of the decoders
            results.append(failure(name, error, fix=REINSTALL_PYAV))
    return results


def _can_decode(name: str) -> bool:
    import av

    with suppress(Exception):  # the type depends on the release of PyAV
        av.codec.Codec(name, "r")
        return True
    return False


def _write_video(folder: Path) -> None:
    from vexp.data.sources.motion import write_mp4

    write_mp4(sample_video(folder), _frames(FRAMES))


def _write_image(folder: Path) -> None:
    import av

    frame = av.VideoFrame.from_ndarray(_frames(1)[0], format="rgb24")
    with av.open(str(folder / _IMAGE), "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        file.mux(stream.encode(frame.reformat(format="yuvj420p")))
        file.mux(stream.encode())


def _frames(count: int) -> Any:
    """Return frames of moving squares of random colors, uint8 (count, H, W, 3)."""
    import numpy as np

    squares = np.random.default_rng(0).integers(40, 216, (SIZE[1] // 8 + 1, SIZE[0] // 8 + 1, 3), np.uint8)
    texture = np.kron(squares, np.ones((8, 8, 1), np.uint8))
    return np.stack([np.roll(texture, (2 * t, 3 * t), (0, 1))[: SIZE[1], : SIZE[0]] for t in range(count)])


def sample_video(folder: Path) -> Path:
    """Return the path of the test video that ``codecs`` writes."""
    return folder / "video.mp4"


def video_backend(name: str, folder: Path) -> list[CheckResult]:
    """Check that a video backend is installed and decodes the test video."""
    label, needed = f"data.decoding_backend={name}", name == "av"
    try:
        check_installed(name)
    except UserError:
        return [CheckResult(label, MISSING, "not installed", install_command(name), needed)]

    def shape(path: Path) -> tuple[int, ...]:
        with open_video(path, name) as reader:
            return reader.frames([0, FRAMES // 2]).shape

    return [_decode(label, name, sample_video(folder), shape, needed=needed)]


def image_backend(name: str, folder: Path) -> list[CheckResult]:
    """Check that a decoder of raw frames is installed and decodes the test image."""
    from vexp.data.decoding.images import image_decoder

    label = f"raw frames, {name}"
    try:
        decode = image_decoder(name)
    except UserError as error:
        return [CheckResult(label, MISSING, str(error).partition(": ")[2], install_command(name))]
    return [_decode(label, name, folder / _IMAGE, lambda path: decode(path.read_bytes(), False).shape)]


def _decode(
    label: str, name: str, path: Path, shape: Callable[[Path], tuple[int, ...]], *, needed: bool = False
) -> CheckResult:
    """Check the ``shape`` of the frames that an installed backend decodes from a test file."""
    if not path.exists():
        text = f"installed; not tested because no test {path.stem} was written"
        return CheckResult(label, WARNING, text, needed=needed)
    try:
        if (found := shape(path))[-3:] == (*SIZE[::-1], 3):
            return CheckResult(label, OK, f"{_version(name)} decodes", needed=needed)
        text = f"decodes frames of shape {found}"
    except (UserError, OSError) as error:
        text = str(error).partition(": ")[2] or str(error)
    return CheckResult(label, MISSING, text, install_command(name), needed)


def backends() -> list[tuple[str, str]]:
    """Return the check and the name of every backend: ("video_backend", "av"), ..."""
    checks = {"video_backend": VIDEO_BACKENDS, "image_backend": FRAME_BACKENDS}
    return [(check, name) for check, names in checks.items() for name in names if name != "auto"]


def install_command(backend: str) -> str:
    """Return the command that installs a backend."""
    return PACKAGES[backend][1]


def _version(backend: str) -> str:
    package = _DISTRIBUTIONS.get(backend, backend)
    with suppress(metadata.PackageNotFoundError):
        return f"{package} {metadata.version(package)}"
    return package
