"""``python -m vexp.show pipeline|sampling|batch [overrides] [out=FILE.png]``: pictures of what the net really gets.

python -m vexp.show pipeline data=folder data.root=videos       a sample after every step, up to the net's input
    split=val sample=12                                         of which split, and which of its samples
python -m vexp.show sampling pipeline=clip_16x4_112             which frames of the videos, on a time line
    draws=6 videos=3                                            epochs of training, videos of each split
python -m vexp.show batch blending=mixup                        the loader's first batches, train beside val beside test
    samples=4 draws=8                                           of each batch; of one sample

Takes the words of vexp.train, and reads the videos as a run would. Prints where the picture is and what looks wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from vexp.config.command_line import run_door, take_options
from vexp.config.compose import compose
from vexp.config.messages import ConfigError, near
from vexp.data.split_options import SPLITS
from vexp.engine.threads import let_waiting_threads_sleep
from vexp.errors import UserError

#: What can be shown, and the words of each: name -> what it is where it is not given.
SUBJECTS = {
    "pipeline": {"split": "train", "sample": "0"},
    "sampling": {"draws": "6", "videos": "3"},
    "batch": {"samples": "4", "draws": "8"},
}
_MOST = {"draws": 12, "videos": 12, "samples": 16}


def main() -> None:
    """The command line."""
    run_door(_main, __doc__)


def _main() -> None:
    if not sys.argv[1:]:
        print(__doc__)
        return
    subject, *words = sys.argv[1:]
    if subject not in SUBJECTS:
        raise ConfigError(f"{subject}: one of {', '.join(SUBJECTS)} comes first{near(subject, list(SUBJECTS))}")
    options, words = take_options(words, {**SUBJECTS[subject], "out": f"show_{subject}.png"})
    path = Path(str(options["out"])).expanduser().absolute()
    if path.suffix != ".png":
        raise ConfigError(f"out={options['out']}: must end in .png (command line)")
    numbers = {name: _number(name, options) for name in options if name not in ("out", "split")}
    split = str(options.get("split"))
    if "split" in options and split not in SPLITS:
        raise ConfigError(f"split={split}: must be one of {', '.join(SPLITS)} (command line){near(split, SPLITS)}")
    config = compose(words)
    config.data.check_files()
    let_waiting_threads_sleep()
    from vexp.engine.showing import Showing, show_batch, show_pipeline, show_sampling

    showing = Showing.of(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if subject == "pipeline":
            warnings = show_pipeline(showing, path, split=split, index=numbers["sample"])
        elif subject == "sampling":
            warnings = show_sampling(showing, path, **numbers)
        else:
            warnings = show_batch(showing, path, **numbers, say=print)
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
