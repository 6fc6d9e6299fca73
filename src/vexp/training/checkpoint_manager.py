"""The checkpoints of a run: their content, their names and the record of the best one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vexp import checkpoint
from vexp.core.files import write_text
from vexp.experiment.run_dir import checkpoint_folder
from vexp.experiment.setup import Experiment
from vexp.tracking.logger import MetricLogger
from vexp.training.state import TrainState


class CheckpointManager:
    """Write checkpoints, in a background thread if ``checkpoint.background`` is set."""

    def __init__(self, exp: Experiment, folder: Path, metrics: MetricLogger, config: dict[str, Any]) -> None:
        """Configure the checkpoints of a run.

        Args:
            exp: The experiment.
            folder: Run folder.
            metrics: Logger whose records are flushed to the disk before a checkpoint.
            config: The config in plain containers, saved in every checkpoint.
        """
        self.exp = exp
        self.folder = checkpoint_folder(exp.config, folder)
        self._metrics = metrics
        self._config = config
        self._snapshot = checkpoint.Snapshot()
        self._writer = checkpoint.Background()

    def save(self, state: TrainState, *, is_best: bool, is_due: bool) -> None:
        """Write a checkpoint under the name of its step and as the last one (``is_due``), and as the best (``is_best``).

        All processes must call this together. In the background, training continues as soon as the state is copied.

        Raises:
            UserError: If this checkpoint, or the one before in the background, cannot be written.
        """
        options, exp = self.exp.config.checkpoint, self.exp
        self.wait()  # the thread reads the copy that is replaced below
        content = state.state_dict(resumable=options.save_optimizer) | {
            "epoch": exp.epoch(state.step),
            "plan": exp.plan.summary(),
            "classes": exp.classes,
            "config": self._config,
        }
        if not exp.world.is_main_process:
            return
        names = [options.name(state.step, exp.plan.steps_per_epoch), checkpoint.LAST] if is_due else []
        names += [checkpoint.BEST] if is_best else []
        best_record = _best_record(state)

        def write() -> None:
            self._metrics.sync()  # a checkpoint on the disk implies that its metrics are
            checkpoint.save(self.folder / names[0], content, also=names[1:], keep=options.max_keep_ckpts)
            self._write_best_record(best_record)

        if options.background:
            content = self._snapshot.take(content)
            self._writer.start(write)
        else:
            write()

    def repair_best_record(self, state: TrainState) -> None:
        """Rewrite best.json after a resume: the run may have been killed between best.pth and best.json."""
        self._write_best_record(_best_record(state))

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            UserError: If it cannot be written.
        """
        self._writer.join()

    def _write_best_record(self, text: str | None) -> None:
        if text is not None and (self.folder / checkpoint.BEST).exists():
            write_text(self.folder / "best.json", text)


def _best_record(state: TrainState) -> str | None:
    return None if state.best is None or state.best.score is None else json.dumps(state.best.record()) + "\n"
