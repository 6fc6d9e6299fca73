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
        """Configure the checkpoints of the run in ``folder``; ``config`` is saved in each, in plain containers."""
        self.exp = exp
        self.folder = checkpoint_folder(exp.config, folder)
        self._metrics = metrics
        self._config = config
        self._snapshot = checkpoint.Snapshot()
        self._writer = checkpoint.Background()

    def save(self, state: TrainState, *, is_best: bool, is_due: bool) -> None:
        """Write a checkpoint as that of its step and as the last one (``is_due``), and as the best (``is_best``).

        All processes must call this together. In the background, training continues as soon as the state is copied.

        Raises:
            UserError: If this checkpoint, or the one before in the background, cannot be written.
        """
        options, plan = self.exp.config.checkpoint, self.exp.plan
        self.wait()  # the thread reads the copy that is replaced below
        content = state.state_dict(resumable=options.save_optimizer) | {
            "epoch": self.exp.epoch(state.step),
            "plan": plan.summary(),
            "classes": self.exp.classes,
            "config": self._config,
        }
        if not self.exp.world.is_main_process:
            return
        names = [options.name(state.step, plan.steps_per_epoch), checkpoint.LAST] if is_due else []
        names += [checkpoint.BEST] if is_best else []
        best = state.best_record

        def write() -> None:
            self._metrics.sync()  # a checkpoint on the disk implies that its metrics are
            path, keep = self.folder / names[0], options.max_keep_ckpts
            checkpoint.save(path, content, also=names[1:], max_keep_ckpts=keep)
            self.write_best_record(best)

        if options.background:
            content = self._snapshot.take(content)
            self._writer.start(write)
        else:
            write()

    def write_best_record(self, record: dict[str, Any] | None) -> None:
        """Write best.json if there is a best checkpoint. A killed run may have left best.pth without it."""
        if record is not None and (self.folder / checkpoint.BEST).exists():
            write_text(self.folder / "best.json", json.dumps(record) + "\n")

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        self._writer.join()
