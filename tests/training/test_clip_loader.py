"""``vexp.data.loader``: the batches of a run, for a training loop of one's own."""

import pytest
import torch

import vexp.data
from vexp import compose
from vexp.core.errors import ConfigError
from vexp.data.loading.bad_samples import BadSamples
from vexp.experiment.setup import build_experiment
from vexp.runtime.distributed import World
from vexp.training import clip_loader
from vexp.training.batches import training_batches

OVERRIDES = ["data.train_clips=2", "data.val_clips=1", "data.batch_size=6", "data.num_workers=0", "seed=3"]


def test_loader_batches_equal_those_of_a_run():
    exp = build_experiment(compose([*OVERRIDES, "epochs=2", "device=cpu"]))
    bad = BadSamples(exp.train_set, split="train", max_fraction=0.0)
    expected = list(training_batches(exp, 0, bad))  # 16 clips: batches of 6, 6, 4
    loader = vexp.data.loader(OVERRIDES)
    found = [*loader, *loader]  # two epochs
    assert len(loader) == 3
    assert len(found) == len(expected) == 6
    for batch, of_run in zip(found, expected, strict=True):
        assert batch.keys() == {"video", "label", "video_index", "video_name"}
        assert batch["video"].dtype == torch.float32
        assert torch.equal(batch["video"], exp.config.img_norm.prepare_input(of_run))
        assert torch.equal(batch["label"], of_run.labels)
        assert torch.equal(batch["video_index"], of_run.ids)
        assert batch["video_name"] == [exp.train_set.source.name(index) for index in of_run.ids.tolist()]
    loader.set_epoch(1)
    assert torch.equal(next(iter(loader))["video"], found[3]["video"])


def test_loader_of_validation_has_every_video_once_in_order():
    loader = vexp.data.loader([*OVERRIDES, "data.eval_batch_size=5"], "val")
    assert loader.classes[:2] == ["left", "right"]
    assert [len(batch["label"]) for batch in loader] == [5, 3]
    assert torch.cat([batch["video_index"] for batch in loader]).tolist() == list(range(8))
    assert len(loader) == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_loader_parts_of_processes_form_the_batches(monkeypatch, split):
    whole = list(vexp.data.loader(OVERRIDES, split))
    parts = []
    for rank in range(2):
        monkeypatch.setattr(clip_loader, "_world", lambda rank=rank: World(rank, 2))
        parts.append(list(vexp.data.loader([*OVERRIDES, "data.batch_size=3"], split)))
    indices = [[index for batch in rows for index in batch["video_index"].tolist()] for rows in (*parts, whole)]
    assert sorted(indices[0] + indices[1]) == sorted(indices[2])
    if split == "train":
        both = [torch.cat([a["video"], b["video"]]) for a, b in zip(*parts, strict=True)]
        assert all(torch.equal(a, b["video"]) for a, b in zip(both, whole, strict=True))


def test_loader_form_of_transformers():
    plain, other = (next(iter(vexp.data.loader(OVERRIDES, form=form))) for form in ("pytorchvideo", "transformers"))
    assert other.keys() == {"pixel_values", "labels"}
    assert other["pixel_values"].shape == (6, 8, 3, 64, 64)
    assert torch.equal(other["pixel_values"].transpose(1, 2), plain["video"])
    assert torch.equal(other["labels"], plain["label"])


def test_loader_of_several_views_has_a_dimension_for_them():
    overrides = [*OVERRIDES, "pipeline.val.sample.num_clips=2"]
    assert next(iter(vexp.data.loader(overrides, "val")))["video"].shape == (6, 2, 3, 8, 64, 64)
    with pytest.raises(ConfigError, match="makes 2 views of a video"):
        next(iter(vexp.data.loader(overrides, "val", form="transformers")))


@pytest.mark.parametrize(("key", "value"), [("split", "valid"), ("form", "torch")])
def test_loader_rejects_unknown_argument(key, value):
    with pytest.raises(ConfigError) as error:
        vexp.data.loader(OVERRIDES, **{key: value})
    assert (error.value.key, error.value.value) == (key, value)


def test_loader_needs_no_validation_data(tmp_path):
    with pytest.raises(ConfigError) as error:
        vexp.data.loader(["data=folder", f"data.root={tmp_path}"])
    assert "val" not in error.value.key
