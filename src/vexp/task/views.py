"""The views of a video, as reports and log lines describe them."""

from __future__ import annotations

from vexp.config.schema import Config
from vexp.core.log import plural


def clips_per_video(config: Config, split: str) -> int | None:
    """Return the number of clips that the split's sampler takes from a video; None if it depends on its length."""
    sampler = next(iter(config.pipeline.of(split).values()))
    clips: int | None = getattr(sampler, "clips", 1)
    return clips


def views_text(config: Config, split: str, views: int) -> str:
    """Describe the views of a video: ``10 clips x 3 crops``."""
    clips = clips_per_video(config, split)
    if clips is None:
        return f"{views} views, depending on the length of the video"
    return f"{plural(clips, 'clip')} x {plural(views // clips, 'crop')}"
