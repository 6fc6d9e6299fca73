"""Export of a trained model to one file for other programs, with a JSON description; verified by running the file."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vexp
from vexp.config.instantiate import to_dict
from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.core.files import atomic_write, ensure_writable_dir, write_text
from vexp.experiment.input_shape import input_shape
from vexp.inference.predictor import Predictor
from vexp.model.adapters.config import Lora, lora_of
from vexp.model.adapters.lora import merge_adapters, save_adapters
from vexp.model.huggingface import HuggingFace
from vexp.model.localizers import Localizer
from vexp.model.weights.load import save_weights
from vexp.model.weights.safetensors_file import SUFFIX

INPUT, OUTPUT = "clips", "logits"
FORMATS = {"onnx": ".onnx", "torch": ".pt2", "safetensors": SUFFIX}
#: Largest difference between exported and original logits relative to the largest one: float32 sums in another order.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Parity:
    """Comparison of the exported with the original logits."""

    difference: float  # the largest absolute one
    largest: float  # largest absolute original logit
    fixed_batch_reason: str  # why the batch size is fixed to 1; empty if it is dynamic

    @property
    def dynamic(self) -> bool:
        """Whether the batch may have any size."""
        return not self.fixed_batch_reason


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported file; ``shape`` is that of one clip, [C, T, H, W]."""

    path: Path
    shape: list[int]
    parity: Parity


def export(predictor: Predictor, path: Path, *, form: str, split: str) -> Exported:
    """Write ``path`` and its description ``path.json``, if the exported file gives the model's logits.

    The model is moved to the CPU, and its adapters are merged. The file has the format ``form``, ``onnx`` or ``torch``
    (torch.export), and the input size of the pipeline of ``split``, val or test.

    Raises:
        UserError: If the model cannot be exported, if the logits differ, or if a package is missing.
    """
    packages = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}[form]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"format={form}: needs {', '.join(missing)}; pip install 'vexp[export]'")
    shape = input_shape(predictor.config, split)
    ensure_writable_dir(path.parent, "set out=FILE")
    _merge_adapters(predictor)
    with atomic_write(path) as temporary:
        model, option = predictor.model.to("cpu").eval(), predictor.config.model
        if isinstance(option, Localizer):
            model = WholeVideos(model, option)
        exported = Exported(path, shape, write_model(model, shape, temporary, form=form))
        description = _description(predictor, exported, temporary, form, split)
        write_text(path.with_name(f"{path.name}.json"), json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    return exported


def export_adapters(predictor: Predictor, folder: Path) -> list[str]:
    """Write the adapters and the head in the layout of peft; return the names of the files.

    Raises:
        UserError: If the model has no adapters, or the folder cannot be written.
    """
    option = predictor.config.model
    if lora_of(option) is None:
        raise UserError(f"format=adapter: {predictor.path} was trained without adapters (model.lora.rank)")
    # The adapters of a model of transformers belong to the library's own model, which is a part of vexp's.
    prefix = "model." if isinstance(option, HuggingFace) else ""
    base = option.name if isinstance(option, HuggingFace) else None
    return save_adapters(predictor.model, folder, len(predictor.classes), base=base, prefix=prefix)


def export_weights(predictor: Predictor, path: Path) -> int:
    """Write the weights, with merged adapters, the config and the classes to a safetensors file.

    Returns:
        The number of tensors.

    Raises:
        UserError: If the file cannot be written.
    """
    ensure_writable_dir(path.parent, "set out=FILE")
    _merge_adapters(predictor)
    state = predictor.model.state_dict()
    content = {"model": state, "classes": predictor.classes, "config": to_dict(predictor.config, types=True)}
    save_weights(path, {**content, "step": predictor.step, "epoch": predictor.epoch})
    return len(state)


def _merge_adapters(predictor: Predictor) -> None:
    """Merge the adapters of a model into its weights; its option then has none."""
    option: Any = predictor.config.model
    if (lora := lora_of(option)) is not None:
        merge_adapters(predictor.model, lora)
        option.lora = Lora()


def write_model(model: nn.Module, shape: list[int], path: Path, *, form: str) -> Parity:
    """Export a model in eval mode on the CPU for input of ``shape``, [C, T, H, W], and compare the file's outputs."""
    fixed_batch_reason = _export_with_fallback(model, shape, path, form)
    exported, generator = load_exported(path, form), torch.Generator().manual_seed(0)
    difference, largest = 0.0, 0.0
    with torch.no_grad(), suppress_output():
        for batch in (1,) if fixed_batch_reason else (1, 3):
            clips = torch.randn(batch, *shape, generator=generator)
            for ours, theirs in zip(_as_tuple(model(clips)), _as_tuple(exported(clips)), strict=True):
                difference = max(difference, (theirs - ours).abs().max().item())
                largest = max(largest, ours.abs().max().item())
    if not difference <= _TOLERANCE * largest:
        raise UserError(
            f"{type(model).__name__}: exported logits differ from the model's by up to {difference:.3g} (the largest "
            f"is {largest:.3g}); the file was deleted"
        )
    return Parity(difference, largest, fixed_batch_reason)


def _export_with_fallback(model: nn.Module, shape: list[int], path: Path, form: str) -> str:
    """Export for batches of any size, or for one clip if that fails; return why it failed, or ""."""
    failure = ""
    for batch in (2, 1):  # torch.export treats a size of 1 as a constant
        try:
            with torch.no_grad(), suppress_output():
                _write(model, torch.zeros(batch, *shape), path, form)
            return failure
        except Exception as error:  # tracing a model can raise anything
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            failure, cause = reason.strip()[:300], error
    raise UserError(f"{type(model).__name__}: cannot be exported: {failure}") from cause


def _write(model: nn.Module, example: Tensor, path: Path, form: str) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1)},) if len(example) > 1 else None
    if form == "torch":
        program = torch.export.export(model, (example,), dynamic_shapes=shapes)
        with path.open("wb") as file:  # for a path, torch requires the suffix .pt2
            torch.export.save(program, file)
        return
    exported: Any = torch.onnx.export(
        model,
        (example,),
        path,
        input_names=["features" if isinstance(model, WholeVideos) else INPUT],
        output_names=output_names(model),
        dynamic_shapes=shapes,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if shapes is not None and isinstance(exported.model.graph.inputs[0].shape[0], int):
        raise ValueError("the code of the model fixes the batch size")  # torch writes a file for the example's size


class WholeVideos(nn.Module):
    """A localizer as a function of the features of videos without padding; its output is a tuple of tensors."""

    def __init__(self, model: nn.Module, option: Localizer) -> None:
        super().__init__()
        self.model, self.option = model, option

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        valid = torch.ones_like(features[:, 0], dtype=torch.bool)
        outputs = self.model(*self.option.inputs(features, valid))
        return tuple(outputs[: len(self.option.exported)])


def output_names(model: nn.Module) -> list[str]:
    """Return the names of the outputs of an exported model."""
    return list(model.option.exported) if isinstance(model, WholeVideos) else [OUTPUT]


def _as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def load_exported(path: Path, form: str) -> Callable[[Tensor], Any]:
    """Return the exported model as a function to its output, or a tuple of outputs."""
    if form == "torch":
        with path.open("rb") as file:
            loaded = torch.export.load(file).module()
        return lambda clips: loaded(clips)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(clips: Tensor) -> Any:
        outputs = tuple(torch.from_numpy(part) for part in session.run(None, {name: clips.numpy()}))
        return outputs if len(outputs) > 1 else outputs[0]

    return run


def _description(predictor: Predictor, exported: Exported, file: Path, form: str, split: str) -> dict[str, Any]:
    config, parity = predictor.config, exported.parity
    is_localizer = isinstance(config.model, Localizer)
    return {
        "file": exported.path.name,
        "format": form,
        "sha256": sha256(file),
        "made_by": {"vexp": vexp.__version__, "torch": torch.__version__},
        "checkpoint": {"path": str(predictor.path), "step": predictor.step, "epoch": predictor.epoch},
        **(_features_and_segments if is_localizer else _clips_and_logits)(predictor, exported, split),
        "batch_is_fixed_because": parity.fixed_batch_reason or None,
        "classes": predictor.classes,
        "parity": {"largest_difference": parity.difference, "largest_logit": parity.largest, "tolerance": _TOLERANCE},
    }


def _clips_and_logits(predictor: Predictor, exported: Exported, split: str) -> dict[str, Any]:
    """Describe input, output and preprocessing of a classifier of clips."""
    config, norm = predictor.config, predictor.config.img_norm
    batch = "any" if exported.parity.dynamic else 1
    multi_label = bool(getattr(config.loss, "multi_label", False))
    pixels: dict[str, Any] = {"content": "heat maps of joints as the last transform draws them, not normalized"}
    if config.data.content != "joints":
        pixels = {
            "colour_order": "BGR" if norm.to_bgr else "RGB",
            "normalise": "(pixel - mean) / std, pixels 0..255, channels in colour_order",
            "mean": norm.mean,
            "std": norm.std,
        }
    return {
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "layout": "N C T H W",
            "shape": [batch, *exported.shape],
            **pixels,
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [batch, len(predictor.classes)],
            "meaning": f"logits; {'a sigmoid of each' if multi_label else 'softmax over the last axis'} gives "
            "probabilities",
        },
        "preprocessing": {
            "split": split,
            "steps": to_dict(config, types=True)["pipeline"][split if getattr(config.pipeline, split) else "val"],
            "view_reduction": config.eval.view_reduction,
        },
    }


def _features_and_segments(predictor: Predictor, exported: Exported, split: str) -> dict[str, Any]:
    """Describe input and outputs of a localizer."""
    option, data = predictor.config.model, to_dict(predictor.config, types=True)["data"]
    assert isinstance(option, Localizer)  # the caller checks
    return {
        "input": {
            "name": "features",
            "dtype": "float32",
            "layout": "N C T",
            "shape": ["any" if exported.parity.dynamic else 1, *exported.shape],
        },
        "outputs": [{"name": name, "dtype": "float32", "meaning": text} for name, text in option.exported.items()],
        "preprocessing": {key: data.get(key) for key in ("length", "stride", "window", "fps")},
    }


@contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress the deprecation warnings and log lines of exporters; the file itself is verified."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
