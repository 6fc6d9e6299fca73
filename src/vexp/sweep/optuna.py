"""Search with Optuna: it proposes values, jobs run as in any sweep, and the study receives their objectives."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from vexp.config.errors import extra_needed
from vexp.config.sweep import SearchOptions
from vexp.core.errors import UserError
from vexp.sweep.job_overrides import values
from vexp.sweep.job_state import CHANGED, DONE, FAILED, INCOMPLETE, RUNNING, Job, Objective
from vexp.sweep.run_sweep import SweepRunner

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial


def search(runner: SweepRunner, overrides: Sequence[str], option_values: dict[str, Any]) -> int:
    """Run trials until the study has ``n_trials``; return the exit status of the sweep.

    A trial that fails, or whose objective is not finite, counts as failed, and the study continues. Trials that an
    earlier invocation started and did not finish are resumed first.

    Raises:
        UserError: If optuna is not installed, an option is invalid, nothing is swept, or the study has other values.
    """
    try:
        import optuna
    except ImportError:
        raise extra_needed("hydra/sweeper", "optuna") from None
    try:
        options = SearchOptions(**option_values)
    except ValueError as error:
        raise UserError(f"hydra.sweeper.{error}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    read = runner.read(overrides)
    if not read.swept:
        raise UserError("hydra/sweeper=optuna: no key has values to choose from: KEY=a,b or KEY=interval(0.1,1)")
    config, *_ = [runner.compose([*read.fixed, *values]).config for values in _extreme_values(read.swept)]
    objective = Objective.of(config)
    at_once = int(runner.config.hydra.launcher.get("n_jobs") or 1)  # jobs that the launcher runs
    with runner.open():
        study = open_study(runner, options, objective)
        max_parallel = options.n_jobs or (at_once if at_once > 0 else os.cpu_count() or 1)
        run_trials(runner, study, options, objective, max_parallel=max_parallel)
        for trial in study.trials:  # the table includes the trials of earlier invocations
            label, folder = runner.locate(_job_overrides(runner, trial))
            job = runner.jobs.setdefault(folder, Job([], label, folder, config))
            if not job.ran:
                job.state = str(job.result().get("status", INCOMPLETE))
    return runner.exit_status()


def run_trials(
    runner: SweepRunner, study: Study, options: SearchOptions, objective: Objective, *, max_parallel: int
) -> None:
    """Resume unfinished trials, then run new ones until there are ``n_trials``.

    Raises:
        UserError: If the study has other values.
    """
    from optuna.trial import TrialState

    unfinished = study.get_trials(states=(TrialState.RUNNING,))
    before = f"{len(study.trials)} of {options.n_trials} trials before"
    print(f"search {runner.folder}: {before}, {len(unfinished)} of them to resume", flush=True)
    space = {override.get_key_element(): distribution(override) for override in runner.overrides.swept}
    _run_batch(runner, study, objective, unfinished)
    while not runner.stopped and (remaining := options.n_trials - len(study.trials)) > 0:
        try:
            trials = [study.ask(space) for _ in range(min(remaining, max_parallel))]
        except ValueError as error:
            raise UserError(f"the study in {runner.folder}: {error}; choose another folder: sweep.name=NEW") from None
        _run_batch(runner, study, objective, trials)


def _run_batch(runner: SweepRunner, study: Study, objective: Objective, trials: Sequence[FrozenTrial | Trial]) -> None:
    """Run trials in parallel, and pass their results to the study; an interrupted trial is resumed later."""
    from optuna.trial import TrialState

    jobs = [runner.compose(_job_overrides(runner, trial)) for trial in trials]
    for trial, job in zip(trials, jobs, strict=True):
        print(f"trial {trial.number}: {job.label}", flush=True)
    runner.run(jobs)
    for trial, job in zip(trials, jobs, strict=True):
        status, value = job.result().get("status"), objective.value(job.result())
        if status == DONE and math.isfinite(value):
            study.tell(trial.number, value)
        elif job.state not in (CHANGED, RUNNING) and (status in (DONE, FAILED) or not runner.stopped):
            study.tell(trial.number, state=TrialState.FAIL)


def open_study(runner: SweepRunner, options: SearchOptions, objective: Objective) -> Study:
    """Load the study of the sweep's folder, or create it."""
    import optuna

    url = options.storage or f"sqlite:///{runner.folder / 'optuna.db'}"
    study = optuna.create_study(
        storage=url, study_name=runner.folder.name, load_if_exists=True,
        direction="maximize" if objective.greater else "minimize",
    )  # fmt: skip
    sampler = optuna.samplers.TPESampler if options.sampler == "tpe" else optuna.samplers.RandomSampler
    # A resumed study must not repeat the random numbers of its first trials.
    study.sampler = sampler(seed=options.seed + len(study.trials))
    return study


def distribution(override: Override) -> BaseDistribution:
    """Return the Optuna distribution of a swept override: a choice, the integers of a range, or an interval.

    ``tag(log, interval(1e-4,1e-1))`` is sampled on a log scale, ``int(interval(1,9))`` yields integers.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        integer = isinstance(value.start, int) and isinstance(value.end, int)
        factory: Any = IntDistribution if integer else FloatDistribution
        return factory(value.start, value.end, log="log" in value.tags)  # type: ignore[no-any-return]
    if isinstance(value, RangeSweep) and isinstance(steps := value.range(), range) and steps.step > 0:
        return IntDistribution(steps[0], steps[-1], step=steps.step)
    return CategoricalDistribution([choice.partition("=")[2] for choice in values(override)])


def _job_overrides(runner: SweepRunner, trial: FrozenTrial | Trial) -> list[str]:
    return [*runner.overrides.fixed, *(f"{key}={value}" for key, value in trial.params.items())]


def _extreme_values(swept: Sequence[Override]) -> list[list[str]]:
    """Return every value of a choice and both ends of an interval, each once, to check before the first trial."""
    axes = []
    for override in swept:
        value: Any = override.value()
        ends = (value.start, value.end) if isinstance(value, IntervalSweep) else None
        axes.append([f"{override.get_key_element()}={end}" for end in ends] if ends else values(override))
    first = [axis[0] for axis in axes]
    return [first] + [[*first[:i], value, *first[i + 1 :]] for i, axis in enumerate(axes) for value in axis[1:]]
