"""``vexp show pipeline|sampling|batch [overrides] [out=FILE.png]``: pictures of what the net really gets.

vexp show pipeline data=folder data.root=videos       a sample after every step, up to the net's input
    split=val sample=12                                         of which split, and which of its samples
vexp show sampling pipeline=clip_16x4_112             which frames of the videos, on a time line
    draws=6 videos=3                                            epochs of training, videos of each split
vexp show batch blending=mixup                        the loader's first batches, train beside val beside test
    samples=4 draws=8                                           of each batch; of one sample

Takes the words of vexp.train, and reads the videos as a run would. Prints where the picture is and what looks wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from vexp.config.compose import compose
from vexp.config.errors import near
from vexp.config.overrides import parse_command_options, run_command
from vexp.core.errors import ConfigError, UserError
from vexp.data.sources.splits import SPLITS
from vexp.runtime.threads import set_passive_omp_wait

#: What can be shown, and the words of each: name -> what it is where it is not given.
SUBJECTS = {
    "pipeline": {"split": "train", "sample": "0"},
    "sampling": {"draws": "6", "videos": "3"},
    "batch": {"samples": "4", "draws": "8"},
}
_MOST = {"draws": 12, "videos": 12, "samples": 16}


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    if not sys.argv[1:]:
        print(__doc__)
        return
    subject, *words = sys.argv[1:]
    if subject not in SUBJECTS:
        raise ConfigError(f"{subject}: one of {', '.join(SUBJECTS)} comes first{near(subject, list(SUBJECTS))}")
    options, words = parse_command_options(words, {**SUBJECTS[subject], "out": f"show_{subject}.png"})
    path = Path(str(options["out"])).expanduser().absolute()
    if path.suffix != ".png":
        raise ConfigError(f"out={options['out']}: must end in .png (command line)")
    numbers = {name: _number(name, options) for name in options if name not in ("out", "split")}
    split = str(options.get("split"))
    if "split" in options and split not in SPLITS:
        raise ConfigError(f"split={split}: must be one of {', '.join(SPLITS)} (command line){near(split, SPLITS)}")
    config = compose(words)
    config.data.check_files()
    set_passive_omp_wait()
    from vexp.tools.visualize.show import RunData, show_batch, show_pipeline, show_sampling

    showing = RunData.from_config(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if subject == "pipeline":
            warnings = show_pipeline(showing, path, split=split, index=numbers["sample"])
        elif subject == "sampling":
            warnings = show_sampling(showing, path, **numbers)
        else:
            warnings = show_batch(showing, path, **numbers)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    for warning in warnings:
        print(f"warning: {warning}")
    print(f"drawn in {path}")


def _number(name: str, options: Mapping[str, str | None]) -> int:
    text = str(options[name])
    least, most = (0, None) if name == "sample" else (1, _MOST[name])
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        up_to = f" to {most}" if most is not None else ""
        raise ConfigError(f"{name}={text}: must be a number from {least}{up_to} (command line)")
    return int(text)


if __name__ == "__main__":
    main()
