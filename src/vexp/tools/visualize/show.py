"""The sheets of ``vexp show``, drawn from the datasets, order and batches that a run with the same config has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.batch import Batch
from vexp.data.batch.boxes import BoxBatch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.data.loading.dataset import Key
from vexp.experiment.setup import Experiment, build_experiment, make_dataset
from vexp.model.weights.load import open_weights
from vexp.model.weights.source import locate
from vexp.tools.visualize.batch_data import BlendedBatch, SampleDraws, batch_warnings, summarize_batch
from vexp.tools.visualize.batch_sheet import batch_sheet, frames_per_sample
from vexp.tools.visualize.pipeline_data import PipelineStages
from vexp.tools.visualize.pipeline_sheet import pipeline_sheet
from vexp.tools.visualize.samples import Split
from vexp.tools.visualize.sampling_data import Coverage, sampling_warnings
from vexp.tools.visualize.sampling_sheet import sampling_sheet
from vexp.tools.visualize.segments_sheet import read_answers, segments_sheet, shown_videos
from vexp.training.batches import training_batches, training_order

_ORIGIN = "command line"


class RunData:
    """The splits of a run, and warnings that do not depend on the videos."""

    def __init__(self, config: Config) -> None:
        """Build the datasets of a run.

        Raises:
            UserError: If the data cannot be read.
        """
        self.exp = build_experiment(replace(config, device="cpu"), for_model=False)  # no GPU is needed
        self.splits = _splits(self.exp)
        self.warnings = _weights_warnings(config)

    def check_has_frames(self, subject: str) -> None:
        """Raise UserError if the samples are features, which have no picture."""
        if self.exp.config.data.content == "features":
            raise UserError(f"show {subject}: the samples are features without frames; use vexp show sampling")

    def split(self, name: str) -> Split:
        """Return a split by its name.

        Raises:
            ConfigError: If there is no such split.
        """
        splits = {split.name: split for split in self.splits}
        if name not in splits:
            rule = f"must be one of the splits of the data: {', '.join(splits)}"
            raise ConfigError(rule, key="split", value=name, origin=_ORIGIN)
        return splits[name]


def show_pipeline(data: RunData, path: Path, *, split: str, index: int) -> list[str]:
    """Draw the stages of a sample and return the warnings."""
    config, chosen = data.exp.config, data.split(split)
    data.check_has_frames("pipeline")
    if not 0 <= index < len(chosen.dataset):
        rule = f"must be one of the samples 0..{len(chosen.dataset) - 1} of data.{split}"
        raise ConfigError(rule, key="sample", value=index, origin=_ORIGIN)
    stages = PipelineStages(chosen, index, config.img_norm)
    pathways: Mapping[str, int] = getattr(config.model, "pathways", {})
    pipeline_sheet(stages, img_norm=config.img_norm, pathways=pathways, warnings=data.warnings).save(path)
    return data.warnings


def show_sampling(data: RunData, path: Path, *, draws: int, videos: int, answers: Path | None = None) -> list[str]:
    """Draw the sampled frames of every split, or its segments and ``answers``, and return the warnings."""
    if data.exp.task.name == "localization":
        found = None if answers is None else read_answers(answers)
        shown = [(split, shown_videos(split, videos, draws, found)) for split in data.splits]
        segments_sheet(shown, warnings=data.warnings).save(path)
        return data.warnings
    if answers is not None:
        rule = "are segments of temporal localization, which these data do not have"
        raise ConfigError(rule, key="answers", value=answers, origin=_ORIGIN)
    coverages = [Coverage(split, draws=draws, videos=videos) for split in data.splits]
    warnings = [*data.warnings, *sampling_warnings(coverages)]
    sampling_sheet(coverages, warnings=warnings).save(path)
    return warnings


def show_batch(data: RunData, path: Path, *, samples: int, draws: int) -> list[str]:
    """Draw the first batch of every split and return the warnings."""
    config, batches, blended = data.exp.config, [], None
    data.check_has_frames("batch")
    frames = frames_per_sample(len(data.splits))
    for split in data.splits:
        batch, keys = _first_batch(data.exp, split)
        if isinstance(batch, BoxBatch):
            batch = next(batch.by_shape())  # the key frames of the size of the first
        batches.append(summarize_batch(split, batch, keys, config.img_norm, count=samples, frames=frames))
        if split.name == "train":
            sample_draws = SampleDraws(split, int(batch.ids[0]), count=draws)
            if config.blending.mixes:
                blended = BlendedBatch(split, batch, config.img_norm, config.blending, seed=config.seed, count=8)
    warnings = [*data.warnings, *batch_warnings(batches)]
    batch_sheet(batches, sample_draws, blended, img_norm=config.img_norm, warnings=warnings).save(path)
    return warnings


def _splits(exp: Experiment) -> list[Split]:
    """Build the splits as training, its evaluation and ``vexp evaluate split=test`` use them."""
    splits = [Split("train", exp.train_set)]
    if exp.val_set is not None:
        splits.append(Split("val", exp.val_set))
    test = make_dataset(exp.config, "test", pipeline="test" if exp.config.pipeline.test else "val")
    if test is not None:
        splits.append(Split("test", test, "" if exp.config.pipeline.test else "steps of val"))
    elif exp.val_set is not None and exp.config.pipeline.test:
        val_set = make_dataset(exp.config, "val", pipeline="test")
        assert val_set is not None
        splits.append(Split("test", val_set, "videos of val"))
    return splits


def _first_batch(exp: Experiment, split: Split) -> tuple[Batch, list[Key]]:
    data, dataset = exp.config.data, split.dataset
    bad = BadSamples(dataset, split=split.name, max_fraction=1.0)
    if split.name == "train":
        keys = next(iter(training_order(exp, 0, 1, rank=exp.world.rank)))
        return next(training_batches(exp, 0, bad, steps=1)), keys
    size = data.eval_batch_size or data.batch_size
    order = SequentialSampler(min(size, len(dataset)), size)
    one_worker = replace(data, num_workers=0 if data.num_workers == 0 else 1)
    loader = make_loader(dataset, order, one_worker, exp.device, persistent=False)
    batch = next(iterate_batches(loader, bad), None)
    if batch is None:
        raise UserError(f"data.{split.name}: none of the first {order.num_samples} samples can be read")
    return batch, next(iter(order))


def _weights_warnings(config: Config) -> list[str]:
    """Compare ``img_norm`` with the normalization that the weights of the run were trained with."""
    weights = getattr(config.model, "weights", None)
    path = config.init_from or getattr(weights, "path", None)
    if path is None:
        return []
    try:
        metadata = open_weights(locate(path), path, key=getattr(weights, "key", None)).metadata
    except UserError as error:
        return [f"the normalization of the weights is unknown: {error}"]
    norm = config.img_norm
    conflicts = metadata.conflicts(mean=norm.mean, std=norm.std, to_bgr=norm.to_bgr)
    return [f"weights from {path}: {conflict}" for conflict in conflicts]
