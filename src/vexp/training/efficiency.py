"""How well a run uses its device: model FLOP/s, their share of the device's peak, and the share of the step alone."""

from __future__ import annotations

import copy
import itertools
import logging
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from vexp.core.log import format_operations, plural
from vexp.data.batch.batch import Batch
from vexp.experiment.setup import Experiment
from vexp.model.flops import training_flops
from vexp.model.meta import meta_model
from vexp.model.trained_part import take_features
from vexp.runtime.device import synchronize
from vexp.runtime.peak_flops import peak_tflops
from vexp.runtime.seed import rng_state, set_rng_state
from vexp.training.cached_features import find_trained_part
from vexp.training.state import TrainState
from vexp.training.step import train_step

logger = logging.getLogger(__name__)

_ROUNDS, _SECONDS = 3, 3.0  # of the measurement of the step alone; the fastest round counts
_MAX_STEPS = 50  # of a round


class Efficiency:
    """The figures of a run, for its log lines.

    Attributes:
        sample_flops: Operations of forward and backward for a sample with all its views; None if they are not known.
        peak: Peak of the device in TFLOP/s; None if it is not known.
        step_alone: Seconds of an optimizer step on batches in memory; None if it is not measured.
        is_measured: Whether ``measure`` has been called.
    """

    def __init__(self, exp: Experiment) -> None:
        self.exp = exp
        self.sample_flops: float | None = None
        self.peak = device_peak(exp)
        self.step_alone: float | None = None
        self.is_measured = False
        self._batches: list[Batch] = []

    def first_step(self, batches: Iterator[Batch], step: int) -> Iterator[Batch]:
        """Yield all batches; keep those of ``step`` (0-based), the first, until ``measure``."""
        for batch in itertools.islice(batches, len(self.exp.plan.batch_sizes(step))):
            self._batches.append(batch)
            yield batch
        yield from batches

    def measure(self, state: TrainState) -> None:
        """Count the operations of a sample and, with ``log.efficiency``, time the step alone, after the first step.

        The state of the run is the same as before. A model whose operations cannot be counted does not end the run.
        """
        self.is_measured = True
        exp, batches, self._batches = self.exp, self._batches, []
        if exp.world.is_main_process and batches:
            try:
                self.sample_flops = sample_flops(exp, state.model, batches[0])
            except Exception as error:  # of any model, also of a plugin
                reason = next(iter(str(error).splitlines()), "")
                logger.info(f"model operations: not counted ({type(error).__name__}: {reason})")
            else:
                per_step = self.sample_flops * exp.plan.samples_per_step * exp.config.data.train.repeat_augment
                peak = "" if self.peak is None else f"; peak of the device: {self.peak:g} TFLOP/s"
                logger.info(
                    f"model operations: {format_operations(self.sample_flops)} per sample, "
                    f"{format_operations(per_step)} per step, forward and backward{peak}"
                )
        if exp.config.log.efficiency and batches:
            self.step_alone = seconds_alone(exp, state, batches)

    def values(self, samples_per_second: float, seconds_per_step: float) -> dict[str, float]:
        """Return the figures for a speed of all processes together, by their names in a record."""
        values: dict[str, float] = {}
        if self.sample_flops is not None:
            values["time/tflops"] = self.sample_flops * samples_per_second / self.exp.world.world_size / 1e12
            if self.peak is not None:
                values["time/mfu"] = values["time/tflops"] / self.peak
        if self.step_alone is not None:
            values["time/share_of_step_alone"] = self.step_alone / seconds_per_step
        return values


def device_peak(exp: Experiment) -> float | None:
    """Return the peak of the device for the precision of the run in TFLOP/s; None if it is not known."""
    if exp.device.type != "cuda":
        return None
    dtype, tf32 = exp.config.amp.dtype, exp.config.backend.tf32
    return peak_tflops(torch.cuda.get_device_name(exp.device), "tf32" if dtype == "fp32" and tf32 != "none" else dtype)


def sample_flops(exp: Experiment, model: nn.Module, batch: Batch) -> float:
    """Return the operations of forward and backward for a sample of a batch.

    They are counted on a second model on the meta device, which has no values, so that ``model`` is not changed; only
    which of its parameters are trained matters.

    Raises:
        Exception: If the model cannot be built or run on the meta device.
    """
    generators = rng_state()
    try:
        inputs, _ = exp.task.inputs(batch.to(exp.device), training=False)
        shapes = meta_model(exp.config.model, len(exp.classes)).to("meta").train()  # buffers, too
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        for name, parameter in shapes.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if exp.config.data.cache_features:
            take_features(shapes, find_trained_part(exp.config, shapes, torch.device("meta")))
        return training_flops(shapes, inputs) / len(batch)
    finally:
        set_rng_state(generators)


def seconds_alone(exp: Experiment, state: TrainState, batches: list[Batch]) -> float | None:
    """Return the seconds of an optimizer step on the same batches again and again: no run with them is faster.

    The steps are real ones. ``state`` and the random generators are then restored from a copy as for a resumed run, so
    that the run continues to the bit as without the measurement. Workers load batches until their queues are full; the
    fastest of several rounds is the one that they disturb least.
    """
    if exp.config.dist.strategy == "fsdp" and not exp.world.is_single_process:
        logger.info("log.efficiency: the step alone is not measured with dist.strategy=fsdp")
        return None
    start, source = time.perf_counter(), itertools.cycle(batches)
    saved = copy.deepcopy(state.state_dict(resumable=True))
    state.step -= 1  # the batches are those of the last step
    try:
        first = _timed(exp, lambda: train_step(exp, state, source), 1)
        slowest = exp.world.all_reduce_max(round(1e6 * first)) / 1e6  # all processes take equally many steps
        steps = min(max(round(_SECONDS / _ROUNDS / max(slowest, 1e-6)), 1), _MAX_STEPS)
        seconds = min(_timed(exp, lambda: train_step(exp, state, source), steps) for _ in range(_ROUNDS))
    finally:
        state.load_state_dict(saved, "log.efficiency")
    taken, spent = plural(1 + _ROUNDS * steps, "step"), time.perf_counter() - start
    logger.info(f"step alone: {seconds:.3g} s on batches in memory ({taken} in {spent:.1f} s, which change nothing)")
    return seconds


def _timed(exp: Experiment, work: Callable[[], object], count: int) -> float:
    """Return the mean seconds of ``count`` calls, until the device has completed them."""
    synchronize(exp.device)
    start = time.perf_counter()
    for _ in range(count):
        work()
    synchronize(exp.device)
    return (time.perf_counter() - start) / count
