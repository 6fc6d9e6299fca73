"""Decoding of videos and of folders of frames."""

from vexp.data.decoding.backends import (
    FRAME_BACKENDS,
    OWN_COLOR,
    PACKAGES,
    VIDEO_BACKENDS,
    check_installed,
    open_video,
)

__all__ = ["FRAME_BACKENDS", "OWN_COLOR", "PACKAGES", "VIDEO_BACKENDS", "check_installed", "open_video"]
