"""What a run says and leaves behind: log lines, evaluations, checkpoints, pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from vexp import checkpoint
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.data.loading.bad_samples import FILE_NAME, BadSamples
from vexp.data.loading.dataloader import Item, SequentialSampler, available_workers, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.evaluation.evaluator import Evaluator
from vexp.evaluation.predictions import Predictions, measure
from vexp.evaluation.report import write_report
from vexp.experiment.protocol import evaluation_protocol, views_text
from vexp.experiment.run_dir import checkpoint_folder
from vexp.experiment.setup import Experiment
from vexp.optim.param_group_table import learning_rates
from vexp.runtime.signals import Interrupted, SignalHandler
from vexp.tracking.backends import INDEX_FIELDS, Record, read_records
from vexp.tracking.console import RunLog, result_line, train_line
from vexp.tracking.curves import draw_curves
from vexp.tracking.data_wait import DataWaitMeter, verdict
from vexp.tracking.logger import MetricLogger
from vexp.training.state import TrainState

_HINT_AFTER = 3  # log lines: the first tells of the workers' start


class Recorder:
    """The files of one run folder and the lines on the terminal. Holds no state that a resumed run would need.

    Of several processes the first writes and speaks; the others take part in what takes all of them.
    """

    def __init__(self, exp: Experiment, folder: Path, log: RunLog, *, first_step: int) -> None:
        self.exp = exp
        self.folder = folder
        self.log = log
        self.checkpoints = checkpoint_folder(exp.config, folder)
        self.results = last_results(read_records(folder / "metrics.jsonl"))
        self.waiting = DataWaitMeter()
        self.evaluator = Evaluator(
            criterion=exp.criterion, img_norm=exp.config.img_norm, amp=exp.config.amp, options=exp.config.eval,
            device=exp.device, say=log.say, channels_last=exp.config.backend.channels_last_on(exp.device),
        )  # fmt: skip
        self._val_loader: DataLoader[Item] | None = None
        self._val_bad: BadSamples | None = None
        self._config = to_dict(exp.config, types=True)
        self._board = MetricLogger(
            folder if exp.processes.first else None, exp.config.log, log.say, first_step=first_step, config=self._config
        )
        self._snapshot = checkpoint.Snapshot()
        self._saving = checkpoint.Background()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._val_loader = None  # its workers end
        if isinstance(error, KeyboardInterrupt):  # the second Ctrl-C: at once
            self._board.leave()
            return  # a checkpoint that is being written stays a temporary file
        try:
            self._saving.join()
        except UserError as failed:
            if error is None:
                raise
            self.log.say(f"warning: {failed}")
        finally:
            self._board.close()

    @contextmanager
    def progress(self, done: int) -> Iterator[None]:
        if self.exp.config.log.progress:
            self.log.start_progress(done, self.exp.total_steps)
        try:
            yield
        finally:
            self.log.stop_progress()

    def advance(self) -> None:
        self.log.advance(steps=1)

    def log_training(self, state: TrainState) -> None:
        """The averages since the last line, to every sink."""
        rate = state.meter.samples_per("time/step")
        means = state.meter.mean()
        record: Record = {"mode": "train", "step": state.step, "epoch": self.exp.epoch(state.step)}
        record |= learning_rates(state.optimizer) | means
        if state.scaler.is_enabled():
            record |= {"loss_scale": state.scaler.get_scale(), "skipped_steps": state.skipped}
        record["time/clips_per_s"] = rate
        record |= memory_used(self.exp.device)
        self._board.write(record)
        left = (self.exp.total_steps - state.step) * means["time/step"]
        line = train_line(record, epochs=self.exp.epochs, total_steps=self.exp.total_steps, seconds_left=left)
        self.log.say(line)
        self.waiting.add(means["time/data"], means["time/step"])
        if self.waiting.lines == _HINT_AFTER and (hint := self.input_verdict()):
            self.log.say(hint)

    def input_verdict(self) -> str:
        """Whether training waits for its data and what would help; "" if it does not."""
        workers, cores = self.exp.config.data.num_workers, available_workers()
        return verdict(self.waiting.share, workers=cores if workers is None else workers, cores=cores)

    def evaluate(self, state: TrainState, stop: SignalHandler) -> bool:
        """Measure the validation split; whether it is the best result so far, whose report is then written.

        A signal ends it between two batches: nothing is measured then, and ``state.unmeasured`` says so.
        """
        state.evaluation_pending = self.exp.val_set is not None
        if not state.evaluation_pending:
            return False
        start = time.perf_counter()
        self.log.advance("evaluating")
        try:
            predictions = self._predict(state, stop)
        except Interrupted:
            self.log.say("the evaluation is cut short; the run goes on with it")
            return False
        state.evaluation_pending = False
        results = measure(predictions, self.exp.config.eval) if predictions is not None else {}
        results = self.exp.processes.broadcast_object(results)
        self.results = results
        epoch = self.exp.epoch(state.step)
        best = state.best is not None and state.best.update(results, state.step, epoch)
        self.log.advance("training")
        if predictions is not None:
            record: Record = {"mode": "val", "step": state.step, "epoch": epoch, **results}
            record["time/eval"] = time.perf_counter() - start
            self._board.write(record)
            self._say_results(record, predictions, best=best)
            if best or state.best is None:
                self._report(predictions, results, state, checkpoint.BEST if best else checkpoint.LAST)
        return best

    def _say_results(self, record: Record, predictions: Predictions, *, best: bool) -> None:
        what = f"({predictions.counted}, {self._views(predictions)}){' best so far' if best else ''}"
        within = record["step"] % self.exp.plan.steps_per_epoch != 0
        self.log.say(result_line(record, within=within, what=what))
        if predictions.unscored and self.exp.val_set is not None:
            names = [self.exp.val_set.source.name(index) for index in predictions.unscored]
            self.log.say(f"not scored, as they cannot be read ({FILE_NAME}): {', '.join(names)}")

    def _predict(self, state: TrainState, stop: SignalHandler) -> Predictions | None:
        """The predictions of all processes; None in those that have handed theirs over to the first.

        Raises:
            Stopped: by a signal.
        """
        exp, val_set = self.exp, self.exp.val_set
        assert val_set is not None
        config, processes = exp.config, exp.processes
        order = SequentialSampler(
            len(val_set), config.data.eval_batch_size or config.data.batch_size,
            rank=processes.rank, world_size=processes.size,
        )  # fmt: skip
        if self._val_loader is None:
            self._val_loader = make_loader(val_set, order, config.data, exp.device, persistent=True)
        bad = self._val_bad = self._val_bad or self.bad_samples(val_set, "val")
        batches, name = stop.between(iterate_batches(self._val_loader, bad), order.rounds), val_set.source.name
        scored = self.evaluator.score(state.evaluated_model(), batches, name=name)
        bad.sync()
        parts = processes.gather(scored)
        if not processes.first:
            return None
        predictions = self.evaluator.predictions(parts)
        unscored = bad.unscored(predictions.ids.tolist())
        assert unscored.keys() <= bad.errors.keys(), "a video that can be read was not scored"
        return replace(predictions, unscored=unscored)

    def bad_samples(self, dataset: ClipDataset, split: str) -> BadSamples:
        """Who counts the samples of a split that cannot be made, and writes them into the run folder."""
        fraction, processes = self.exp.config.data.max_bad_fraction, self.exp.processes
        bad = BadSamples(
            dataset, split=split, max_fraction=fraction, path=self.folder / FILE_NAME,
            all_gather=None if processes.alone else processes.all_gather_object, writes=processes.first,
        )  # fmt: skip
        bad.load()
        return bad

    def _views(self, predictions: Predictions) -> str:
        return views_text(self.exp.config, "val", predictions.views)

    def _report(self, predictions: Predictions, results: dict[str, float], state: TrainState, name: str) -> None:
        exp = self.exp
        assert exp.val_set is not None
        protocol = evaluation_protocol(
            exp.config, split="val", pipeline="val", views=self._views(predictions),
            checkpoint=self.checkpoints / name, step=state.step, epoch=exp.epoch(state.step),
        )  # fmt: skip
        write_report(
            self.folder / "eval", predictions, results,
            classes=exp.classes, name=exp.val_set.source.name, protocol=protocol,
            options=exp.config.eval,
        )  # fmt: skip

    def save(self, state: TrainState, *, best: bool, periodic: bool) -> None:
        """Write the checkpoint of this moment, under each of the names that it earned. All processes must ask together.

        With checkpoint.background training goes on as soon as the state has been copied in memory.

        Raises:
            UserError: this one, or the one that was being written, cannot be written.
        """
        options, exp = self.exp.config.checkpoint, self.exp
        self._saving.join()  # before the copy that it is writing changes
        content = state.state_dict(resumable=options.save_optimizer) | {
            "epoch": exp.epoch(state.step),
            "plan": exp.plan.summary(),
            "classes": exp.classes,
            "config": self._config,
        }
        if not exp.processes.first:
            return
        names = [options.name(state.step, exp.plan.steps_per_epoch), checkpoint.LAST] if periodic else []
        names += [checkpoint.BEST] if best else []

        score = _best_text(state)

        def write() -> None:
            self._board.sync()  # what the checkpoint counts on is on the disk before it
            checkpoint.save(self.checkpoints / names[0], content, also=names[1:], keep=options.max_keep_ckpts)
            self._write_best(score)

        if options.background:
            content = self._snapshot.take(content)
            self._saving.start(write)
        else:
            write()

    def mend(self, state: TrainState) -> None:
        """After a resume: a kill may have come between best.pth and best.json."""
        self._write_best(_best_text(state))

    def _write_best(self, text: str | None) -> None:
        if text is not None and (self.checkpoints / checkpoint.BEST).exists():
            write_text(self.checkpoints / "best.json", text)

    def finish_saving(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        self._saving.join()

    def draw(self) -> None:
        """curves.png, of the whole run, what came before a resume included."""
        records = read_records(self.folder / "metrics.jsonl")
        if records:
            draw_curves(self.folder / "curves.png", records, title=str(self.exp.config.run_name))


def last_results(records: Sequence[Record]) -> dict[str, float]:
    """The results of the latest evaluation; none before the first."""
    last = next((record for record in reversed(records) if record["mode"] == "val"), {})
    return {name: value for name, value in last.items() if name not in INDEX_FIELDS and not name.startswith("time/")}


def _best_text(state: TrainState) -> str | None:
    return None if state.best is None or state.best.score is None else json.dumps(state.best.record()) + "\n"


def memory_used(device: torch.device) -> dict[str, float]:
    """The most memory that this process has held so far, and that its tensors have on a GPU, in MB."""
    used = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
        used["time/peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if device.type == "cuda":
        used["time/peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return used
