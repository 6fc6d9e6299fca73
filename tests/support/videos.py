"""Videos for the tests of the readers: codecs, containers and their difficult cases."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.encode import pack_b_frames, remux, set_display_matrix, write_video

OPEN_GOP = {"x264_params": "open-gop=1:keyint=12:scenecut=0:b-adapt=0", "b_frames": 3}
HEVC = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:"
IRREGULAR = sorted(random.Random(0).sample(range(200), 60))  # presentation times of a variable frame rate


def _cut(source: str, target: str, first_packet: int = 0, shift: int = 0, **video: Any) -> Callable[[Path], Path]:
    return lambda folder: remux(
        write_video(folder / source, **video), folder / target, first_packet=first_packet, shift=shift
    )


def _video(name: str, **video: Any) -> Callable[[Path], Path]:
    return lambda folder: write_video(folder / name, **video)


# name: (function that writes it, numbers of the frames that a player shows, whether a reader can seek in it)
VIDEOS: dict[str, tuple[Callable[[Path], Path], range, bool]] = {
    "h264_gop1": (_video("v.mp4", gop=1, b_frames=0), range(60), True),
    "h264_gop3": (_video("v.mp4", gop=3, b_frames=1, x264_params="b-adapt=0:scenecut=0"), range(60), True),
    "h264_gop12": (_video("v.mp4"), range(60), True),
    "h264_gop250": (_video("v.mp4", gop=250, b_frames=3, frames=260, x264_params="scenecut=0"), range(260), True),
    "h264_no_b_frames": (_video("v.mp4", b_frames=0), range(60), True),
    "h264_open_gop": (_video("v.mp4", **OPEN_GOP), range(60), True),
    "h264_open_gop_mkv": (_video("v.mkv", **OPEN_GOP), range(60), True),
    # Intra refresh: the "key frames" are P-frames from which a frame is complete only some frames later.
    "h264_intra_refresh": (_video("v.mp4", b_frames=0, x264_params="intra-refresh=1:keyint=12"), range(60), True),
    "h264_variable_rate": (_video("v.mp4", times=IRREGULAR), range(60), True),
    "h264_10_bit": (_video("v.mp4", pix_fmt="yuv420p10le"), range(60), True),
    "h264_odd_size": (_video("v.mkv", size=(81, 49), pix_fmt="yuv444p"), range(60), True),
    "h264_mkv": (_video("v.mkv"), range(60), True),
    "h264_one_frame": (_video("v.mp4", frames=1), range(1), True),
    "hevc": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=0"), range(60), True),
    "hevc_open_gop": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=1"), range(60), True),
    # Leading pictures that need the key frame only: the decoder returns them before it.
    "hevc_radl": (_video("v.mp4", codec="libx265", x265_params=HEVC + "open-gop=0:radl=2"), range(60), True),
    "vp9": (_video("v.webm", codec="libvpx-vp9", b_frames=0, deadline="realtime", cpu_used="8"), range(60), True),
    "av1": (_video("v.mp4", codec="libsvtav1", b_frames=0, size=(160, 96), preset="10", crf="20"), range(60), True),
    "mjpeg_mov": (_video("v.mov", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0), range(60), True),
    # An edit list that hides 5 frames, in the first GOP; that hides 14, with a key frame and leading pictures.
    "edit_list": (_cut("v.mp4", "cut.mp4", shift=-5), range(5, 60), True),
    "edit_list_open_gop": (_cut("v.mp4", "cut.mp4", shift=-14, **OPEN_GOP), range(14, 60), True),
    "starts_later": (_cut("v.mp4", "cut.mp4", shift=3), range(60), True),
    # The first packets cannot be decoded without the key frame before them: frames are returned from number 12 on.
    "no_key_frame_first": (_cut("v.mp4", "cut.mkv", first_packet=5), range(12, 60), False),
    "vp8": (_video("v.webm", codec="libvpx", b_frames=0, deadline="realtime", auto_alt_ref="0"), range(60), False),
    "mpeg4_avi": (_video("v.avi", codec="mpeg4"), range(60), False),
    # As DivX and Xvid wrote it: a B-frame shares the packet of the frame that it is shown before.
    "mpeg4_avi_packed": (lambda folder: pack_b_frames(folder / "v.avi"), range(60), False),
    "mjpeg_avi": (_video("v.avi", codec="mjpeg", pix_fmt="yuvj420p", b_frames=0), range(60), False),
    "mpeg4_mp4": (_video("v.mp4", codec="mpeg4"), range(60), False),
    "mpeg2_ts": (_video("v.ts", codec="mpeg2video"), range(60), False),
    "h264_ts": (_video("v.ts"), range(60), False),
    "h264_ts_mid_gop": (_cut("v.ts", "cut.ts", first_packet=5), range(12, 60), False),
}

ROTATED = {
    "rotated_90": (0, 1, -1, 0),
    "rotated_180": (-1, 0, 0, -1),
    "rotated_270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}
"""Display matrices of a track header, as phones write them. Frames of these videos do not show their number upright."""


def make(name: str, folder: Path) -> Path:
    """Write a video of ``VIDEOS`` or ``ROTATED`` into an empty folder."""
    if name in ROTATED:
        return set_display_matrix(write_video(folder / "v.mp4"), *ROTATED[name])
    return VIDEOS[name][0](folder)
