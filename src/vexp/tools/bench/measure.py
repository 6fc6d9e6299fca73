"""Measure the samples per second of data loading, of the training step, and of both together; no file is written."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from vexp.config.schema import Config
from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import available_workers, iterate_batches, make_loader
from vexp.data.sources.base import read_frames
from vexp.data.transforms.pipeline import sampled_frames
from vexp.experiment.initial_weights import build_model_with_weights
from vexp.experiment.setup import Experiment, apply_switches, build_experiment
from vexp.runtime.device import synchronize
from vexp.training.batches import training_order
from vexp.training.run import new_state
from vexp.training.state import TrainState
from vexp.training.step import set_learning_rates, train_step

_ENDLESS = 10**9  # steps, more than any measurement takes
_ROUNDS = 3
_NEAR_LIMIT = 0.9  # of the step alone: the data keep up
_WARM_UP_STEPS = 2
_MIN_STEPS = 3  # that are measured, however long they take


#: What limits the speed of a run.
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
    """Mean CPU time of one sample in one process, in milliseconds."""

    decode: float  # opening the video and decoding its frames
    transform: float  # resize, crop and the other transforms
    collate: float  # copying it into a batch


class Measurement:
    """A run that is set up but not started, whose parts can be timed."""

    def __init__(self, config: Config) -> None:
        """Build datasets, model and optimizer as a run does; raises what a run raises."""
        apply_switches(config)
        self.config = config
        self.exp: Experiment = build_experiment(config)
        self.workers = available_workers() if config.data.num_workers is None else config.data.num_workers
        self._state: TrainState | None = None
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
        """Measure for about ``seconds`` in total: alternately, so that another program does not slow one part only."""
        each = seconds / (3 * _ROUNDS)
        rounds = [(self.loading(each), self.step(each), self.training(each)) for _ in range(_ROUNDS)]
        return Speeds(*np.median(rounds, axis=0).tolist())

    def loading(self, seconds: float) -> float:
        """Return the samples per second that the workers load if nothing else runs."""
        with closing(self._batches()) as batches:
            for _ in range(self.workers + 1):
                next(batches)
            return _rate(lambda: len(next(batches)), seconds)

    def step(self, seconds: float) -> float:
        """Return the samples per second of the training step on the same batches again and again: the upper limit."""
        batches = itertools.cycle(self._step_batches())
        return self._training_rate(batches, seconds)

    def training(self, seconds: float) -> float:
        """Return the samples per second of training: loading and steps together, as in a run."""
        with closing(self._batches()) as batches:
            return self._training_rate(batches, seconds)

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

    def sample_cost(self, seconds: float) -> SampleCost:
        """Return the CPU time of loading a sample in this process, by its parts."""
        dataset, collate = self.exp.train_set, Collate()
        times: list[tuple[float, float, float]] = []
        end = time.perf_counter() + seconds
        for index in itertools.cycle(range(len(dataset))):
            start = time.process_time()
            self._decode(index)
            decoded = time.process_time()
            sample = dataset[(0, index)]
            loaded = time.process_time()
            if not isinstance(sample, Sample):
                continue  # a video that cannot be read
            collate([sample])
            collated = time.process_time()
            times.append((decoded - start, loaded - decoded, collated - loaded))
            if time.perf_counter() > end and len(times) > 1:
                break
        decode, whole, copied = 1e3 * np.mean(times[1:], axis=0)  # the first one opens files and imports decoders
        return SampleCost(float(decode), float(max(whole - decode, 0.0)), float(copied))

    def _decode(self, index: int) -> None:
        """Decode the frames of a sample as its pipeline does, without any other transform."""
        dataset, rng = self.exp.train_set, np.random.default_rng([self.config.seed, 0, index])
        sampler = next(iter(dataset.steps.values()))
        try:
            with dataset.source.open(index) as reader:
                indices = np.unique(sampled_frames(reader, sampler, rng))
                for _ in read_frames(reader, indices) if self.config.data.content != "joints" else ():
                    pass
        except Exception:  # loading the sample reports it
            return

    def _batches(self) -> Generator[Batch, None, None]:
        exp = self.exp
        order = training_order(exp, 0, _ENDLESS, rank=exp.world.rank)
        bad = BadSamples(exp.train_set, split="train", max_fraction=exp.config.data.max_bad_fraction, path=None)
        yield from iterate_batches(
            make_loader(exp.train_set, order, exp.config.data, exp.device, persistent=False), bad
        )

    def _step_batches(self) -> list[Batch]:
        """Return the batches of one full step, loaded once."""
        if self._cached is None:
            count = len(self.exp.plan.batch_sizes(0))
            with closing(self._batches()) as batches:
                self._cached = list(itertools.islice(batches, count))
        return self._cached

    def _training_rate(self, batches: Iterator[Batch], seconds: float) -> float:
        exp, state, trained = self.exp, self.state, 0
        set_learning_rates(exp, state)

        def counted() -> Iterator[Batch]:
            nonlocal trained
            for batch in batches:
                trained += len(batch)
                yield batch

        source = counted()

        def one_step() -> int:
            before = trained
            train_step(exp, state, source)
            return trained - before

        for _ in range(_WARM_UP_STEPS):
            one_step()
        synchronize(exp.device)
        return _rate(one_step, seconds, exp.device)


def _rate(work: Callable[[], int], seconds: float, device: torch.device | None = None) -> float:
    """Return the samples per second of ``work``, which returns the number of samples of each call."""
    samples, calls, start = 0, 0, time.perf_counter()
    while calls < _MIN_STEPS or time.perf_counter() - start < seconds:
        samples += work()
        calls += 1
    if device is not None:
        synchronize(device)
    return samples / (time.perf_counter() - start)
