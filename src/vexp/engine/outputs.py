"""What a run says and leaves behind: log lines, evaluations, checkpoints, pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.data import DataLoader

from vexp import checkpoint
from vexp.config.load import to_plain
from vexp.data.batch import Batch, Failure
from vexp.data.loader import InOrder, batches_of, make_loader
from vexp.engine.experiment import Experiment
from vexp.engine.protocol import evaluation_protocol, views_text
from vexp.engine.run_dir import write_atomic
from vexp.engine.state import TrainState
from vexp.evaluation.evaluate import Evaluator
from vexp.evaluation.predictions import Predictions, measure
from vexp.evaluation.report import write_report
from vexp.optim.group_report import learning_rates
from vexp.tracking.console import RunLog, result_line, train_line
from vexp.tracking.curves import draw_curves
from vexp.tracking.sinks import JsonLines, Record, Sink, TensorBoard, read_records


class Outputs:
    """The files of one run folder and the lines on the terminal. Holds no state that a resumed run would need."""

    def __init__(self, exp: Experiment, folder: Path, log: RunLog, *, first_step: int) -> None:
        self.exp = exp
        self.folder = folder
        self.log = log
        self.checkpoints = checkpoint_folder(exp, folder)
        self.results: dict[str, float] = {}  # of the latest evaluation
        self.evaluator = Evaluator(
            criterion=exp.criterion, img_norm=exp.config.img_norm, amp=exp.config.amp, options=exp.config.eval,
            device=exp.device, say=log.say, channels_last=exp.config.backend.channels_last_on(exp.device),
        )  # fmt: skip
        self._val_loader: DataLoader[Batch | Failure] | None = None
        self._sinks: list[Sink] = [JsonLines(folder / "metrics.jsonl")]
        if exp.config.log.tensorboard:
            self._sinks.append(TensorBoard(folder / "tensorboard", first_step))

    def close(self) -> None:
        self._val_loader = None  # its workers end
        for sink in self._sinks:
            sink.close()

    @contextmanager
    def progress(self, done: int) -> Iterator[None]:
        self.log.start_progress(done, self.exp.total_steps)
        try:
            yield
        finally:
            self.log.stop_progress()

    def advance(self) -> None:
        self.log.advance(steps=1)

    def write(self, record: Record) -> None:
        for sink in self._sinks:
            sink.write(record)

    def log_training(self, state: TrainState) -> None:
        """The averages since the last line, to every sink."""
        rate = state.meter.samples_per("time/step")
        means = state.meter.mean()
        record: Record = {"mode": "train", "step": state.step, "epoch": self.exp.epoch(state.step)}
        record |= learning_rates(state.optimizer) | means
        if state.scaler.is_enabled():
            record |= {"loss_scale": state.scaler.get_scale(), "skipped_steps": state.skipped}
        record["time/clips_per_s"] = rate
        self.write(record)
        left = (self.exp.total_steps - state.step) * means["time/step"]
        line = train_line(record, epochs=self.exp.epochs, total_steps=self.exp.total_steps, seconds_left=left)
        self.log.say(line)

    def evaluate(self, state: TrainState) -> bool:
        """Measure the validation split; whether it is the best result so far, whose report is then written."""
        if self.exp.val_set is None:
            return False
        start = time.perf_counter()
        self.log.advance("evaluating")
        predictions = self._predict(state)
        results = measure(predictions, self.exp.config.eval)
        epoch = self.exp.epoch(state.step)
        record: Record = {"mode": "val", "step": state.step, "epoch": epoch, **results}
        record["time/eval"] = time.perf_counter() - start
        self.write(record)
        self.results = results
        best = state.best is not None and state.best.offer(results, state.step, epoch)
        what = f"({len(predictions.labels)} videos, {self._views(predictions)}){' best so far' if best else ''}"
        self.log.advance("training")
        self.log.say(result_line(record, what=what))
        if best or state.best is None:
            name = checkpoint.BEST if best else checkpoint.LAST
            self._report(predictions, results, state, name)
        return best

    def _predict(self, state: TrainState) -> Predictions:
        exp, val_set = self.exp, self.exp.val_set
        assert val_set is not None
        config = exp.config
        if self._val_loader is None:
            order = InOrder(len(val_set), config.data.eval_batch_size or config.data.batch_size)
            self._val_loader = make_loader(
                val_set, order, num_workers=config.data.num_workers, mp_context=config.data.mp_context,
                device=exp.device, persistent=True,
            )  # fmt: skip
        batches, name = batches_of(self._val_loader), val_set.source.name
        return self.evaluator.predict(state.evaluated_model(), batches, name=name)

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
        """Write the checkpoint of this moment, under each of the names that it earned."""
        options, exp = self.exp.config.checkpoint, self.exp
        content = state.state_dict(resumable=options.save_optimizer)
        content |= {
            "epoch": exp.epoch(state.step),
            "classes": exp.classes,
            "config": to_plain(exp.config, targets=True),
        }
        path = self.checkpoints / (options.name(state.step, exp.plan.steps_per_epoch) if periodic else checkpoint.BEST)
        checkpoint.save(path, content)
        if periodic:
            checkpoint.link(path, checkpoint.LAST)
            if best:
                checkpoint.link(path, checkpoint.BEST)
            checkpoint.prune(self.checkpoints, options.max_keep_ckpts)
        if best and state.best is not None:
            write_atomic(self.checkpoints / "best.json", json.dumps(state.best.record()) + "\n")

    def draw(self) -> None:
        """curves.png, of the whole run, what came before a resume included."""
        records = read_records(self.folder / "metrics.jsonl")
        if records:
            draw_curves(self.folder / "curves.png", records, title=str(self.exp.config.run_name))


def checkpoint_folder(exp: Experiment, folder: Path) -> Path:
    """``checkpoints/`` of the run folder, or below ``checkpoint.out_dir`` under the run folder's name."""
    out_dir = exp.config.checkpoint.out_dir
    return folder / "checkpoints" if out_dir is None else Path(out_dir).expanduser().absolute() / folder.name
