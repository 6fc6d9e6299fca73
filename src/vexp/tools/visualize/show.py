"""From a ``Config`` to what ``python -m vexp.cli.show`` draws: the same data sets, order and batches that a run has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.data.loading.dataset import Key
from vexp.experiment.setup import Experiment, build_experiment, make_dataset
from vexp.model.weights.load import open_weights
from vexp.model.weights.source import locate
from vexp.tools.visualize import batch_data, pipeline_data, sampling_data
from vexp.tools.visualize.batch_sheet import batch_sheet, frames_of
from vexp.tools.visualize.pipeline_sheet import pipeline_sheet
from vexp.tools.visualize.samples import Split
from vexp.tools.visualize.sampling_sheet import sampling_sheet
from vexp.training.loop import training_batches, training_order


@dataclass(frozen=True, slots=True)
class Showing:
    """The three splits of a run; ``warnings`` of what can be known without looking at pixels."""

    exp: Experiment
    splits: list[Split]
    warnings: list[str]

    @classmethod
    def of(cls, config: Config) -> Showing:
        """Raises:
        UserError: the data cannot be read.
        """
        exp = build_experiment(replace(config, device="cpu"), for_net=False)  # no GPU is taken to look at pictures
        return cls(exp, _splits(exp), _weights_warnings(config))

    def split(self, name: str) -> Split:
        """Raises:
        UserError: the data have no such split.
        """
        for split in self.splits:
            if split.name == name:
                return split
        raise UserError(f"split={name}: the data have {', '.join(split.name for split in self.splits)} (command line)")


def show_pipeline(showing: Showing, path: Path, *, split: str, index: int) -> list[str]:
    """Draw the stages of a sample; what is worth a warning."""
    config, chosen = showing.exp.config, showing.split(split)
    if not 0 <= index < len(chosen.dataset):
        raise UserError(f"sample={index}: data.{split} has samples 0..{len(chosen.dataset) - 1} (command line)")
    found = pipeline_data.collect(chosen, index, config.img_norm)
    pathways: Mapping[str, int] = getattr(config.model, "pathways", {})
    sheet = pipeline_sheet(found, img_norm=config.img_norm, pathways=pathways, warnings=showing.warnings)
    sheet.save(path)
    return showing.warnings


def show_sampling(showing: Showing, path: Path, *, draws: int, videos: int) -> list[str]:
    """Draw which frames are taken of the videos of every split; what is worth a warning."""
    coverages = [sampling_data.collect(split, draws=draws, videos=videos) for split in showing.splits]
    warnings = [*showing.warnings, *sampling_data.warnings(coverages)]
    sampling_sheet(coverages, warnings=warnings).save(path)
    return warnings


def show_batch(showing: Showing, path: Path, *, samples: int, draws: int, say: Callable[[str], None]) -> list[str]:
    """Draw the first batch of every split as the loader gives it; what is worth a warning."""
    config, shown = showing.exp.config, []
    blends = None
    for split in showing.splits:
        batch, keys = _first_batch(showing.exp, split, say)
        frames = frames_of(len(showing.splits))
        shown.append(batch_data.look(split, batch, keys, config.img_norm, count=samples, frames=frames))
        if split.name == "train":
            several = batch_data.several_draws(split, int(batch.ids[0]), count=draws)
            if config.blending.mixes:
                blends = batch_data.blended(split, batch, config.img_norm, config.blending, seed=config.seed, count=8)
    warnings = [*showing.warnings, *batch_data.warnings(shown)]
    batch_sheet(shown, several, blends, img_norm=config.img_norm, warnings=warnings).save(path)
    return warnings


def _splits(exp: Experiment) -> list[Split]:
    """As training, its evaluation and ``vexp.cli.evaluate split=test`` take them."""
    splits = [Split("train", exp.train_set)]
    if exp.val_set is not None:
        splits.append(Split("val", exp.val_set))
    test = make_dataset(exp.config, "test", pipeline="test" if exp.config.pipeline.test else "val")
    if test is not None:
        splits.append(Split("test", test, "" if exp.config.pipeline.test else "steps of val"))
    elif exp.val_set is not None and exp.config.pipeline.test:
        seen = make_dataset(exp.config, "val", pipeline="test")
        assert seen is not None
        splits.append(Split("test", seen, "videos of val"))
    return splits


def _first_batch(exp: Experiment, split: Split, say: Callable[[str], None]) -> tuple[Batch, list[Key]]:
    data, dataset = exp.config.data, split.dataset
    bad = BadSamples(dataset, split=split.name, max_fraction=1.0, path=None, say=say)
    if split.name == "train":
        keys = next(iter(training_order(exp, 0, 1, rank=exp.processes.rank)))
        return next(training_batches(exp, 0, bad, steps=1)), keys
    size = data.eval_batch_size or data.batch_size
    order = SequentialSampler(min(size, len(dataset)), size)
    loader = make_loader(
        dataset, order, num_workers=0 if data.num_workers == 0 else 1, mp_context=data.mp_context,
        device=exp.device, persistent=False, sample_timeout=data.sample_timeout,
    )  # fmt: skip
    batch = next(iterate_batches(loader, bad), None)
    if batch is None:
        raise UserError(f"data.{split.name}: not one of its first {order.num_samples} samples can be read")
    return batch, next(iter(order))


def _weights_warnings(config: Config) -> list[str]:
    """Where ``img_norm`` is not what the weights of the run were trained with."""
    named = config.init_from or getattr(getattr(config.model, "weights", None), "path", None)
    if named is None:
        return []
    try:
        metadata = open_weights(locate(named), named).metadata
    except UserError as error:
        return [f"the weights could not be asked how they were normalised: {error}"]
    norm = config.img_norm
    return [
        f"weights from {named}: {conflict}"
        for conflict in metadata.conflicts(mean=norm.mean, std=norm.std, to_bgr=norm.to_bgr)
    ]
