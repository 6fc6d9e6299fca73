"""The batches of training, in their order."""

from __future__ import annotations

from collections.abc import Iterator

from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.class_balance import balanced_order
from vexp.data.loading.dataloader import TrainSampler, iterate_batches, make_loader
from vexp.experiment.setup import Experiment


def training_batches(exp: Experiment, first_step: int, bad: BadSamples, *, steps: int | None = None) -> Iterator[Batch]:
    """Iterate over this process's batches after ``first_step`` steps: those of ``steps`` steps, by default of all."""
    last_step = exp.total_steps if steps is None else first_step + steps
    sampler = training_order(exp, first_step, last_step, rank=exp.world.rank)
    return iterate_batches(make_loader(exp.train_set, sampler, exp.config.data, exp.device, persistent=False), bad)


def training_order(exp: Experiment, first_step: int, total_steps: int, *, rank: int | None = None) -> TrainSampler:
    """Return the samples of steps ``first_step`` to ``total_steps`` - 1 (0-based); with ``rank`` of one process."""
    options, seed = exp.config.data.train, exp.config.seed
    sections = None if options.mix == "samples" else exp.plan.sections
    balanced = balanced_order(exp.train_set.source, options, seed=seed, sections=sections)
    steps = {"first_step": first_step, "total_steps": total_steps}
    return TrainSampler(exp.plan, seed=seed, shuffle=options.shuffle, balanced=balanced, rank=rank, **steps)
