"""The best score of a run so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vexp.errors import UserError


@dataclass(slots=True)
class Best:
    """Keeps the strictly best score: a tie keeps the earlier one, a NaN never wins, 0 is a score like any other."""

    metric: str
    greater: bool
    score: float | None = None
    step: int = 0
    epoch: int = 0

    def offer(self, results: dict[str, float], step: int, epoch: int) -> bool:
        """Whether these results are the best so far, which they then are.

        Raises:
            UserError: the metric is not among the results.
        """
        if self.metric not in results:
            raise UserError(f"eval.save_best={self.metric}: the evaluation gave {', '.join(results)}")
        score = float(results[self.metric])
        better = self.score is None or (score > self.score if self.greater else score < self.score)
        if math.isnan(score) or not better:
            return False
        self.score, self.step, self.epoch = score, step, epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "score": self.score, "step": self.step, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a best score, unless it is of another metric."""
        if state["metric"] == self.metric:
            self.score, self.step, self.epoch = state["score"], state["step"], state["epoch"]
