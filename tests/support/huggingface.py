"""Tiny models of transformers with random weights, in the layout in which models are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: ``model_type`` -> values of a configuration with clips of 4 frames of 32x32 pixels.
TINY: dict[str, dict[str, Any]] = {
    "videomae": {"num_frames": 4, "image_size": 32, "patch_size": 16},
    "vivit": {"num_frames": 4, "image_size": 32, "tubelet_size": [2, 16, 16]},
    "timesformer": {"num_frames": 4, "image_size": 32, "patch_size": 16},
    "vjepa2": {
        "frames_per_clip": 4, "crop_size": 32, "patch_size": 16, "mlp_ratio": 2.0, "num_pooler_layers": 1,
        "pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
    },
    "videoprism_vision_model": {
        "num_frames": 4, "image_size": 32, "tubelet_size": [1, 16, 16], "num_spatial_layers": 2,
        "num_temporal_layers": 1, "num_auxiliary_layers": 1,
    },
}  # fmt: skip
_WIDTH = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
_NOT_OF = {"vjepa2": {"intermediate_size"}, "videoprism_vision_model": {"num_hidden_layers"}}
#: The classes of ``data=motion``.
MOTION_CLASSES = 8
PROCESSOR = {
    "do_resize": True, "size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


def tiny_config(kind: str) -> dict[str, Any]:
    """The values of a tiny configuration."""
    return {key: value for key, value in _WIDTH.items() if key not in _NOT_OF.get(kind, ())} | TINY[kind]


def tiny_model(kind: str, *, num_classes: int = 5, **values: Any) -> Any:
    """A tiny classifier of the library with random weights, none of them zero, in eval mode."""
    import torch
    from transformers import AutoConfig, AutoModelForVideoClassification

    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **{**tiny_config(kind), **values}, num_labels=num_classes)
    model = AutoModelForVideoClassification.from_config(config).eval()
    with torch.no_grad():  # biases, class tokens and position embeddings begin at zero, which would hide a lost one
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def publish(model: Any, folder: Path, *, max_shard_size: str = "5GB", processor: dict[str, Any] | None = None) -> Path:
    """Save a model as ``save_pretrained`` does, with the JSON file of its processor."""
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR if processor is None else processor))
    return folder


def library_logits(model: Any, clips: Any) -> Any:
    """The logits (N, classes) of the library's model for clips, float (N, C, T, H, W)."""
    import torch

    with torch.no_grad():
        logits = model(**{model.main_input_name: clips.permute(0, 2, 1, 3, 4)}).logits
    return logits.reshape(len(clips), -1)


#: Values of config.json of published models that determine their clips.
PUBLISHED = {
    "videomae": {"num_frames": 16, "image_size": 224, "hidden_size": 768, "num_attention_heads": 12},
    "vjepa2": {"frames_per_clip": 64, "crop_size": 256, "hidden_size": 1024, "num_attention_heads": 16},
    "vivit": {"num_frames": 32, "image_size": 224, "hidden_size": 768, "num_attention_heads": 12},
    "timesformer": {"num_frames": 8, "image_size": 224, "hidden_size": 768, "num_attention_heads": 12},
}


def fake_hub(folder: Path, patch: Any) -> None:
    """Replace downloads from the hub: a model whose name contains a ``model_type`` has its configuration."""
    from vexp.core.errors import UserError
    from vexp.model.weights import hub

    commit = folder / "snapshots" / ("0" * 40)

    def download(name: hub.HubName, file: str) -> Path:
        kind = next((kind for kind in PUBLISHED if kind in name.repository.lower().replace("-", "")), None)
        content = {"config.json": PUBLISHED.get(str(kind)), "preprocessor_config.json": PROCESSOR_224}.get(file)
        if content is None or kind is None:
            raise UserError(f"{name}: the repository has no file {file}")
        path = commit.with_name(f"{abs(hash(kind)) % 16**40:040x}") / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"model_type": kind, **content} if file == "config.json" else content))
        return path

    patch.setattr(hub, "download", download)


PROCESSOR_224 = PROCESSOR | {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
