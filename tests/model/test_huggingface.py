"""``model=hf``: what is read from the files of a model, and the clips and the img_norm of a run beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.huggingface import PROCESSOR, TINY, tiny_config

from vexp import compose
from vexp.config.compose import compose as compose_saved
from vexp.config.instantiate import to_dict
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.config.saved import saved_config
from vexp.core.errors import ConfigError
from vexp.model.huggingface import HuggingFace
from vexp.model.weights.metadata import pixel_statistics

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def describe(folder: Path, kind: str = "videomae", *, processor: object = PROCESSOR, **values: object) -> Path:
    """Write the JSON files of a model; it has no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **tiny_config(kind), **values}))
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return describe(tmp_path / "videomae")


def error_of(*overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        compose(["model=hf", *overrides])
    return raised.value


@pytest.mark.parametrize("kind", TINY)
def test_option_takes_clips_and_norm_of_the_model(tmp_path, kind) -> None:
    config = compose(["model=hf", f"model.name={describe(tmp_path, kind)}"])
    assert (config.img_norm.mean, config.img_norm.std) == (MEAN, STD)
    for split in ("train", "val", "test"):
        steps = config.pipeline.of(split)
        assert steps["sample"].clip_len == 4
        assert steps["sample"].frame_interval == {"vivit": 2, "timesformer": 32}.get(kind, 4)
    assert config.pipeline.train["resize"].scale == [32, 32]
    assert config.pipeline.val["resize"].scale == [-1, 36]
    assert config.pipeline.val["crop"].crop_size == config.pipeline.test["crop"].crop_size == [32, 32]


def test_typed_values_and_options_win(folder) -> None:
    config = compose(
        ["model=hf", f"model.name={folder}", "model.input.frame_interval=3", "pipeline.train.sample.frame_interval=5",
         "img_norm.mean=[123.7,116.3,103.5]"]
    )  # fmt: skip
    assert config.pipeline.train["sample"].frame_interval == 5
    assert config.pipeline.val["sample"].frame_interval == 3
    assert config.img_norm.mean == [123.7, 116.3, 103.5]


def test_values_of_the_library_change_the_clips(folder) -> None:
    config = compose(["model=hf", f"model.name={folder}", "model.config={num_frames: 8, image_size: [48, 64]}"])
    assert config.pipeline.train["sample"].clip_len == 8
    assert config.pipeline.train["resize"].scale == [64, 48]
    assert (config.model.input.width, config.model.input.height, config.model.input.short_side) == (64, 48, 54)


@pytest.mark.parametrize(
    ("overrides", "key", "mended"),
    [
        (["pipeline.train.sample.clip_len=8"], "pipeline.train.sample.clip_len", "pipeline.train.sample.clip_len=4"),
        (["pipeline.val.crop.crop_size=16"], "pipeline.val", "pipeline.val.crop.crop_size=[32,32]"),
        (["pipeline.train.resize.scale=[40,40]"], "pipeline.train", "pipeline.train.resize.scale=[32,32]"),
        (["img_norm=minus_one_to_one", "img_norm.std=[58.395,57.12,57.375]"], "img_norm.mean",
         "img_norm.mean=[123.675,116.28,103.53]"),
        (["img_norm.std=[1.0,1.0,1.0]"], "img_norm.std", "img_norm.std=[58.395,57.12,57.375]"),
    ],
)  # fmt: skip
def test_other_clips_or_norm_are_refused_with_the_overrides_that_mend_them(folder, overrides, key, mended) -> None:
    error = error_of(f"model.name={folder}", *overrides)
    assert error.key == key
    assert mended in error.hint
    fixed = mended.split(" ")
    compose(["model=hf", f"model.name={folder}", *overrides, *fixed])
    assert compose(["model=hf", f"model.name={folder}", *overrides, "model.check_input=false"])


def test_norm_of_random_weights_is_free(folder) -> None:
    assert compose(["model=hf", f"model.name={folder}", "model.pretrained=false", "img_norm=minus_one_to_one"])


def test_bgr_is_refused(folder) -> None:
    assert error_of(f"model.name={folder}", "img_norm.to_bgr=true").key == "img_norm.to_bgr"


def test_rotary_positions_allow_any_number_of_tubelets(tmp_path) -> None:
    name = f"model.name={describe(tmp_path, 'vjepa2')}"
    assert compose(["model=hf", name, "model.input.frames=6"]).pipeline.val["sample"].clip_len == 6
    error = error_of(name, "pipeline.train.sample.clip_len=7")
    assert (error.key, error.value) == ("pipeline.train.sample.clip_len", 7)
    assert "multiple of 2" in error.rule


def test_crop_that_makes_one_size_of_every_video_is_required(folder) -> None:
    error = error_of(f"model.name={folder}", "~pipeline.val.crop")
    assert error.key == "pipeline.val"
    assert "makes clips of 36x48 or 48x36 pixels" in error.rule


@pytest.mark.parametrize("file", ["video_preprocessor_config.json", "processor_config.json"])
def test_processor_of_videos_is_found(tmp_path, file) -> None:
    folder = describe(tmp_path, processor=None)
    content = PROCESSOR | {"image_mean": [0.0] * 3}
    (folder / file).write_text(json.dumps({"video_processor": content} if file.startswith("processor") else content))
    assert compose(["model=hf", f"model.name={folder}"]).img_norm.mean == [0.0, 0.0, 0.0]


def test_model_without_processor_needs_a_norm(tmp_path) -> None:
    name = f"model.name={describe(tmp_path, processor=None)}"
    error = error_of(name)
    assert error.key == "img_norm.mean"
    assert "img_norm=kinetics" in error.rule
    assert compose(["model=hf", name, "img_norm=kinetics"]).model.input.mean is None


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.485 * 255, 0.229 * 255),
        ({"do_normalize": False}, 0.0, 255.0),
        ({"do_rescale": False}, 0.485, 0.229),
        ({"rescale_factor": 1 / 127.5, "offset": True}, 1.485 * 127.5, 0.229 * 127.5),
        ({"rescale_factor": 1 / 127.5, "video_processor_type": "VivitVideoProcessor"}, 1.485 * 127.5, 0.229 * 127.5),
        ({"rescale_factor": 1 / 127.5, "image_processor_type": "VivitImageProcessor", "offset": False},
         0.485 * 127.5, 0.229 * 127.5),
    ],
)  # fmt: skip
def test_statistics_of_a_processor_are_in_gray_levels(changes, mean, std) -> None:
    statistics = pixel_statistics(PROCESSOR | changes)
    assert statistics is not None
    assert (statistics[0][0], statistics[1][0]) == (pytest.approx(mean, abs=1e-3), pytest.approx(std, abs=1e-3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VideoMAE", "Vivit", "Timesformer", "VJEPA2"])
def test_norm_is_that_of_the_processor_of_the_library(tmp_path, name) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    processor = getattr(transformers, f"{name}VideoProcessor")()
    processor.save_pretrained(tmp_path)
    statistics = pixel_statistics(json.loads((tmp_path / "video_preprocessor_config.json").read_text()))
    assert statistics is not None
    video = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)
    (values,) = processor([video], do_resize=False, do_center_crop=False, return_tensors="pt").values()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in statistics)
    torch.testing.assert_close(values[0], (video - mean) / std, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("no/such/folder", "there is no such folder"),
        ("./missing", "there is no such folder"),
        ("justaname", "no such folder here"),
        ("{tmp}", "the folder has no config.json"),
    ],
)
def test_name_of_no_model_is_refused(tmp_path, name, rule) -> None:
    error = error_of(f"model.name={name.format(tmp=tmp_path)}")
    assert error.key == "model.name"
    assert error.origin == "command line"
    assert rule in error.rule


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"model_type": 3}', "<html>"])
def test_damaged_description_is_refused(tmp_path, content) -> None:
    (tmp_path / "config.json").write_text(content)
    assert error_of(f"model.name={tmp_path}").key == "model.name"


def test_missing_name_is_asked_for() -> None:
    assert error_of().key == "model.name"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, which cannot be asked."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_name_that_is_not_cached_is_one_sentence(cache) -> None:
    error = error_of("model.name=org/videomae")
    assert error.key == "model.name"
    assert "HF_HUB_OFFLINE is set" in error.rule
    assert len(str(error).splitlines()) == 1


def test_cached_name_is_read_and_its_commit_is_saved(cache) -> None:
    repository = cache / "models--org--videomae"
    describe(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    model = compose(["model=hf", "model.name=org/videomae"]).model
    assert isinstance(model, HuggingFace)
    assert model.revision == COMMIT
    assert model.input.mean == MEAN
    assert model.weights_source() == ("model.name", f"hf://org/videomae@{COMMIT}")


def saved_values(*overrides: str) -> dict[str, object]:
    return yaml.safe_load(yaml.safe_dump(to_dict(compose(["model=hf", *overrides]), types=True), sort_keys=False))


def test_saved_run_does_not_need_the_files(folder) -> None:
    name = f"model.name={folder}"
    values = saved_values(name, "model.config={hidden_dropout_prob: 0.1}")
    for file in folder.iterdir():
        file.unlink()
    config = compose_saved(["model.drop_path=0.2"], saved=saved_config(values, Path("last.pth")))
    assert config.model.architecture["num_frames"] == 4
    assert config.model.config == {"hidden_dropout_prob": 0.1}
    assert config.model.drop_path == 0.2
    assert config.img_norm.mean == MEAN


def test_saved_run_with_another_name_reads_its_files(folder, tmp_path) -> None:
    values = saved_values(f"model.name={folder}")
    other = describe(tmp_path / "other", hidden_size=48)
    config = compose_saved([f"model.name={other}"], saved=saved_config(values, Path("last.pth")))
    assert config.model.architecture["hidden_size"] == 48


def test_option_that_chooses_others_starts_a_new_run(folder) -> None:
    saved = saved_config(to_dict(compose([]), types=True), Path("last.pth"))
    with pytest.raises(ConfigError, match="start a new run") as raised:
        compose_saved(["model=hf", f"model.name={folder}"], saved=saved)
    assert raised.value.key == "model"


def test_interpolation_of_a_file_stays_text(tmp_path) -> None:
    folder = describe(tmp_path, hidden_act="${oc.env:HOME}", _target_="os.system", auto_map={"AutoModel": "a.B"})
    model = compose(["model=hf", f"model.name={folder}"]).model
    assert model.architecture["hidden_act"] == "${oc.env:HOME}"
    assert {"_target_", "auto_map"} & model.architecture.keys() == set()


def test_folder_with_a_pickle_only_is_refused_before_the_run(folder, monkeypatch) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    monkeypatch.setattr(HuggingFace, "check_library", lambda self: None)  # imports transformers
    with pytest.raises(ConfigError, match="pickle") as raised:
        check_inputs(compose(["model=hf", f"model.name={folder}"]), Provenance())
    assert raised.value.key == "model.name"
    check_inputs(compose(["model=hf", f"model.name={folder}", "model.pretrained=false"]), Provenance())
    check_inputs(
        compose(["model=hf", f"model.name={folder}", "init_from=" + str(folder / "config.json")]), Provenance()
    )


def test_missing_library_is_one_sentence(folder, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vexp\[hf\]'"):
        compose(["model=hf", f"model.name={folder}"]).model.check_library()


def test_frames_that_the_positions_do_not_allow_are_refused_once(folder, tmp_path) -> None:
    error = error_of(f"model.name={folder}", "model.input.frames=8")
    assert (error.key, error.value) == ("model.input.frames", 8)
    assert "4, for which it has position embeddings" in error.rule
    error = error_of(f"model.name={describe(tmp_path / 'vjepa2', 'vjepa2')}", "model.input.frames=7")
    assert (error.key, error.rule.rpartition(": ")[2]) == ("model.input.frames", "a multiple of 2")


def test_misspelled_folder_is_not_asked_for_on_the_hub(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    error = error_of(f"model.name={folder.parent.name}/videomea")
    assert error.rule == f"there is no such folder in {folder.parent.name}"
    assert error.hint == f"; did you mean {folder.parent.name}/videomae?"
