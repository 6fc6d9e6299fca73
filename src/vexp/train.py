"""``python -m vexp.train [overrides]``: train a video classifier, or sweep over many with ``-m``.

python -m vexp.train optimizer=sgd lr=cosine_restart
python -m vexp.train -m lr=step,cosine optimizer=sgd,adamw
python -m vexp.train --rerun RUN [overrides]      repeat a run from its saved config, in a new folder
python -m vexp.train --resume RUN [overrides]     go on with a run in its own folder
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vexp.config.command_line import (
    as_typed,
    groups_text,
    normalize,
    report_faults,
    search_folders,
    search_path_words,
    split_flags,
)
from vexp.config.compose import Saved, read_saved, store_saved, typed
from vexp.config.messages import ConfigError
from vexp.config.origin import Origins
from vexp.config.paths import conf_dir
from vexp.config.schema import Config
from vexp.config.store import register
from vexp.engine.threads import let_waiting_threads_sleep
from vexp.errors import UserError
from vexp.model.weights_source import check as check_source

#: Exit status of a run that a signal ended with a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later".
EXIT_INTERRUPTED = 75


def run(cfg: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train with ``cfg`` into ``out_dir``; what ``result.json`` holds (see ``vexp.engine.launch.run``)."""
    let_waiting_threads_sleep()
    from vexp.engine.launch import run as run_experiment  # torch is imported once the config is known to be good

    return run_experiment(cfg, out_dir, overrides=overrides)


def main() -> None:
    """The command line."""
    report_faults(_main)


@dataclass(slots=True)
class _Door:
    """What the command line says beside the config, and what became of the jobs."""

    origins: Origins
    resume_in: Path | None = None
    finished: list[tuple[str, float]] = field(default_factory=list)  # (overrides, objective)
    failures: list[str] = field(default_factory=list)
    exit_code: int = 0

    def job(self, composed: DictConfig) -> float:
        """One run. A failing job of a sweep is reported at once and the others go on."""
        settings = HydraConfig.get()
        sweep = settings.mode == RunMode.MULTIRUN
        words = as_typed(cast(list[str], OmegaConf.to_container(settings.overrides.task, resolve=False)))
        try:
            self.origins.words = words
            config = typed(composed, settings.runtime.choices, self.origins, sweep=sweep)
            self.check_paths(config)
            folder = self.folder(config, Path(settings.sweep.dir) if sweep else None, words)
            result = run(config, folder, overrides=words)
            if result["status"] == "interrupted":
                raise SystemExit(EXIT_INTERRUPTED)  # ends a sweep, too
            self.finished.append((" ".join(words), _objective(result)))
            return self.finished[-1][1]
        except UserError as error:
            self.fail(words, sweep, f"vexp: error: {error}", 2)
        except Exception:
            self.fail(words, sweep, traceback.format_exc(), 1)
        return math.nan

    def check_paths(self, config: Config) -> None:
        """What the run will read must be there: said before torch is imported and a run folder made."""
        try:
            config.data.check_files()
            if config.resume not in (None, "auto") and not Path(str(config.resume)).expanduser().exists():
                raise UserError(f"resume={config.resume}: no such checkpoint or run folder")
            if config.resume is None:  # a run that goes on does not read them again
                own = getattr(getattr(config.model, "weights", None), "path", None)
                for key, named in (("init_from", config.init_from), ("model.weights.path", own)):
                    if named is not None:
                        check_source(key, named)
        except UserError as error:
            lines = [f"{line}{self.origins.of(line.partition('=')[0])}" for line in str(error).splitlines()]
            raise UserError("\n".join(lines)) from None

    def folder(self, config: Config, sweep_dir: Path | None, words: list[str]) -> Path:
        from vexp.engine.run_dir import job_name, make_run_dir

        if self.resume_in is not None:
            return self.resume_in
        if sweep_dir is not None:
            return make_run_dir(sweep_dir.absolute(), job_name(words))
        return make_run_dir(Path(config.out_root).expanduser().absolute() / str(config.run_name))

    def fail(self, words: list[str], sweep: bool, text: str, code: int) -> None:
        print(text, file=sys.stderr)
        self.failures.append(" ".join(words) if sweep else "")
        self.exit_code = max(self.exit_code, code) if not sweep else 1

    def conclude(self) -> None:
        """After a sweep: what each job reached, and which failed. Leaves with the exit status of the worst."""
        if len(self.finished) + len(self.failures) > 1:
            print("jobs of the sweep, by their best score:")
            for words, objective in sorted(self.finished, key=lambda job: -job[1]):
                print(f"  {objective:.4f}  {words}")
        if self.failures and self.failures[0]:
            print(f"vexp: {len(self.failures)} jobs failed: {'; '.join(self.failures)}", file=sys.stderr)
        if self.exit_code:
            raise SystemExit(self.exit_code)


def _objective(result: dict[str, Any]) -> float:
    """What a sweeper that searches gets: the best score, or the last loss."""
    if "best" in result:
        return float(result["best"]["score"])
    return float(result["metrics"].get("val/loss", math.nan))


def _main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        print(
            f"Groups and their options; any value below a group can be set, too (--cfg job shows all):\n{groups_text()}"
        )
        print("  +transform@pipeline.train.NAME=OPTION adds a step to a pipeline, ~pipeline.train.NAME leaves one out")
        return
    register()
    saved, resume_in, argv = _take_saved(sys.argv[1:])
    flags, words = split_flags(argv)
    words = normalize(words)
    folders = search_folders(flags, words)
    door = _Door(Origins(words=as_typed(words), folders=folders, saved=saved.path if saved else None), resume_in)
    name = "train"
    if saved is not None:
        name, words = "rerun", store_saved(saved, words)
        if resume_in is not None and not any(word.startswith("resume=") for word in words):
            words.append("resume=auto")
    sys.argv[1:] = [*flags, *words, *search_path_words(words)]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(door.job)()
    door.conclude()


def _take_saved(argv: Sequence[str]) -> tuple[Saved | None, Path | None, list[str]]:
    """(config to start from, folder to go on in, the other words) of ``--rerun RUN`` or ``--resume RUN``."""
    rest = list(argv)
    for flag in ("--rerun", "--resume"):
        if flag in rest:
            at = rest.index(flag)
            if at + 1 == len(rest):
                raise ConfigError(f"{flag}: name a run folder, {flag} RUN")
            folder = Path(rest[at + 1]).expanduser().absolute()
            if not (folder / "config.yaml").is_file():
                raise ConfigError(f"{flag} {rest[at + 1]}: is no run folder, it holds no config.yaml")
            del rest[at : at + 2]
            return read_saved(folder / "config.yaml"), folder if flag == "--resume" else None, rest
    return None, None, rest


if __name__ == "__main__":
    main()
