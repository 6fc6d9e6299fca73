"""Draw what the model receives, as an image.

  pipeline  one sample after every transform, up to the model's input
  sampling  the frames of the videos that are sampled, or segments and proposals, on a time line
  batch     the first batches of the loader, of train, val and test side by side

Videos are decoded as in a run. The path of the image and all warnings are printed.

Usage: vexp show pipeline [overrides] [split=train] [sample=0] [out=FILE.png]
       vexp show sampling [overrides] [draws=6] [videos=3] [answers=FILE|RUN] [out=FILE.png]
       vexp show batch    [overrides] [samples=4] [draws=8] [out=FILE.png]

Examples:
  vexp show pipeline data=folder data.root=videos split=val sample=12
  vexp show batch blending=mixup
  vexp show sampling data=motion_segments answers=RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.core.errors import ConfigError, UserError, did_you_mean
from vexp.core.fields import ValidatedConfig, option
from vexp.data.sources.splits import SPLITS

#: What can be drawn, and the options that go with it.
SUBJECTS = {"pipeline": ("split", "sample"), "sampling": ("draws", "videos", "answers"), "batch": ("samples", "draws")}


def _png_rule(path: Path) -> str | None:
    return None if path.suffix == ".png" else "must end in .png"


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    split: str = option("train", "pipeline: split of the sample.", choices=SPLITS)
    sample: int = option(0, "pipeline: index of the sample in its split.", ge=0)
    draws: int | None = option(None, "sampling: number of epochs (6); batch: draws of one sample (8).", ge=1, le=12)
    videos: int = option(3, "sampling: number of videos per split.", ge=1, le=12)
    answers: Path | None = option(
        None,
        "sampling: segments found in the videos (ActivityNet's results or a run folder), drawn below the annotated.",
    )
    samples: int = option(4, "batch: number of samples per batch.", ge=1, le=16)
    out: Path | None = option(
        None,
        "Image file; null: show_SUBJECT.png.",
        check=lambda path: None if path.suffix == ".png" else "must end in .png",
    )


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    if not arguments.rest:
        raise ConfigError(f"name what to draw: {', '.join(SUBJECTS)}; vexp show --help describes them")
    subject, *overrides = arguments.rest
    if subject not in SUBJECTS:
        hint = did_you_mean(subject, list(SUBJECTS))
        raise ConfigError(f"the first argument must be one of {', '.join(SUBJECTS)}", key=subject, hint=hint)
    options = arguments.options
    others = {name for names in SUBJECTS.values() for name in names} - {*SUBJECTS[subject]}
    for argument in argv:
        key, equals, value = argument.partition("=")
        if equals and key in others:
            rule = f"is not an option of show {subject}, which has {', '.join([*SUBJECTS[subject], 'out'])}"
            raise ConfigError(rule, key=key, value=value, origin=ORIGIN)
    path = options.out or Path(f"show_{subject}.png").absolute()
    config = arguments.compose_run(overrides)
    from vexp.tools.visualize.show import RunData, show_batch, show_pipeline, show_sampling

    data = RunData(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if subject == "pipeline":
            warnings = show_pipeline(data, path, split=options.split, index=options.sample)
        elif subject == "sampling":
            warnings = show_sampling(
                data, path, draws=options.draws or 6, videos=options.videos, answers=options.answers
            )
        else:
            warnings = show_batch(data, path, samples=options.samples, draws=options.draws or 8)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    for warning in warnings:
        print(f"warning: {warning}")
    print(f"drawn in {path}")
    return 0
