"""How a metric was computed: the protocol that is part of every report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.experiment.schedule import plural


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


def evaluation_protocol(
    config: Config, *, split: str, pipeline: str, views: str, checkpoint: Path, step: int, epoch: int
) -> dict[str, Any]:
    """Return the entries of report.json that identify the weights, the data and the views.

    Args:
        config: Config of the run.
        split: Split of the videos.
        pipeline: Split whose pipeline processed them.
        views: Text of ``views_text``.
        checkpoint: Path of the weights.
        step: Completed optimizer steps of the weights.
        epoch: Epoch of the weights.
    """
    return {
        "split": split,
        "views": views,
        "view_reduction": config.eval.view_reduction,
        "pipeline": {"split": pipeline, "steps": to_dict(config, types=True)["pipeline"][pipeline]},
        "img_norm": to_dict(config.img_norm),
        "checkpoint": str(checkpoint),
        "step": step,
        "epoch": epoch,
        "ema": config.ema.decay is not None,
    }
