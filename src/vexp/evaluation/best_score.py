"""The best score of a run so far, and the number of evaluations since."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError


@dataclass(slots=True)
class Best:
    """The strictly best score: a tie keeps the earlier one, NaN is never the best."""

    metric: str
    greater: bool
    patience: int | None = None
    score: float | None = None
    step: int = 0
    epoch: int = 0
    offered: int | None = None  # step of the latest evaluation
    waited: int = 0  # evaluations since the best one; training ends when it reaches ``patience``

    @property
    def patience_exceeded(self) -> bool:
        """Whether there were ``patience`` evaluations without improvement."""
        return self.patience is not None and self.waited >= self.patience

    def update(self, results: dict[str, float], step: int, epoch: int) -> bool:
        """Record the results of an evaluation; return whether they are the best so far."""
        if self.metric not in results:
            rule = f"is not a result of the evaluation, which are {', '.join(results)}"
            raise ConfigError(rule, key="eval.save_best", value=self.metric)
        score = float(results[self.metric])
        better = self.score is None or (score > self.score if self.greater else score < self.score)
        repeated = self.offered == step  # a resumed run may evaluate the weights of its checkpoint once more
        self.offered = step
        if math.isnan(score) or not better:
            self.waited += not repeated
            return False
        self.score, self.step, self.epoch, self.waited = score, step, epoch, 0
        return True

    def record(self) -> dict[str, Any]:
        """Return the content of best.json and of ``best`` in result.json."""
        return {"metric": self.metric, "score": self.score, "step": self.step, "epoch": self.epoch}

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return self.record() | {"offered": self.offered, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state, unless it is of another metric."""
        if state["metric"] == self.metric:
            self.score, self.step, self.epoch = state["score"], state["step"], state["epoch"]
            self.offered, self.waited = state["offered"], state["waited"]
