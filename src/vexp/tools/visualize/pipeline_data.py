"""Data of ``vexp show pipeline``: one sample after each step of its pipeline, and as the model receives it."""

from __future__ import annotations

import numpy as np

from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.batch.normalize import ImgNorm
from vexp.data.loading.dataset import ClipDataset
from vexp.tools.visualize.samples import Split, Video, evenly_spaced, format_label, format_step, load_sample

STRIP = 8  # frames shown per stage
MAX_VIEWS = 30


class Stage:
    """The sample after a step; ``description`` is the class of the step with its arguments."""

    def __init__(self, name: str, description: str, sample: Sample) -> None:
        frames = sample.clips.frames  # (V, T, H, W, C), of which only copies are kept
        self.name, self.description, self.shape = name, description, frames.shape
        self.dtype, self.low, self.high = str(frames.dtype), frames.min(), frames.max()
        num_views, length = frames.shape[:2]
        #: Some frames of the first view, uint8 (k, H, W, C).
        self.strip = frames[0, evenly_spaced(length, STRIP)].copy()
        #: The middle frame of each view if there are several, uint8 (v, H, W, C).
        self.views = (frames[:MAX_VIEWS, length // 2] if num_views > 1 else frames[:0, 0]).copy()
        self.crops = sample.clips.crops  # the part of the video's frames that each crop shows


class PipelineStages:
    """A sample in all stages of its pipeline."""

    def __init__(self, split: Split, index: int, img_norm: ImgNorm, *, epoch: int = 0) -> None:
        """Run the pipeline of one sample, in a 0-based epoch, up to each of its steps.

        Raises:
            UserError: If the sample cannot be read.
        """
        dataset, key = split.dataset, (epoch, index)
        self.split, self.index = split, index
        self.steps: list[Stage] = []  # the sample after each step, applied one after the other
        for count, (name, step) in enumerate(dataset.steps.items(), start=1):
            partial = dict(list(dataset.steps.items())[:count])
            eager = ClipDataset(dataset.source, partial, seed=dataset.seed, lazy=False, flip_labels=dataset.flip_labels)
            last = load_sample(eager, key)
            self.steps.append(Stage(name, format_step(step), last))
        sample = load_sample(dataset, key)
        #: The sample as a worker returns it.
        self.final = Stage(
            "batch", "one resample of all geometry" if dataset.lazy else "as after the last step", sample
        )
        self.final.views = self.final.views[:0]  # the last step shows them already
        difference = np.abs(sample.clips.frames.astype(np.float32) - last.clips.frames)
        #: Mean and largest difference of ``final`` from the last of ``steps``, in grey levels.
        self.difference = float(difference.mean(dtype=np.float64)), float(difference.max())
        batch = Collate()([sample])
        assert isinstance(batch, Batch)
        with dataset.source.open(index) as reader:
            self.video = Video(dataset.source.name(index), reader)
            self.frame_indices = evenly_spaced(reader.num_frames, STRIP)
            self.frames = reader.frames(self.frame_indices)  # of the video, uint8 (k, H, W, C)
        self.label = format_label(sample.labels, dataset.source.classes)
        self.numbers = sample.clips.frame_indices  # indices of the sampled frames, int64 (clips, clip_len)
        #: The first view as the model receives it, float32 (C, T, H, W).
        self.model_input = img_norm.prepare_input(batch, 0, 1)[0].numpy()
        self.num_views = sample.clips.layout.views
