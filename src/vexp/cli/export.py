"""``vexp export run=RUN [format=onnx|torch] [out=FILE] [checkpoint=best|last|FILE] [split=val|test]``.

Writes the net of a run (``run=`` may also be a checkpoint file) as one file for other programs, and beside it
FILE.json: what goes in (name, shape, layout, colour order, mean, std, which frames), what comes out, the classes. The
exported file is run and held against the net before it is kept. ``pip install 'vexp[export]'`` for ONNX.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vexp.config.errors import near
from vexp.config.overrides import parse_command_options, run_command
from vexp.core.errors import ConfigError
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

_ALLOWED = {"format": ("onnx", "torch"), "split": ("val", "test")}


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    names = {"run": None, "format": "onnx", "out": None, "checkpoint": None, "split": "val"}
    options, words = parse_command_options(sys.argv[1:], names)
    if options["run"] is None:
        raise ConfigError("run: name a run folder or a checkpoint, vexp export run=RUN")
    for key, allowed in _ALLOWED.items():
        if options[key] not in allowed:
            value = str(options[key])
            raise ConfigError(
                f"{key}={value}: must be one of {', '.join(allowed)} (command line){near(value, allowed)}"
            )
    path = find_checkpoint(Path(options["run"]).expanduser().absolute(), options["checkpoint"])
    set_passive_omp_wait()
    from vexp.inference.export import FORMATS, export
    from vexp.inference.predictor import load_predictor

    config, content = open_checkpoint(path, words)
    form, split = str(options["format"]), str(options["split"])
    out = Path(options["out"]).expanduser().absolute() if options["out"] else None
    config.backend.compile = False  # what is exported is the net itself
    trained = load_predictor(config, path, content)
    done = export(trained, out or run_folder(path) / "export" / f"model{FORMATS[form]}", form=form, split=split)
    batch = "any" if done.parity.dynamic else "1"
    print(f"{done.path}: clips float32 ({batch}, {', '.join(map(str, done.shape))}) -> {len(trained.classes)} logits")
    if not done.parity.dynamic:
        print(f"  one clip at a time: {done.parity.fixed_batch_reason}")
    print(
        f"  run and compared: largest difference {done.parity.difference:.2g}, largest logit {done.parity.largest:.3g}"
    )
    print(f"  {done.path.name}.json says how clips are made and what the classes are")


if __name__ == "__main__":
    main()
