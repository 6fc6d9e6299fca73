"""The time axis of a video: which frame is shown at a time, and where a clip fits.

Time is measured in frames (frame n is shown at n) or in seconds (the presentation times of the container), so that the
same sampling rules apply to both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vexp.core.lazy import np

if TYPE_CHECKING:
    import numpy.typing as npt

Indices: TypeAlias = "npt.NDArray[np.int64]"
FrameTimes: TypeAlias = "npt.NDArray[np.float64]"


#: Rounding error of times in seconds: one millisecond for each time, and one for the duration.
_ROUNDING = 2e-3


@dataclass(frozen=True, slots=True)
class Timeline:
    """The times of the frames of a video."""

    times: FrameTimes  # when each frame is shown, (n,), ascending from 0
    end: float  # when the last frame ends
    step: float  # length of the unit that a sampler counts in: a frame, or a frame of its ``target_fps``

    @classmethod
    def of_frames(cls, num_frames: int) -> Timeline:
        """Build a timeline measured in frames."""
        return cls(np.arange(num_frames, dtype=np.float64), float(num_frames), 1.0)

    @classmethod
    def of_seconds(cls, times: FrameTimes, fps: float) -> Timeline:
        """Build a timeline measured in seconds with the unit 1/fps; ``times`` are float64 (n,), ascending."""
        since_first = np.asarray(times, np.float64) - times[0]
        last = float(since_first[-1])
        # The duration of the last frame is the average of the others; a single frame lasts one unit.
        period = last / (len(times) - 1) if last > 0 else 1 / fps
        return cls(since_first, last + period, 1 / fps)

    @property
    def slack(self) -> float:
        """Tolerance for comparing times, since Matroska rounds them to milliseconds.

        It is below half a unit, so that no frame of a clip that fits is past the end.
        """
        return min(_ROUNDING, self.end / len(self.times) / 4, self.step / 4)

    def legal_starts(self, span: int) -> int:
        """Return the number of frames at which a clip of ``span`` units can start and end within the video."""
        return int(np.searchsorted(self.times, self.end - span * self.step + self.slack, side="right"))

    def looped(self, moments: FrameTimes) -> FrameTimes:
        """Wrap times past the end around to the first frame."""
        wrapped: FrameTimes = (moments + self.slack) % self.end - self.slack
        return wrapped

    def inside(self, moments: FrameTimes) -> npt.NDArray[np.bool_]:
        """Return which times are before the end."""
        return moments < self.end - self.slack

    def frames_at(self, moments: FrameTimes) -> Indices:
        """Return the index of the frame nearest to each time; the earlier of two equally near ones."""
        midpoints = (self.times[1:] + self.times[:-1]) / 2
        return np.searchsorted(midpoints, moments - self.slack * 1e-3, side="left").astype(np.int64)
