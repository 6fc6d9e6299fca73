"""How a number came about: what stands beside it in every report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config


def clips_per_video(config: Config, split: str) -> int | None:
    """Clips that the split's sampler takes of a video; None where that depends on its length."""
    sampler = next(iter(config.pipeline.of(split).values()))
    clips: int | None = getattr(sampler, "clips", 1)
    return clips


def views_text(config: Config, split: str, views: int) -> str:
    """``10 clips x 3 crops``, of so many views a video."""
    clips = clips_per_video(config, split)
    if clips is None:
        return f"{views} views, as many as the video is long"
    crops = views // clips
    return f"{clips} clip{'s' * (clips != 1)} x {crops} crop{'s' * (crops != 1)}"


def evaluation_protocol(
    config: Config, *, split: str, pipeline: str, views: str, checkpoint: Path, step: int, epoch: int
) -> dict[str, Any]:
    """For report.json: whose weights, on what data, seen how.

    ``split`` is where the videos came from, ``pipeline`` whose steps they went through.
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
