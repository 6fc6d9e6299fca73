"""Reading a proxy in place of its original.

Importing this module imports PyAV with the FFmpeg libraries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import atomic_write
from vexp.data.decoding.proxy_encoding import times_path
from vexp.data.decoding.pyav import VideoReader


def save_times(original: VideoReader, proxy: Path) -> None:
    """Save the frame rate and times of an original: Matroska rounds times to milliseconds, which moves segments."""
    assert original.times is not None
    rate = np.nan if original.fps is None else original.fps
    with atomic_write(times_path(proxy)) as part, part.open("wb") as file:
        np.save(file, np.array([rate, *original.times]))


class ProxyReader(VideoReader):
    """Reader of a proxy: its frames, and the times and frame rate of its original."""

    @property
    def fps(self) -> float | None:
        rate = float(self._original()[0])
        return None if np.isnan(rate) else rate

    @property
    def times(self) -> NDArray[np.float64] | None:
        return self._original()[1:]

    def _original(self) -> NDArray[np.float64]:
        assert isinstance(self.path, Path)  # proxies are local files
        values: NDArray[np.float64] = np.load(times_path(self.path))
        return values
