"""Export the model of a run to one file for other programs.

FILE.json is written beside it: the input (name, shape, layout, color order, mean, std, which frames), the output and
the classes. The exported file is run, and its logits are compared with the model's, before it is kept. ONNX needs
``pip install 'vexp[export]'``. ``format=safetensors`` writes the weights without the model's code, and the config and
the classes as texts into the same file; vexp evaluate, predict and init_from accept it. All of them hold the weights
with the adapters of ``model.lora`` merged; ``format=adapter`` writes the adapters and the head alone into a folder, in
the layout of peft.

Usage: vexp export run=RUN [format=onnx|torch|safetensors|adapter] [out=FILE] [checkpoint=best|last|FILE] [overrides]

Examples:
  vexp export run=RUN
  vexp export run=RUN format=torch out=model.pt2
  vexp export run=RUN format=safetensors out=weights.safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import CommandLine
from vexp.cli.trained_model import CHECKPOINT, open_run
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.inference.checkpoint import run_folder
from vexp.model.weights.safetensors_file import SUFFIX


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    run: Path = option(doc="A run folder or a checkpoint.")
    checkpoint: str | None = option(None, CHECKPOINT)
    format: str = option("onnx", "File format.", choices=("onnx", "torch", "safetensors", "adapter"))
    split: str = option("val", "Split whose pipeline defines the input.", choices=("val", "test"))
    out: Path | None = option(
        None, "File or folder to write; null: export/model.onnx, .pt2, .safetensors or adapter of the run folder."
    )


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options = arguments.options
    path, config, content = open_run(options.run, options.checkpoint, arguments)
    if config.data.task == "detection" and options.format in ("onnx", "torch"):
        rule = "models of clips alone are exported; one of detection takes boxes, too: use format=safetensors"
        raise ConfigError(rule, key="format", value=options.format)
    from vexp.inference.export import FORMATS, export, export_adapters, export_weights
    from vexp.inference.predictor import load_predictor

    config.backend.compile = False  # the uncompiled model is exported
    predictor = load_predictor(config, path, content)
    if options.format == "adapter":
        folder = options.out or run_folder(path) / "export" / "adapter"
        print(f"{folder}: {', '.join(export_adapters(predictor, folder))}, for peft.PeftModel.from_pretrained")
        return 0
    out = options.out or run_folder(path) / "export" / f"model{FORMATS[options.format]}"
    if options.format == "safetensors":
        if out.suffix != SUFFIX:
            raise ConfigError(f"must end in {SUFFIX}", key="out", value=out)
        count = export_weights(predictor, out)
        print(f"{out}: {count} tensors, {len(predictor.classes)} classes and the config")
        return 0
    result = export(predictor, out, form=options.format, split=options.split)
    parity = result.parity
    shape = ", ".join(["any" if parity.dynamic else "1", *map(str, result.shape)])
    is_localizer = config.data.task == "localization"
    outputs = "scores of segments" if is_localizer else f"{len(predictor.classes)} logits"
    print(f"{result.path}: {'features' if is_localizer else 'clips'} float32 ({shape}) -> {outputs}")
    if not parity.dynamic:
        print(f"  batch size 1 only: {parity.fixed_batch_reason}")
    print(f"  compared with the model: largest difference {parity.difference:.2g}, largest logit {parity.largest:.3g}")
    print(f"  {result.path.name}.json describes the input, the output and the classes")
    return 0
