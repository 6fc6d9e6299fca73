"""A trained net as one file that other programs run, beside a contract of what goes in; checked by running it."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vexp
from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.pipeline import make_clips
from vexp.inference.predictor import Predictor

INPUT, OUTPUT = "clips", "logits"
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
#: Largest difference between exported and own logits, of the largest own one: what reordered sums in float32 cost.
_TOLERANCE = 1e-3
_FRAME_SIZES = ((256, 340), (340, 256))  # two shapes of video: a pipeline that gives one input size does so for both
_BATCHES = (1, 3)


@dataclass(frozen=True, slots=True)
class Parity:
    """``difference``: the largest between the exported and the own logits; ``largest``: of the own ones;
    ``dynamic``: whether the batch may have any size, ``why_fixed`` where not."""

    difference: float
    largest: float
    why_fixed: str

    @property
    def dynamic(self) -> bool:
        return not self.why_fixed


@dataclass(frozen=True, slots=True)
class Exported:
    """``shape``: of one clip, [C, T, H, W]."""

    path: Path
    shape: list[int]
    parity: Parity


def export(trained: Predictor, path: Path, *, form: str, split: str) -> Exported:
    """Write ``path`` and the contract ``path.json`` beside it, once the exported file gives the net's own logits.

    Args:
        trained: the net; it is moved to the CPU.
        path: of the file.
        form: ``onnx`` or ``torch`` (torch.export).
        split: whose steps of the pipeline tell the input's size: val or test.

    Raises:
        UserError: the net cannot be exported, with torch's reason; the file gives other logits; a package is missing.
    """
    needed = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}[form]
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"format={form}: needs {', '.join(absent)}; pip install 'vexp[export]'")
    shape = input_shape(trained.config, split)
    ensure_writable_dir(path.parent, "set out=FILE")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        done = Exported(path, shape, write_model(trained.model.to("cpu").eval(), shape, part, form=form))
        contract = json.dumps(_contract(trained, done, part, form, split), indent=2, ensure_ascii=False)
        path.with_name(path.name + ".json").write_text(contract + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return done


def write_model(model: nn.Module, shape: list[int], path: Path, *, form: str) -> Parity:
    """Write a net, in eval mode on the CPU, for clips of ``shape``, [C, T, H, W]; the file has then been run.

    Raises:
        UserError: the net cannot be exported, with torch's reason; the file gives other logits.
    """
    write, run = (_write_onnx, _run_onnx) if form == "onnx" else (_write_torch, _run_torch)
    why_fixed = _export_with_fallback(write, model, shape, path)
    difference, largest = _compare(model, run(path), shape, batches=(1,) if why_fixed else _BATCHES)
    if not difference <= _TOLERANCE * largest:
        raise UserError(
            f"{type(model).__name__}: the exported file gives other logits than the net: they differ by up to "
            f"{difference:.3g}, the largest is {largest:.3g}; it is not kept"
        )
    return Parity(difference, largest, why_fixed)


def input_shape(config: Config, split: str) -> list[int]:
    """[C, T, H, W] of a clip that the pipeline makes.

    Raises:
        UserError: it depends on the video.
    """
    shapes = set()
    for height, width in _FRAME_SIZES:
        reader = ArrayReader(np.zeros((2, height, width, len(config.img_norm.mean)), np.uint8))
        clips = make_clips(reader, config.pipeline.of(split), np.random.default_rng(0), lazy=config.pipeline.lazy)
        shapes.add(clips.frames.shape[1:])
    if len(shapes) > 1:
        raise UserError(f"pipeline.{split}: the size of a clip depends on the video; end it with a crop to one size")
    frames, height, width, channels = shapes.pop()
    return [channels, frames, height, width]


def _export_with_fallback(write: Callable[..., None], model: nn.Module, shape: list[int], part: Path) -> str:
    """Export for batches of any size, or where that fails for one clip; why so, or nothing.

    Raises:
        UserError: neither can be had.
    """
    why = ""
    for batch in (2, 1):  # torch.export takes a 1 for a constant
        try:
            with torch.no_grad(), suppress_output():
                write(model, torch.zeros(batch, *shape), part, dynamic=batch > 1)
        except Exception as error:  # a net may fail to be traced in any way
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            if batch == 1:
                raise UserError(f"{type(model).__name__}: cannot be exported: {reason.strip()[:300]}") from error
            why = reason.strip()[:300]
        else:
            return why
    raise AssertionError


def _write_torch(model: nn.Module, example: Tensor, path: Path, *, dynamic: bool) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    program = torch.export.export(model, (example,), dynamic_shapes=shapes)
    torch.export.save(program, path)


def _write_onnx(model: nn.Module, example: Tensor, path: Path, *, dynamic: bool) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    torch.onnx.export(
        model, (example,), path, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=shapes, dynamo=True,
        external_data=False, verbose=False,
    )  # fmt: skip


def _run_torch(path: Path) -> Callable[[Tensor], Tensor]:
    loaded = torch.export.load(path).module()
    return lambda clips: loaded(clips)


def _run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run([OUTPUT], {INPUT: clips.numpy()})[0])


def _compare(
    model: nn.Module, run: Callable[[Tensor], Tensor], shape: list[int], *, batches: tuple[int, ...]
) -> tuple[float, float]:
    """(largest difference, largest logit) of both on random clips."""
    generator = torch.Generator().manual_seed(0)
    difference, largest = 0.0, 0.0
    with torch.no_grad(), suppress_output():
        for batch in batches:
            clips = torch.randn(batch, *shape, generator=generator)
            own = model(clips)
            difference = max(difference, (run(clips) - own).abs().max().item())
            largest = max(largest, own.abs().max().item())
    return difference, largest


def _contract(trained: Predictor, done: Exported, part: Path, form: str, split: str) -> dict[str, Any]:
    config, norm = trained.config, trained.config.img_norm
    batch: int | str = "any" if done.parity.dynamic else 1
    multi_label = bool(getattr(config.loss, "multi_label", False))
    return {
        "file": done.path.name,
        "format": form,
        "sha256": sha256(part),
        "made_by": {"vexp": vexp.__version__, "torch": torch.__version__},
        "checkpoint": {"path": str(trained.path), "step": trained.step, "epoch": trained.epoch},
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "layout": "N C T H W",
            "shape": [batch, *done.shape],
            "colour_order": "BGR" if norm.to_bgr else "RGB",
            "normalise": "(pixel - mean) / std, pixels 0..255, channels in colour_order",
            "mean": norm.mean,
            "std": norm.std,
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [batch, len(trained.classes)],
            "meaning": f"logits; {'a sigmoid of each' if multi_label else 'softmax over the last axis'} gives "
            "probabilities",
        },
        "batch_is_fixed_because": done.parity.why_fixed or None,
        "preprocessing": {
            "split": split,
            "steps": to_dict(config, types=True)["pipeline"][split if getattr(config.pipeline, split) else "val"],
            "view_reduction": config.eval.view_reduction,
        },
        "classes": trained.classes,
        "parity": {
            "largest_difference": done.parity.difference,
            "largest_logit": done.parity.largest,
            "tolerance": _TOLERANCE,
        },
    }


class suppress_output:  # noqa: N801
    """Exporters talk of their own deprecations and of what they skip; what matters is whether the file is right."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._disabled)
        self._warnings.__exit__(None, None, None)
