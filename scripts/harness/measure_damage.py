"""Count what each video backend does with damaged files, for docs/explanation/decoding.md.

    python scripts/harness/measure_damage.py [--flips 200] [--seed 0] [--codecs h264,hevc,mpeg4,mjpeg]
        [--backends av,opencv]

Write a small video, flip one bit at a random place (of the whole file, or with --media-only of the coded frames), and
read all frames. The result is

    error      a UserError, which names the file
    right      every frame as in the undamaged file
    different  frames that differ, without an error
    hang       no result within the time limit; the process is ended
    crash      the process died, or raised an exception that is no UserError

Every backend runs in a process of its own, so that the next flip follows after a hang or a crash.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

VERDICTS = ("error", "right", "different", "hang", "crash")
TIME_LIMIT_S = 20.0

#: codec -> (container, encoder, pixel format, encoder options)
CODECS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "h264": ("mp4", "libx264", "yuv420p", {"crf": "23"}),
    "hevc": ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("avi", "mpeg4", "yuv420p", {"qscale": "3"}),
    "mjpeg": ("mov", "mjpeg", "yuvj420p", {"qscale": "3"}),
}
BACKENDS = ("av", "av strict", "opencv", "decord", "torchcodec")


def write_video(path: Path, encoder: str, pix_fmt: str, options: dict[str, str]) -> None:
    """60 frames of moving noise over a gradient, 160x120, GOP 12."""
    import av

    rng = np.random.default_rng(0)
    texture = rng.integers(0, 60, (240, 320, 3))
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
        stream.codec_context.gop_size = 12
        stream.codec_context.thread_count = 1
        for number in range(60):
            ramp = np.arange(160)[None, :, None] + np.arange(120)[:, None, None] // 2
            image = ramp + texture[number : number + 120, 2 * number : 2 * number + 160]
            frame = av.VideoFrame.from_ndarray(np.minimum(image, 255).astype(np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def media_bytes(path: Path) -> np.ndarray:
    """Positions in the file that belong to coded frames: int64."""
    import av

    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None]
    return np.concatenate([np.arange(start, start + size) for start, size in spans])


def answer(backend: str, sound: Path, pipe: Connection) -> None:
    """Runs in a process of its own: paths come in, verdicts go out."""
    from vexp.core.errors import UserError
    from vexp.data.decoding import open_video

    name, strict = backend.split()[0], backend.endswith("strict")
    with open_video(sound, name) as reader:  # the sound file, by this backend: its own rounding is no damage
        truth = reader.frames(range(reader.num_frames))
    pipe.send("ready")
    while True:
        path = pipe.recv()
        try:
            with open_video(path, name, strict=strict) as reader:
                frames = reader.frames(range(reader.num_frames))
            verdict = "right" if np.array_equal(frames, truth) else "different"
        except UserError:
            verdict = "error"
        except Exception as error:
            verdict = f"crash {error!r}"
        pipe.send(verdict)


class Process:
    """A process that answers, started again after it hung or died."""

    def __init__(self, backend: str, sound: Path) -> None:
        self.arguments = (backend, sound)
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=answer, args=(*self.arguments, far), daemon=True)
        self.process.start()
        far.close()
        if not self.pipe.poll(120) or self.pipe.recv() != "ready":
            raise RuntimeError(f"{self.arguments[0]}: did not start")

    def ask(self, path: Path) -> str:
        self.pipe.send(path)
        try:
            if self.pipe.poll(TIME_LIMIT_S):
                return str(self.pipe.recv())
            verdict = "hang"
        except (EOFError, OSError):
            verdict = "crash (process died)"
        self.stop()
        self.start()
        return verdict

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def measure(codec: str, backends: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Counts of each verdict for each backend."""
    suffix, encoder, pix_fmt, encoding = CODECS[codec]
    sound, damaged = folder / f"sound.{suffix}", folder / f"damaged.{suffix}"
    write_video(sound, encoder, pix_fmt, encoding)
    content = sound.read_bytes()
    places = media_bytes(sound) if options.media_only else np.arange(len(content))
    rng = np.random.default_rng(options.seed)
    flips = list(zip(rng.choice(places, options.flips), rng.integers(0, 8, options.flips), strict=True))
    counts: dict[str, Any] = {}
    for backend in backends:
        try:
            process = Process(backend, sound)
        except (RuntimeError, EOFError):
            continue  # not usable here, or it refuses such files
        count: collections.Counter[str] = collections.Counter()
        for place, bit in flips:
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            damaged.write_bytes(flipped)
            verdict = process.ask(damaged)
            if verdict.startswith("crash"):
                print(f"  {codec} {backend}, bit {bit} of byte {place}: {verdict}")
            count[verdict.split()[0]] += 1
        process.stop()
        counts[backend] = count
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--media-only", action="store_true", help="spare headers and indexes")
    options = parser.parse_args()
    print("| codec | backend | " + " | ".join(VERDICTS) + " |")
    print("|---|---|" + "---|" * len(VERDICTS))
    for codec in options.codecs.split(","):
        with tempfile.TemporaryDirectory() as folder:
            for backend, count in measure(codec, options.backends.split(","), options, Path(folder)).items():
                print(
                    f"| {codec} | {backend} | " + " | ".join(str(count[verdict]) for verdict in VERDICTS) + " |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
