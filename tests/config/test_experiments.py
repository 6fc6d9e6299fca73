"""The recipes of conf/experiment: each composes, with the values of its source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.huggingface import PROCESSOR, tiny_config
from support.tables import default_lane_has

from vexp.config.compose import compose
from vexp.config.search_path import conf_dir
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.pipeline import make_clips

NAMES = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))

#: Name -> epochs, learning rate at the batch of the source, that batch, (views, frames, height, width) of the test.
PUBLISHED = {
    "tsn_k400": (100, 0.01, 8 * 32, (10, 25, 224, 224)),
    "tsn_flow_k400": (110, 0.005, 8 * 32, (10, 25 * 5, 224, 224)),
    "tsm_k400": (50, 0.01, 8 * 8, (1, 8, 224, 224)),
    "tsm_sthv2": (50, 0.0075, 8 * 6, (6, 8, 256, 256)),
    "tsm_ucf101": (25, 0.0015, 8 * 12, (1, 8, 224, 224)),
    "slowonly_k400": (256, 0.1, 8 * 8, (30, 4, 256, 256)),
    "slowfast_k400": (256, 0.1, 8 * 8, (30, 32, 256, 256)),
    "r2plus1d_k400": (180, 0.1, 8 * 8, (30, 8, 256, 256)),
    "x3d_m_k400": (300, 0.1, 8 * 16, (30, 16, 256, 256)),
    "videomae_b_k400": (75, 5e-4, 256, (15, 16, 224, 224)),
    "videomae_b_ssv2": (30, 5e-4, 256, (6, 16, 224, 224)),
    "mvit_b_k400": (200, 1.6e-3, 256, (5, 16, 224, 224)),
}


def test_conf_has_every_recipe_of_the_table() -> None:
    own = {
        "r3d_18",
        "finetune",
        "finetune_videomae",
        "finetune_vjepa2",
        "vjepa2_probe",
        "bmn_anet",
        "posec3d_motion",
        "slowonly_ava",
        "slowfast_ava",
        "actionformer_thumos",
    }
    assert set(NAMES) == set(PUBLISHED) | own


@pytest.mark.parametrize(
    ("name", "kind", "frames", "more"),
    default_lane_has(
        1,
        [
            ("finetune_videomae", "videomae", 4, []),
            ("finetune_vjepa2", "vjepa2", 16, []),
            ("vjepa2_probe", "vjepa2", 16, ["data.cache_features=true", "pipeline.train=${pipeline.val}"]),
        ],
    ),
)
def test_fine_tuning_takes_the_clips_of_the_model(
    name: str, kind: str, frames: int, more: list[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **tiny_config(kind)}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    given = [f"experiment={name}", "data=folder", "data.root=videos", f"model.name={tmp_path}", *more]
    config = compose(given)
    reader = ArrayReader(np.zeros((100, 48, 64, 3), np.uint8))
    for split in ("train", "val"):
        clips = make_clips(reader, config.pipeline.of(split), np.random.default_rng(0), lazy=True)
        assert clips.layout.view_shape == (frames, 32, 32, 3)
    assert config.amp.dtype == "bf16"
    assert config.data.batch_size * config.grad.accumulate == 32
    comment = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    assert f"vexp train experiment={name} data=folder data.root=videos" in comment
    if name.startswith("finetune"):  # the variant with adapters of the comment
        adapted = compose([*given, "model.lora.rank=16", "optimizer.lr=4e-3", "optimizer.paramwise.layer_decay=null"])
        assert adapted.model.lora.scale == 2


@pytest.mark.parametrize("name", default_lane_has(2, list(PUBLISHED)))
def test_recipe_has_values_of_its_source(name: str) -> None:
    of_flow = ["data.train.ann_file=a.txt", "data.val.ann_file=b.txt"]
    config = compose([f"experiment={name}", *(of_flow if "flow_" in name else ["data=folder", "data.root=videos"])])
    epochs, rate, batch, (views, *view) = PUBLISHED[name]
    assert config.epochs == epochs
    assert config.optimizer.scaled_lr(batch) == rate
    channels = config.model.channels
    reader = ArrayReader(np.zeros((100, 256, 340, channels), np.uint8))
    clips = make_clips(reader, config.pipeline.of("test"), np.random.default_rng(0), lazy=True)
    assert clips.layout.views == views
    assert list(clips.layout.view_shape) == [*view, channels]
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    assert "configs/" in text or "scripts/" in text  # the file that it was taken from
    assert f"experiment={name} data" in text


def test_something_something_recipe_has_no_flip() -> None:
    assert "flip" not in compose(["experiment=tsm_sthv2"]).pipeline.train
    assert "flip" in compose(["experiment=tsm_k400"]).pipeline.train


@pytest.mark.parametrize(("name", "epochs"), [("videomae_b_k400", 75), ("videomae_b_ssv2", 30)])
def test_videomae_recipe_has_learning_rates_of_its_source(name: str, epochs: int) -> None:
    """A warm-up from 0 over five epochs, then a cosine to 1e-6 / 5e-4 of the rate, both by step."""
    policy = compose([f"experiment={name}"]).lr_policy
    warmup, total = 5 * 7, epochs * 7
    cosine = 0.002 + 0.998 * (1 + np.cos(np.pi * np.arange(total - warmup) / (total - warmup))) / 2
    expected = np.concatenate((np.linspace(0, 1, warmup), cosine))
    rates = [policy.lr_at(1.0, step=step, steps_per_epoch=7, total_steps=total) for step in range(total)]
    np.testing.assert_allclose(rates, expected, atol=2e-6)


def test_videomae_something_something_recipe_differs_in_clips_and_epochs_only() -> None:
    kinetics, something = (compose([f"experiment=videomae_b_{name}"]) for name in ("k400", "ssv2"))
    assert "flip" not in something.pipeline.train
    assert something.optimizer == kinetics.optimizer
    assert something.model == kinetics.model
    assert something.blending == kinetics.blending


def test_x3d_warm_up_starts_at_a_tenth_and_ends_at_the_cosine() -> None:
    policy = compose(["experiment=x3d_m_k400"]).lr_policy
    at = [policy.lr_at(0.1, step=step, steps_per_epoch=10, total_steps=3000) for step in (0, 350, 1500)]
    np.testing.assert_allclose(at, [0.01, 0.05 * (1 + np.cos(np.pi * 350 / 3000)), 0.05], rtol=1e-3)


def test_fine_tuning_recipe_has_mean_and_std_of_its_weights() -> None:
    config = compose(["experiment=finetune"])
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's R3D_18_Weights
    np.testing.assert_allclose(config.img_norm.mean, [255 * value for value in mean], atol=0.01)
    np.testing.assert_allclose(config.img_norm.std, [255 * value for value in std], atol=0.01)
    assert Path(str(config.model.weights.path)).name == config.model.name
