"""The data of a run, from annotation to batch. Pixels are uint8 (``vexp.data.pixel_type``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def loader(
    overrides: Sequence[str] = (),
    split: str = "train",
    *,
    form: str = "pytorchvideo",
    device: Any = "cpu",
    config_dirs: Sequence[str | Path] = (),
) -> Any:
    """Return the batches of a split for a training loop of one's own: a ``vexp.training.clip_loader.ClipLoader``.

    ``for batch in vexp.data.loader(["data=folder", "data.root=videos"]): ...`` is one epoch. The batches are those of
    ``vexp train`` with the same overrides: the same samples, frames, crops and pixels.

    Args:
        overrides: Overrides of the data, pipeline, img_norm and seed, as on the command line.
        split: train (shuffled, augmented), val or test (in order).
        form: Keys and layout of a batch. "pytorchvideo": ``video`` float32 (N, C, T, H, W), with several views of a
            video (N, V, C, T, H, W); ``label`` int64 (N,), for multi-label data float32 (N, classes); ``video_index``
            int64 (N,); ``video_name`` list of str. "transformers": ``pixel_values`` float32 (N, T, C, H, W) and
            ``labels``.
        device: Device of the tensors; frames are copied to a GPU as uint8 and normalized there.
        config_dirs: Folders with custom options.

    Raises:
        ConfigError: (a ValueError) If the overrides are invalid.
        UserError: If the samples cannot be listed; while iterating, if one cannot be read.
    """
    # This folder imports nothing above it: the function is the public name of something that stands on all of them.
    cls = import_module("vexp.training.clip_loader").ClipLoader
    return cls(overrides, split, form=form, device=device, config_dirs=config_dirs)
