"""Evaluation of a checkpoint, the same way as during training: same pipeline, same code, same number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import ensure_writable_dir
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.evaluation.evaluator import Evaluator
from vexp.evaluation.label_checks import check_labels, check_loss
from vexp.evaluation.predictions import measure
from vexp.evaluation.report import write_report
from vexp.experiment.protocol import evaluation_protocol, views_text
from vexp.experiment.setup import make_dataset, pick_device, with_class_weights
from vexp.model import build_model
from vexp.model.weights.load import load_exactly
from vexp.runtime.seed import set_global_switches


@dataclass(frozen=True, slots=True)
class Evaluated:
    """``results`` by public name; of which ``videos``; the ``split`` and ``pipeline`` used; where the report is."""

    results: dict[str, float]
    videos: str
    views: str
    split: str
    pipeline: str
    folder: Path


def evaluate_checkpoint(
    config: Config, path: Path, state: dict[str, Any], *, split: str, folder: Path, say: Callable[[str], None]
) -> Evaluated:
    """Measure the weights of ``state`` (the content of ``path``) on a split and write its report into ``folder``.

    A "test" without data of its own takes the videos of "val", and without steps of its own those of "val"; "train" is
    seen through the steps of "val". ``say`` is told of warnings.

    Raises:
        UserError: the split is not there, or its classes are not those of the checkpoint.
    """
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()
    device = pick_device(config.device)
    config.data.prepare()
    pipeline = "test" if split == "test" and config.pipeline.test else "val"
    dataset = make_dataset(config, split, pipeline=pipeline)
    if dataset is None and split == "test":
        split, dataset = "val", make_dataset(config, "val", pipeline=pipeline)
    if dataset is None:
        error = config.data.missing_split_error(split)
        raise UserError(f"split={split}: the data has no such split" + (f"; {error.below('data')}" if error else ""))
    source = dataset.source
    _same_classes(state["classes"], source.classes, path)
    if getattr(config.loss, "class_weights", None) == "auto":  # asked for anew: a checkpoint holds numbers
        train_set = make_dataset(config, "train")
        config = with_class_weights(config, train_set.source if train_set is not None else source)
    check_loss(source, getattr(config.loss, "multi_label", None))
    for warning in check_labels(
        config.eval, source, len(source.classes), split=split, multi_label=source.multi_label
    ):
        say(f"warning: {warning}")
    ensure_writable_dir(folder, "set out=FOLDER")
    model = build_model(config.model, len(source.classes), pretrained=False)
    load_exactly(model, state, str(path))
    model = config.backend.prepare(model, device)
    batches = SequentialSampler(len(dataset), config.data.eval_batch_size or config.data.batch_size)
    loader = make_loader(dataset, batches, config.data, device, persistent=False)
    bad = BadSamples(dataset, split=split, max_fraction=config.data.max_bad_fraction)
    evaluator = Evaluator(
        criterion=config.loss.build().to(device), img_norm=config.img_norm, amp=config.amp, options=config.eval,
        device=device, say=say, channels_last=config.backend.channels_last_on(device),
    )  # fmt: skip
    predictions = evaluator.predict(model, iterate_batches(loader, bad), name=source.name)
    predictions = replace(predictions, unscored=bad.unscored(predictions.ids.tolist()))
    results = measure(predictions, config.eval)
    views = views_text(config, pipeline, predictions.views)
    protocol = evaluation_protocol(
        config, split=split, pipeline=pipeline, views=views, checkpoint=path, step=state["step"], epoch=state["epoch"]
    )
    write_report(
        folder, predictions, results,
        classes=source.classes, name=source.name, protocol=protocol, options=config.eval,
    )  # fmt: skip
    return Evaluated(results, predictions.counted, views, split, pipeline, folder)


def _same_classes(trained: list[str], found: list[str], path: Path) -> None:
    if trained != found:
        different = [f"{a} / {b}" for a, b in zip(trained, found, strict=False) if a != b] or ["their number"]
        raise UserError(
            f"{path}: was trained on {len(trained)} classes, the data has {len(found)}; they differ in {different[0]}: "
            "give the class names of the training (data.classes=FILE)"
        )
