"""``data.cache=proxy``: the first epoch reads videos while their proxies are written, later epochs read the proxies.

Which samples read a proxy depends on the epoch and on ``data.cache_size`` only, not on the state of the cache or on the
time: every run of a config is the same, and a run is the same after a resume.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext

from vexp.core.errors import ConfigError, UserError
from vexp.core.files import format_bytes
from vexp.core.log import plural
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.proxy_writer import ProxyWriter, Task
from vexp.data.sources.base import VideoSource
from vexp.data.sources.proxies import Proxies, proxy_root
from vexp.experiment.setup import Experiment
from vexp.runtime.signals import Interrupted, SignalHandler
from vexp.training.batches import training_batches
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_BYTES = 10**9  # in a gigabyte, the unit of data.cache_size


def run_batches(exp: Experiment, state: TrainState, bad: BadSamples, interrupt: SignalHandler) -> Iterator[Batch]:
    """Iterate over this process's batches after ``state.step`` steps, with ``data.cache=proxy`` from proxies.

    Proxies are read from the second epoch on; the first step of it waits until all are written. All processes must
    iterate together.

    Raises:
        ConfigError: If there are proxies and the training data are not video files.
        Interrupted: If ``interrupt`` receives a signal during the wait.
        UserError: If the proxies cannot be written.
    """
    if exp.config.data.cache == "proxy":
        return _proxied_batches(exp, state, bad, interrupt)
    return training_batches(exp, state.step, bad)


def _proxied_batches(exp: Experiment, state: TrainState, bad: BadSamples, interrupt: SignalHandler) -> Iterator[Batch]:
    source, first_step, per_epoch = exp.train_set.source, state.step, exp.plan.steps_per_epoch
    if not isinstance(source, VideoSource):
        raise ConfigError("is for video files, but these data are not", key="data.cache", value="proxy")
    if exp.total_steps <= per_epoch:
        logger.warning("data.cache=proxy: has no effect, the run has one epoch, which reads the videos")
        yield from training_batches(exp, first_step, bad)
        return
    writer = None if exp.world.local_rank else ProxyWriter(_task(exp, source))
    with nullcontext() if writer is None else closing(writer):
        if first_step < per_epoch:
            yield from training_batches(exp, first_step, bad, steps=per_epoch - first_step)
        proxies = _wait(exp, source, writer, interrupt)
    if state.proxies not in ("", proxies.digest):
        logger.warning(
            "data.cache=proxy: the proxies are not those that the run has read before (another version of FFmpeg, or "
            "changed videos), so it does not continue to the bit"
        )
    source.proxies, state.proxies = proxies, proxies.digest
    yield from training_batches(exp, max(first_step, per_epoch), bad)


def _task(exp: Experiment, source: VideoSource) -> Task:
    data, root = exp.config.data, proxy_root()
    task = Task(str(root), data.cache_short_side, round(data.cache_size * _BYTES), source.videos())
    logger.info(
        f"proxies: epoch 1 reads {plural(len(task.videos), 'video')} while their proxies (MJPEG, short side "
        f"{data.cache_short_side}, at most {data.cache_size:g} GB) are written to {task.cache.folder}; later epochs "
        "read the proxies, whose pixels differ from those of the videos"
    )
    return task


def _wait(exp: Experiment, source: VideoSource, writer: ProxyWriter | None, interrupt: SignalHandler) -> Proxies:
    """Wait until the writers of all machines have ended; return the proxies."""
    world, start = exp.world, time.perf_counter()
    if writer is not None and writer.is_running:
        logger.info(f"proxies: {writer.done} of {len(writer.task.videos)} are written, waiting for the others")
    while world.all_reduce_max(writer is not None and writer.is_running):
        if interrupt.check():
            logger.info("the wait for the proxies was interrupted; it is repeated when the run is resumed")
            raise Interrupted
        time.sleep(_POLL_SECONDS)
    proxies, errors = writer.result() if writer is not None else (None, [])
    of_machines = [each for each in world.all_gather_object(proxies) if each is not None]
    if any(each.digest != of_machines[0].digest for each in of_machines):
        raise UserError(
            "data.cache=proxy: the machines have written different proxies; install the same version of PyAV on all, "
            "and check that their videos are equal"
        )
    proxies = of_machines[0] if proxies is None else proxies
    videos = len(source.videos())
    logger.info(
        f"proxies: {len(proxies)} of {plural(videos, 'video')}, {format_bytes(proxies.size)}, SHA-256 "
        f"{proxies.digest[:16]}; {time.perf_counter() - start:.0f} s of waiting"
    )
    if errors:
        logger.warning(f"proxies: {plural(len(errors), 'video')} without one, read as before; the first: {errors[0]}")
    return proxies
