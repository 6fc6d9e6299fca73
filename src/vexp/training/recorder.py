"""Logging, evaluation, checkpointing and plotting of a run; ``vexp.experiment.eval_save_schedule`` decides when."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vexp import checkpoint
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.data.loading.bad_samples import FILE_NAME, BadSamples
from vexp.data.loading.dataloader import available_workers
from vexp.data.loading.dataset import ClipDataset
from vexp.evaluation.predictions import SplitPredictions
from vexp.experiment.setup import Experiment
from vexp.experiment.split_evaluator import SplitEvaluator
from vexp.optim.lr_table import learning_rates
from vexp.runtime.signals import Interrupted, SignalHandler
from vexp.tracking.backends import INDEX_FIELDS, Record, read_records
from vexp.tracking.console import RunLog, result_line, train_line
from vexp.tracking.curves import draw_curves
from vexp.tracking.data_wait import DataWaitMeter, data_wait_hint
from vexp.tracking.logger import MetricLogger
from vexp.training.checkpoint_manager import CheckpointManager
from vexp.training.nonfinite import check_finite
from vexp.training.precise_bn import update_batch_norms
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

_HINT_AFTER = 3  # log lines; the first ones include the start of the workers


class Recorder:
    """Record the metrics, evaluations and checkpoints of a run in its folder.

    Nothing is logged, evaluated or saved after a step that was not finite: each method checks that first. A recorder
    has no state that a resumed run needs. In a run of several processes all call its methods; the main one writes.
    """

    def __init__(self, exp: Experiment, folder: Path, log: RunLog, *, first_step: int) -> None:
        """Open the files of a run in its folder; ``first_step`` is the first one (1-based) of this process."""
        self.exp = exp
        self.folder = folder
        self.log = log
        self.schedule = exp.schedule
        self.results = last_results(read_records(folder / "metrics.jsonl"))
        self.data_wait = DataWaitMeter()
        self.train_bad_samples = self._bad_samples(exp.train_set, "train")
        self.val_evaluator: SplitEvaluator | None = None
        if exp.val_set is not None:
            bad = self._bad_samples(exp.val_set, "val")
            self.val_evaluator = SplitEvaluator(exp.task, bad, exp.world)
        config, is_main = to_dict(exp.config, types=True), exp.world.is_main_process
        self.metrics = MetricLogger(folder if is_main else None, exp.config.log, first_step=first_step, config=config)
        self.checkpoints = CheckpointManager(exp, folder, self.metrics, config)

    def _bad_samples(self, dataset: ClipDataset, split: str) -> BadSamples:
        world = self.exp.world
        bad = BadSamples(
            dataset,
            split=split,
            max_fraction=self.exp.config.data.max_bad_fraction,
            path=self.folder / FILE_NAME,
            all_gather=None if world.is_single_process else world.all_gather_object,
            writes=world.is_main_process,
        )
        bad.load()
        return bad

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.val_evaluator = None  # ends the workers of its loader
        if isinstance(error, KeyboardInterrupt):  # a second Ctrl-C: an unfinished checkpoint stays a temporary file
            self.metrics.abandon()
            return
        try:
            self.checkpoints.wait()
        except UserError as failure:
            if error is None:
                raise
            logger.warning(str(failure))
        finally:
            self.metrics.close()

    @contextmanager
    def progress(self, done: int) -> Iterator[None]:
        """Show a progress bar for the duration of the block, if ``log.progress`` is set."""
        if self.exp.config.log.progress:
            self.log.start_progress(done, self.exp.total_steps)
        try:
            yield
        finally:
            self.log.stop_progress()

    def record(self, state: TrainState, values: dict[str, Any]) -> None:
        """Add the metrics of the step that ``state`` has just completed; write a log line if one is due."""
        plan, step = self.exp.plan, state.step
        by_epoch = self.exp.config.log.by_epoch
        if by_epoch and (step - 1) % plan.steps_per_epoch == 0:
            state.meter.restart()
        state.meter.add(step, sum(plan.batch_sizes(step - 1)), values)
        self.log.advance(steps=1)
        self.train_bad_samples.sync()
        if state.nonfinite > self.exp.config.grad.max_nonfinite_steps:
            self._check_finite(state)
        if self.schedule.logs_after(step):
            self._log_training(state)
        if by_epoch and step % plan.steps_per_epoch == 0:
            self._check_finite(state)  # the meter restarts with the next step, so check steps without a log line

    def _check_finite(self, state: TrainState) -> None:
        check_finite(self.exp, state, self.folder)

    def _log_training(self, state: TrainState) -> None:
        self._check_finite(state)
        exp, rate, means = self.exp, state.meter.samples_per("time/step"), state.meter.mean()
        record: Record = {"mode": "train", "step": state.step, "epoch": exp.epoch(state.step)}
        record |= learning_rates(state.optimizer) | means
        if state.scaler.is_enabled():
            record |= {"loss_scale": state.scaler.get_scale(), "skipped_steps": state.skipped}
        record |= {"time/clips_per_s": rate * exp.config.data.train.repeat_augment} | memory_used(exp.device)
        self.metrics.write(record)
        seconds_left = (exp.total_steps - state.step) * means["time/step"]
        samples = "videos" if exp.config.data.content == "features" else "clips"
        logger.info(
            train_line(
                record, epochs=exp.epochs, total_steps=exp.total_steps, seconds_left=seconds_left, samples=samples
            )
        )
        self.data_wait.add(means["time/data"], means["time/step"])
        if self.data_wait.lines == _HINT_AFTER and (hint := self.data_wait_hint()):
            logger.info(hint)

    def data_wait_hint(self) -> str:
        """Return a hint if training waits for its data; empty otherwise."""
        workers, cores = self.exp.config.data.num_workers, available_workers()
        return data_wait_hint(self.data_wait.share, workers=cores if workers is None else workers, cores=cores)

    def evaluate(self, state: TrainState, interrupt: SignalHandler) -> bool:
        """Evaluate on the validation split; return whether the result is the best so far, whose report is written.

        A signal interrupts it between two batches without a result; ``state.evaluation_pending`` is then true.
        """
        self._check_finite(state)
        state.evaluation_pending = self.val_evaluator is not None
        if self.val_evaluator is None:
            return False
        start = time.perf_counter()
        self.log.advance("evaluating")
        update_batch_norms(self.exp, state, self.train_bad_samples)
        try:
            with state.parallel.whole(state.evaluated_model) as model:
                predictions = self.val_evaluator.predict(model, interrupt)
        except Interrupted:
            logger.info("the evaluation was interrupted; it is repeated when the run is resumed")
            return False
        state.evaluation_pending = False
        results = self.exp.task.measure(predictions) if predictions is not None else {}
        self.results = results = self.exp.world.broadcast_object(results)
        epoch = self.exp.epoch(state.step)
        is_best = state.best is not None and state.best.update(results, state.step, epoch)
        self.log.advance("training")
        if predictions is not None:  # in the main process
            record: Record = {"mode": "val", "step": state.step, "epoch": epoch, **results}
            record["time/eval"] = time.perf_counter() - start
            self.metrics.write(record)
            self._log_results(record, predictions, is_best=is_best)
            if is_best or state.best is None:
                path = self.checkpoints.folder / (checkpoint.BEST if is_best else checkpoint.LAST)
                self.val_evaluator.write_report(
                    self.folder / "eval",
                    predictions,
                    results,
                    pipeline="val",
                    weights={"checkpoint": str(path), "step": state.step, "epoch": epoch},
                )
        return is_best

    def _log_results(self, record: Record, predictions: SplitPredictions, *, is_best: bool) -> None:
        counted = predictions.counted, self.exp.task.views_text(predictions, "val")
        what = f"({', '.join(filter(None, counted))}){' best so far' if is_best else ''}"
        within = record["step"] % self.exp.plan.steps_per_epoch != 0
        logger.info(result_line(record, within=within, what=what))
        if predictions.unscored and self.val_evaluator is not None:
            names = [self.val_evaluator.dataset.source.name(index) for index in predictions.unscored]
            logger.info(f"not scored, unreadable ({FILE_NAME}): {', '.join(names)}")

    def save(self, state: TrainState, *, is_best: bool, is_due: bool) -> None:
        """Write a checkpoint (see ``CheckpointManager.save``)."""
        self._check_finite(state)
        self.checkpoints.save(state, is_best=is_best, is_due=is_due)

    def finish(self, state: TrainState) -> None:
        """Wait until the last checkpoint is on the disk, and check the last steps."""
        self.checkpoints.wait()
        self._check_finite(state)

    def draw_curves(self) -> None:
        """Draw curves.png for the whole run, including the part before a resume, if ``log.plots`` is set."""
        records = read_records(self.folder / "metrics.jsonl")
        if records and self.exp.config.log.plots:
            draw_curves(self.folder / "curves.png", records, title=str(self.exp.config.run_name))


def last_results(records: Sequence[Record]) -> dict[str, float]:
    """Return the results of the latest evaluation; empty before the first one."""
    last = next((record for record in reversed(records) if record["mode"] == "val"), {})
    return {name: value for name, value in last.items() if name not in INDEX_FIELDS and not name.startswith("time/")}


def memory_used(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process, and of its tensors on a GPU, in MB."""
    used = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
        used["time/peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if device.type == "cuda":
        used["time/peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    if device.type == "mps":  # no peak is kept, but freed memory stays with the allocator
        used["time/peak_gpu_mb"] = torch.mps.driver_allocated_memory() / 1e6
    return used
