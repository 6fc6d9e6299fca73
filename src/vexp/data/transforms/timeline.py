"""Frames of a video on a clock: which frame is shown at a moment, and where a clip still fits.

The clock counts frames (frame n is shown at n) or seconds (frame n is shown when the container says so). One set of
sampling rules then serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
FrameTimes = npt.NDArray[np.float64]


#: Two milliseconds: one a time, and as much again for the length of the whole.
_ROUNDING = 2e-3


@dataclass(frozen=True, slots=True)
class Timeline:
    """``times`` (n,): when each frame is shown, ascending from 0; ``end``: when the last one ends; ``step``: length of
    the unit in which a sampler counts (a frame, or a frame of its ``target_fps``)."""

    times: FrameTimes
    end: float
    step: float

    @classmethod
    def of_frames(cls, num_frames: int) -> Timeline:
        """The clock that counts frames."""
        return cls(np.arange(num_frames, dtype=np.float64), float(num_frames), 1.0)

    @classmethod
    def of_seconds(cls, times: FrameTimes, fps: float) -> Timeline:
        """The video's own clock, counted in frames of ``fps``. ``times``: float64 (n,) seconds, ascending."""
        since_first = np.asarray(times, np.float64) - times[0]
        last = float(since_first[-1])
        # The last frame is taken to be shown as long as the others are on average; a single one for one unit.
        period = last / (len(times) - 1) if last > 0 else 1 / fps
        return cls(since_first, last + period, 1 / fps)

    @property
    def slack(self) -> float:
        """By how much two moments may differ and mean the same: Matroska rounds times to milliseconds.

        Never as much as half a unit, so that no frame of a clip that fits lies past the end.
        """
        return min(_ROUNDING, self.end / len(self.times) / 4, self.step / 4)

    def legal_starts(self, span: int) -> int:
        """How many frames, from the first on, can start ``span`` units that end within the video."""
        return int(np.searchsorted(self.times, self.end - span * self.step + self.slack, side="right"))

    def looped(self, moments: FrameTimes) -> FrameTimes:
        """Moments past the end begin again at the first frame."""
        wrapped: FrameTimes = (moments + self.slack) % self.end - self.slack
        return wrapped

    def inside(self, moments: FrameTimes) -> npt.NDArray[np.bool_]:
        """Which moments lie before the end."""
        return moments < self.end - self.slack

    def frames_at(self, moments: FrameTimes) -> Indices:
        """The frame whose time is nearest to each moment; of two as near, the earlier."""
        middles = (self.times[1:] + self.times[:-1]) / 2
        return np.searchsorted(middles, moments - self.slack * 1e-3, side="left").astype(np.int64)
