"""Measure the samples per second of data loading, of the training step, and of both together; no file is written."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vexp.config.schema import Config
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import available_workers, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.outcomes import Failure, ReplacedSample
from vexp.data.sources.base import Source, read_frames
from vexp.data.transforms.pipeline import sampled_frames
from vexp.experiment.eval_save_schedule import step_plan
from vexp.experiment.initial_weights import build_model_with_weights
from vexp.experiment.setup import Experiment, apply_switches, build_experiment
from vexp.runtime.device import synchronize
from vexp.training.batches import training_order
from vexp.training.efficiency import sample_flops
from vexp.training.run import new_state
from vexp.training.state import TrainState
from vexp.training.step import set_learning_rates, train_step

_ENDLESS = 10**9  # steps, more than any measurement takes
_ROUNDS = 3
_NEAR_LIMIT = 0.9  # of the step alone: the data keep up
_WARM_UP_STEPS = 2  # at most


#: What limits the speed of a run: data loading, the training step, or both, which compete for the CPU cores.
LOADING, STEP, CORES = "data loading", "the training step", "the CPU cores"


@dataclass(frozen=True, slots=True)
class Speeds:
    """Samples per second."""

    loading: float  # data loading alone
    step: float  # the training step alone, on batches in memory
    training: float  # both together

    @property
    def share(self) -> float:
        """Share of the speed of the step alone that training reaches, 0..1."""
        return self.training / self.step

    @property
    def limit(self) -> str:
        """What limits the speed: ``LOADING``, ``STEP``, or ``CORES`` if both are faster alone than together."""
        if self.share >= _NEAR_LIMIT:
            return STEP
        return CORES if self.loading * _NEAR_LIMIT > self.training else LOADING


@dataclass(frozen=True, slots=True)
class SampleCost:
    """Mean time of one sample by its parts, in milliseconds: of a core, for ``copy`` and ``step`` of the device."""

    decode: float  # opening the video and decoding its frames
    resize: float  # resize, crop and the other transforms
    transport: float  # copying the sample into a batch, and the batch to the training process
    copy: float  # copying the batch to the device; 0 on a CPU
    step: float  # the training step without that copy


class Measurement:
    """A run that is set up but not started, whose parts can be timed."""

    def __init__(self, config: Config) -> None:
        """Build datasets, model and optimizer as a run does; raises what a run raises."""
        apply_switches(config)
        self.config = config
        self.overhead = 0.0  # seconds that ``training`` takes besides the measured ones: start of the workers, warm-up
        self.exp: Experiment = build_experiment(config)
        self.workers = available_workers() if config.data.num_workers is None else config.data.num_workers
        self._state: TrainState | None = None
        self._is_warm = False  # whether a step was done: the first one takes longer
        self._cached: list[Batch] | None = None

    @property
    def state(self) -> TrainState:
        """Model and optimizer, built when they are first needed."""
        if self._state is None:
            config, exp = self.config, self.exp
            model = build_model_with_weights(config, exp.classes, fresh=True)
            self._state = new_state(exp, config.backend.prepare(model, exp.device))
            self._state.model.train()
        return self._state

    def speeds(self, seconds: float) -> Speeds:
        """Measure for about ``seconds`` in total: alternately, so that another program does not slow one part only.

        If steps are slow, there are fewer rounds, at least one.
        """
        start, each, rounds = time.perf_counter(), seconds / (3 * _ROUNDS), list[tuple[float, float, float]]()
        while len(rounds) < _ROUNDS and time.perf_counter() - start <= seconds * (1 - 1 / _ROUNDS):
            rounds.append((self.loading(each), self.step(each), self.training(each)))
        return Speeds(*np.median(rounds, axis=0).tolist())

    def loading(self, seconds: float) -> float:
        """Return the samples per second that the workers load if nothing else runs."""
        return self._loading_rate(self.exp.train_set, seconds)

    def step(self, seconds: float) -> float:
        """Return the samples per second of the training step on the same batches again and again: the upper limit."""
        batches = itertools.cycle(self._step_batches())
        return self._training_rate(batches, seconds, group=1)

    def training(self, seconds: float) -> float:
        """Return the samples per second of training: loading and steps together, as in a run."""
        start = time.perf_counter()
        with closing(self._batches(self.exp.train_set)) as batches:
            rate = self._training_rate(batches, seconds, group=self.workers)
        self.overhead = max(time.perf_counter() - start - seconds, 0.0)
        return rate

    def transport(self, seconds: float) -> float:
        """Return the samples per second that the workers deliver if nothing has to be decoded and resized."""
        return self._loading_rate(_ReadySamples(self.exp.train_set, self._sample()), seconds)

    def copy_seconds(self) -> float:
        """Return the time to copy the batches of a step to the device, in seconds; 0 on the CPU."""
        if self.exp.device.type == "cpu":
            return 0.0
        batches = self._step_batches()
        synchronize(self.exp.device)
        start = time.perf_counter()
        for batch in batches:
            batch.to(self.exp.device)
        synchronize(self.exp.device)
        return time.perf_counter() - start

    def sample_flops(self) -> float | None:
        """Return the operations of forward and backward for a sample; None if they cannot be counted."""
        try:
            return sample_flops(self.exp, self.state.model, self._step_batches()[0])
        except Exception:  # of any model, also of a plugin
            return None

    def sample_cost(self, seconds: float, step: float) -> SampleCost:
        """Return the time of a sample by its parts; ``step`` is the samples per second of the step alone."""
        decode, whole = self._loading_cost(seconds / 2)
        cores = max(1, min(self.workers, available_workers()))
        samples = sum(map(len, self._step_batches()))
        copied = 1e3 * self.copy_seconds() / samples
        transport = 1e3 * cores / self.transport(seconds / 2)
        return SampleCost(decode, max(whole - decode, 0.0), transport, copied, max(1e3 / step - copied, 0.0))

    def _loading_cost(self, seconds: float) -> tuple[float, float]:
        """Return the mean CPU time to decode and to load a sample in this process, in milliseconds."""
        dataset, times = self.exp.train_set, list[tuple[float, float]]()
        end = time.perf_counter() + seconds
        for index in itertools.cycle(range(len(dataset))):
            self._decode(index, frames=False)  # what a reader keeps of a video is not a difference of the two times
            start = time.process_time()
            self._decode(index)
            decoded = time.process_time()
            if isinstance(dataset[(0, index)], Failure | ReplacedSample):
                continue  # a video that cannot be read
            times.append((decoded - start, time.process_time() - decoded))
            if time.perf_counter() > end and len(times) > 1:
                break
        decode, whole = 1e3 * np.mean(times[1:], axis=0)  # the first one opens files and imports decoders
        return float(decode), float(whole)

    def _sample(self) -> Any:
        """Return the first sample that can be loaded."""
        dataset = self.exp.train_set
        loaded = (dataset[(0, index)] for index in range(len(dataset)))
        return next(sample for sample in loaded if not isinstance(sample, Failure | ReplacedSample))

    def with_source(self, source: Source) -> Measurement:
        """Return the same run with other training samples."""
        other = copy.copy(self)
        train_set = replace(self.exp.train_set, source=source)
        other.exp = replace(self.exp, train_set=train_set, plan=step_plan(self.config, len(source)))
        other._cached = None
        return other

    def _decode(self, index: int, *, frames: bool = True) -> None:
        """Open the video of a sample, and decode its frames as its pipeline does, without any other transform."""
        dataset, rng = self.exp.train_set, np.random.default_rng([self.config.seed, 0, index])
        try:
            with dataset.source.open(index) as reader:
                if self.config.data.content != "frames" or not frames:
                    return
                indices = np.unique(sampled_frames(reader, next(iter(dataset.steps.values())), rng))
                for _ in read_frames(reader, indices):
                    pass
        except Exception:  # loading the sample reports it
            return

    def _batches(self, dataset: ClipDataset) -> Generator[Batch, None, None]:
        """Load batches of the training samples, or of another data set of equally many."""
        apply_switches(self.config)  # another measurement may have changed them
        exp = self.exp
        order = training_order(exp, 0, _ENDLESS, rank=exp.world.rank)
        bad = BadSamples(dataset, split="train", max_fraction=exp.config.data.max_bad_fraction, path=None)
        yield from iterate_batches(make_loader(dataset, order, exp.config.data, exp.device, persistent=False), bad)

    def _step_batches(self) -> list[Batch]:
        """Return the batches of one full step, loaded once."""
        if self._cached is None:
            count = len(self.exp.plan.batch_sizes(0))
            with closing(self._batches(self.exp.train_set)) as batches:
                self._cached = list(itertools.islice(batches, count))
        return self._cached

    def _loading_rate(self, dataset: ClipDataset, seconds: float) -> float:
        with closing(self._batches(dataset)) as batches:
            for _ in range(self.workers + 1):
                next(batches)
            return _rate(lambda: len(next(batches)), seconds, group=self.workers)

    def _training_rate(self, batches: Iterator[Batch], seconds: float, *, group: int) -> float:
        """Return the samples per second of steps; ``group`` is that of ``_rate``."""
        apply_switches(self.config)
        exp, state, trained, waited = self.exp, self.state, 0, 0.0
        set_learning_rates(exp, state)

        def counted() -> Iterator[Batch]:
            nonlocal trained, waited
            while True:
                begin = time.perf_counter()
                batch = next(batches)
                trained, waited = trained + len(batch), waited + time.perf_counter() - begin
                yield batch

        source = counted()

        def one_step() -> int:
            before = trained
            train_step(exp, state, source)
            return trained - before

        start = time.perf_counter()
        for _ in range(_WARM_UP_STEPS):
            one_step()
            synchronize(exp.device)
            elapsed = time.perf_counter() - start
            if elapsed > seconds:
                break
        was_warm, self._is_warm = self._is_warm, True
        if was_warm and elapsed > 2 * seconds and waited < elapsed / 10:
            return trained / elapsed  # a slow step: another one would take too long
        return _rate(one_step, seconds, exp.device, group=group)


class _ReadySamples(ClipDataset):
    """A data set all of whose samples are one that is loaded already."""

    def __init__(self, dataset: ClipDataset, sample: Any) -> None:
        vars(self).update(vars(dataset))
        self.sample = sample

    def __getitem__(self, key: Key) -> Any:
        return self.sample


def _rate(work: Callable[[], int], seconds: float, device: torch.device | None = None, *, group: int = 1) -> float:
    """Return the samples per second of ``work``, which returns the number of samples of each call.

    ``group`` workers deliver their batches at about the same time: if it does not take too long, whole groups are
    measured.
    """
    samples, calls, start = 0, 0, time.perf_counter()
    while True:
        samples += work()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds and (calls % max(group, 1) == 0 or elapsed >= 2 * seconds):
            break
    if device is not None:
        synchronize(device)
    return samples / (time.perf_counter() - start)
