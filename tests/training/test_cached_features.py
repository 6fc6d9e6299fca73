"""Features of a frozen encoder that are computed once (``data.cache_features``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.run_files import read_checkpoint

from vexp import compose, train
from vexp.core.errors import ConfigError, UserError
from vexp.tools.plan import build_plan
from vexp.training import cached_features

RUN = [
    "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "device=cpu",
    "backend.threads=1", "log=text", "log.plots=false", "log.interval=1", "epochs=2",
    "pipeline.train.sample.test_mode=true", "~pipeline.train.crop", "~pipeline.train.flip",
]  # fmt: skip
#: The same transformer with an attentive probe, and a convolutional model with batch norm and dropout before its head.
PROBE = [
    "model=timesformer_divst", "model.num_frames=8", "model.img_size=64", "model.patch_size=32", "model.width=16",
    "model.depth=2", "model.heads=2", "model.probe=attentive", "model.probe_depth=2", "model.probe_heads=2",
    "model.freeze=[encoder]",
]  # fmt: skip
HEAD = ["model=tiny3d", "model.width=8", "model.dropout=0.3", "model.freeze=[st*]"]


@pytest.fixture(autouse=True)
def folder(motion_cache: Path) -> Path:
    """The folder of the features, empty."""
    shutil.rmtree(motion_cache / "features", ignore_errors=True)
    return motion_cache / "features"


def run(folder: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train; return the last checkpoint and the metrics without times."""
    train.run(compose([*RUN, *overrides]), folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return read_checkpoint(folder), [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    assert one[1] == other[1]
    for part in ("model", "ema"):
        for key, value in one[0].get(part, {}).items():
            assert torch.equal(value, other[0][part][key]), key


@pytest.mark.integration
@pytest.mark.parametrize("options", [[*PROBE, "ema=average"], HEAD], ids=["probe", "head"])
def test_run_with_cached_features_equals_the_run_without(options: list[str], tmp_path: Path, folder: Path) -> None:
    plain = run(tmp_path / "plain", *options)
    assert not folder.exists()
    cached = run(tmp_path / "cached", *options, "data.cache_features=true")
    assert_same(plain, cached)
    assert len(list(folder.rglob("*.safetensors"))) == 16 + 8
    log = (tmp_path / "cached" / "log.txt").read_text()
    assert "16 train videos" in log
    assert "16 computed" in log
    again = run(tmp_path / "again", *options, "data.cache_features=true")
    assert_same(plain, again)
    assert "0 computed" in (tmp_path / "again" / "log.txt").read_text()


@pytest.mark.integration
def test_run_resumes_with_the_features_that_are_there(tmp_path: Path, folder: Path) -> None:
    options = [*PROBE, "data.cache_features=true", "eval=never"]
    whole = run(tmp_path / "whole", *options)
    files = sorted(folder.rglob("*.safetensors"))
    for path in files[:5]:
        path.unlink()  # as if the run had been killed while it computed them
    run(tmp_path / "parts", *options, "max_steps=3", "epochs=null")
    assert "5 computed" in (tmp_path / "parts" / "log.txt").read_text()
    assert_same(whole, run(tmp_path / "parts", *options, "resume=auto"))


@pytest.mark.integration
def test_features_depend_on_weights_pipeline_and_precision(tmp_path: Path, folder: Path) -> None:
    options = [*PROBE, "data.cache_features=true", "eval=never", "max_steps=1", "epochs=null"]
    changes = [[], ["optimizer.lr=0.1", "model.probe_depth=1"], ["seed=1"], ["pipeline.train.sample.frame_interval=1"],
               ["amp=bf16"], ["img_norm=minus_one_to_one"]]  # fmt: skip
    counts = []
    for number, change in enumerate(changes):
        run(tmp_path / str(number), *options, *change)
        counts.append(len(list(folder.iterdir())))
    assert counts == [1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        (["pipeline.train.sample.test_mode=false"], ["pipeline.train.sample", "pipeline.train=${pipeline.val}"]),
        (["+transform@pipeline.train.mirror=flip"], ["pipeline.train.mirror", "pipeline.train=${pipeline.val}"]),
        (["blending=mixup"], ["blending=never"]),
    ],
)
def test_random_clips_are_refused_when_composed(overrides: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([*RUN, *PROBE, "data.cache_features=true", *overrides])
    assert caught.value.key == "data.cache_features"
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        ([*PROBE, "model.freeze=[encoder.backbone.blocks]"], "encoder.backbone.cls_token is trained"),
        (["model=tiny3d", "model.width=8", "model.freeze=[stem,stage1]"], "stage2.first.0.weight is trained"),
        ([*PROBE, "model.lora.rank=2", "model.freeze=[]"], "is trained"),
        (["model=tsn_r50", "model.backbone=resnet18", "model.freeze=[backbone]"], "head.dropout draws random numbers"),
    ],
)
def test_model_whose_encoder_is_not_fixed_is_refused(overrides: list[str], fragment: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=fragment):
        run(tmp_path, *overrides, "data.cache_features=true")


@pytest.mark.integration
def test_killed_run_leaves_no_partial_features(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*PROBE, "data.cache_features=true", "eval=never", "max_steps=2", "epochs=null"]
    whole = run(tmp_path / "whole", *options)
    shutil.rmtree(folder)
    save, count = cached_features.FeatureCache.save, iter(range(100))

    def killed(*args: Any) -> None:
        if next(count) == 7:
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(cached_features.FeatureCache, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", *options)
    monkeypatch.undo()
    assert len(list(folder.rglob("*.safetensors"))) == 7
    assert_same(whole, run(tmp_path / "killed", *options, "resume=auto"))
    assert "9 computed" in (tmp_path / "killed" / "log.txt").read_text()


def test_plan_of_cached_features_in_half_precision() -> None:
    plan = build_plan(compose([*RUN, *PROBE, "data.cache_features=true", "amp=bf16"]))
    assert plan.parts["cached features"].startswith("the input of probe, ")
