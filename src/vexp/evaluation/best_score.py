"""The best score of a run so far, and how long ago that was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import UserError


@dataclass(slots=True)
class Best:
    """Keeps the strictly best score: a tie keeps the earlier one, a NaN never wins, 0 is a score like any other.

    ``offered`` is the step of the latest evaluation, ``waited`` counts the evaluations since the best one: when it
    reaches ``patience`` the run is at its end (``exhausted``).
    """

    metric: str
    greater: bool
    patience: int | None = None
    score: float | None = None
    step: int = 0
    epoch: int = 0
    offered: int | None = None
    waited: int = 0

    @property
    def patience_exceeded(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def update(self, results: dict[str, float], step: int, epoch: int) -> bool:
        """Whether these results are the best so far, which they then are.

        Raises:
            UserError: the metric is not among the results.
        """
        if self.metric not in results:
            raise UserError(f"eval.save_best={self.metric}: the evaluation gave {', '.join(results)}")
        score = float(results[self.metric])
        better = self.score is None or (score > self.score if self.greater else score < self.score)
        again = self.offered == step  # a resumed run may measure the weights of its checkpoint once more
        self.offered = step
        if math.isnan(score) or not better:
            self.waited += not again
            return False
        self.score, self.step, self.epoch, self.waited = score, step, epoch, 0
        return True

    def record(self) -> dict[str, Any]:
        """What best.json and result.json say."""
        return {"metric": self.metric, "score": self.score, "step": self.step, "epoch": self.epoch}

    def state_dict(self) -> dict[str, Any]:
        return self.record() | {"offered": self.offered, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a best score, unless it is of another metric."""
        if state["metric"] == self.metric:
            self.score, self.step, self.epoch = state["score"], state["step"], state["epoch"]
            self.offered, self.waited = state["offered"], state["waited"]
