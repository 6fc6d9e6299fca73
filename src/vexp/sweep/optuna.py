"""Values chosen by Optuna: it proposes, jobs run as those of any sweep do, their objectives are told to the study."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from vexp.config.errors import extra_needed
from vexp.config.sweep import SearchOptions
from vexp.core.errors import UserError
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, RUNNING, Job, Objective
from vexp.sweep.overrides import values
from vexp.sweep.runner import SweepRunner

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial


def search(jobs: SweepRunner, words: Sequence[str], given: dict[str, Any]) -> int:
    """Run trials until the study has ``n_trials``; the exit status of the sweep.

    A trial that fails, or whose objective is not finite, counts as failed and the study goes on. One that was begun
    and not ended by an earlier invocation is gone on with first.

    Raises:
        UserError: optuna is not installed, an option is wrong, nothing is swept, the study was made for other values.
    """
    try:
        import optuna
    except ImportError:
        raise extra_needed("hydra/sweeper", "optuna") from None
    try:
        options = SearchOptions(**given)
    except ValueError as error:
        raise UserError(f"hydra.sweeper.{error}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    read = jobs.read(words)
    if not read.swept:
        raise UserError("hydra/sweeper=optuna: no key has values to choose from: KEY=a,b or KEY=interval(0.1,1)")
    corners = [jobs.compose([*read.fixed, *corner]) for corner in _extreme_values(read.swept)]
    objective = Objective.of(corners[0].config)
    with jobs.open():
        study = open_study(jobs, options, objective)
        run_trials(jobs, study, options, objective, at_once=options.n_jobs or _at_once(jobs))
        for trial in study.trials:  # those of earlier invocations belong to the table, too
            label, folder = jobs.locate([*read.fixed, *_words(trial)])
            cell = jobs.cells.setdefault(folder, Job([], label, folder, corners[0].config))
            if not cell.ran:
                cell.state = str(cell.result().get("status", INCOMPLETE))
    return jobs.conclude()


def run_trials(jobs: SweepRunner, study: Study, options: SearchOptions, objective: Objective, *, at_once: int) -> None:
    """Go on with the trials that were begun, then ask for new ones until there are ``n_trials``.

    Raises:
        UserError: the study was made for other values.
    """
    from optuna.trial import TrialState

    begun = study.get_trials(states=(TrialState.RUNNING,))
    done = f"{len(study.trials)} of {options.n_trials} trials before"
    print(f"search {jobs.folder}: {done}, {len(begun)} of them to go on with", flush=True)
    space = {override.get_key_element(): distribution(override) for override in jobs.words.swept}
    _run_batch(jobs, study, objective, begun)
    while not jobs.stopped and (left := options.n_trials - len(study.trials)) > 0:
        try:
            asked = [study.ask(space) for _ in range(min(left, at_once))]
        except ValueError as error:
            raise UserError(f"the study in {jobs.folder}: {error}; take another folder: sweep.name=NEW") from None
        _run_batch(jobs, study, objective, asked)


def _run_batch(jobs: SweepRunner, study: Study, objective: Objective, trials: Sequence[FrozenTrial | Trial]) -> None:
    """Some trials at the same time, and what became of each to the study."""
    from optuna.trial import TrialState

    if not trials:
        return
    cells = [jobs.compose([*jobs.words.fixed, *_words(trial)]) for trial in trials]
    for trial, cell in zip(trials, cells, strict=True):
        print(f"trial {trial.number}: {cell.label}", flush=True)
    jobs.run(cells)
    for trial, cell in zip(trials, cells, strict=True):
        value = objective.value(cell.result())
        if cell.result().get("status") == DONE and math.isfinite(value):
            study.tell(trial.number, value)
        elif _over(jobs, cell):
            study.tell(trial.number, state=TrialState.FAIL)


def _over(jobs: SweepRunner, cell: Job) -> bool:
    """Whether a trial without a value has come to its end; one that was interrupted is gone on with."""
    waits = cell.state in (CHANGED, RUNNING)
    return not waits and (cell.result().get("status") in (DONE, FAILED) or not jobs.stopped)


def open_study(jobs: SweepRunner, options: SearchOptions, objective: Objective) -> Study:
    """The study of the sweep's folder, or a new one."""
    import optuna

    url = options.storage or f"sqlite:///{jobs.folder / 'optuna.db'}"
    study = optuna.create_study(
        storage=url, study_name=jobs.folder.name, load_if_exists=True,
        direction="maximize" if objective.greater else "minimize",
    )  # fmt: skip
    # its random numbers go on, not again, where the study does
    seed = options.seed + len(study.trials)
    sampler = optuna.samplers.TPESampler if options.sampler == "tpe" else optuna.samplers.RandomSampler
    study.sampler = sampler(seed=seed)
    return study


def distribution(override: Override) -> BaseDistribution:
    """What Optuna may choose for a swept word: a choice, whole numbers of a range, or an interval.

    ``tag(log, interval(1e-4,1e-1))`` is drawn by its logarithm, ``int(interval(1,9))`` gives whole numbers.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    swept: Any = override.value()
    if isinstance(swept, IntervalSweep):
        whole = isinstance(swept.start, int) and isinstance(swept.end, int)
        kind: Any = IntDistribution if whole else FloatDistribution
        return kind(swept.start, swept.end, log="log" in swept.tags)  # type: ignore[no-any-return]
    if isinstance(swept, RangeSweep) and isinstance(steps := swept.range(), range) and steps.step > 0:
        return IntDistribution(steps[0], steps[-1], step=steps.step)
    return CategoricalDistribution([word.partition("=")[2] for word in values(override)])


def _words(trial: FrozenTrial | Trial) -> list[str]:
    return [f"{key}={value}" for key, value in trial.params.items()]


def _extreme_values(swept: Sequence[Override]) -> list[list[str]]:
    """For the check before the first trial: every value of a choice and both ends of an interval, each once."""
    axes = []
    for override in swept:
        found: Any = override.value()
        key = override.get_key_element()
        ends = [f"{key}={end}" for end in (found.start, found.end)] if isinstance(found, IntervalSweep) else None
        axes.append(ends or values(override))
    first = [axis[0] for axis in axes]
    return [first] + [[*first[:n], word, *first[n + 1 :]] for n, axis in enumerate(axes) for word in axis[1:]]


def _at_once(jobs: SweepRunner) -> int:
    """As many trials as the launcher runs at the same time."""
    count = int(jobs.config.hydra.launcher.get("n_jobs") or 1)
    return count if count > 0 else os.cpu_count() or 1
