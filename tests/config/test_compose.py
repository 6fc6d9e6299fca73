"""The configuration that overrides compose to."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from support.paths import GOLDEN_DIR
from support.tables import default_lane_has

from vexp import compose
from vexp.config.instantiate import to_dict
from vexp.config.options import options
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir
from vexp.data.transforms.crops import CenterCrop, ThreeCrop
from vexp.optim.lr_policy import Cosine, CosineRestart

#: The values of ``pipeline=model_input`` that are those of ``model=hf``.
MODEL_INPUT = [
    *(
        f"pipeline.{split}.sample.{key}=8"
        for split in ("train", "val", "test")
        for key in ("clip_len", "frame_interval")
    ),
    *(f"pipeline.{split}.resize.scale=[64,64]" for split in ("train", "val", "test")),
    *(f"pipeline.{split}.crop.crop_size=64" for split in ("val", "test")),
]

GROUPS = sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())
FILES = sorted(conf_dir().rglob("*.yaml"))
#: What an option needs beside itself.
LISTS = ["data.train.ann_file=a.txt", "data.val.ann_file=b.txt"]
NEEDED = {
    **{("data", name): LISTS for name in ("video_list", "raw_frames", "kinetics", "ucf101", "hmdb51")},
    ("data", "something_something"): [*LISTS, "~pipeline.train.flip"],  # left and right differ in meaning
    ("data", "folder"): ["data.root=videos"],
    # Its ten crops mirror, which changes the classes of data=motion.
    ("experiment", "tsn_k400"): ["data=folder", "data.root=videos"],
    ("experiment", "tsn_flow_k400"): LISTS,
    ("model", "hf"): [f"model.name={GOLDEN_DIR / 'huggingface' / 'videomae'}", "model.check_input=false"],
    # Beside another model than model=hf, the values that they take from it.
    ("img_norm", "model_input"): ["img_norm.mean=[1,1,1]", "img_norm.std=[1,1,1]"],
    ("pipeline", "model_input"): MODEL_INPUT,
    ("pipeline", "model_input_augmented"): MODEL_INPUT,
    ("transform", "torchvision"): ["pipeline.train.added._target_=torchvision.transforms.v2.RandomGrayscale"],
}


#: Rows that choose the options of other tasks than recognition, and of skeletons.
SEGMENTS = ["data.features=features", *LISTS]
OTHER_TASKS = [
    ["data=motion_segments", "model=actionformer_tiny", "eval=segments", "pipeline=features"],
    ["data=activitynet", "model=bmn", "loss=bmn", "eval=proposals", *SEGMENTS],
    ["data=thumos", "model=actionformer", "loss=actionformer", "eval=segments_thumos", *SEGMENTS],
    ["experiment=bmn_anet", *SEGMENTS],
    ["experiment=actionformer_thumos", *SEGMENTS],
    ["data=motion_boxes", "model=tiny3d_boxes", "eval=boxes", "pipeline=key_frames_8x2_64"],
    ["data=ava", "model=slowonly_r50_ava", "loss=focal", "pipeline=key_frames_4x16_256", *LISTS],
    ["data=ava", "model=slowfast_r50_ava", *LISTS],
    ["data=skeleton", "model=posec3d_c3d", "pipeline=skeleton", *LISTS],
    [
        "data=motion_skeleton",
        "model=posec3d",
        "pipeline=skeleton",
        "pipeline.test.target.double=false",
        "transform@pipeline.train.compact=pose_compact",
        "transform@pipeline.train.target=generate_pose_target",
    ],
    ["experiment=slowonly_ava", "data=ava", *LISTS],
    ["experiment=slowfast_ava", "data=ava", *LISTS],
]


def test_conf_has_a_folder_for_every_group_of_the_schema() -> None:
    fields = {field.name for field in dataclasses.fields(Config)}
    assert set(GROUPS) - {"transform", "experiment", "debug", "hydra"} <= fields
    nested = {name for name, hint in get_type_hints(Config).items() if dataclasses.is_dataclass(hint)}
    assert nested <= set(GROUPS)


#: Groups whose options restrict each other: composed one option at a time, beside an option of every other group.
SHAPING = ("data", "pipeline", "transform", "experiment", "debug")
#: Experiments that need ``model=hf`` and its files; tests/config/test_experiments.py composes them.
OF_THE_HUB = ("finetune_videomae", "finetune_vjepa2", "vjepa2_probe")
#: The packages of the launchers.
LAUNCHERS = {"parallel": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher"}


def options_of(group: str) -> list[list[str]]:
    """The overrides that choose each option of a group, with what it needs."""
    names = [path.stem for path in FILES if path.parent == conf_dir() / group]
    if group == "transform":
        return [added_step(name) for name in names]
    return [
        [f"{group}={name}", *NEEDED.get((group, name), [])]
        for name in names
        if name not in OF_THE_HUB and (name not in LAUNCHERS or find_spec(f"hydra_plugins.{LAUNCHERS[name]}"))
    ]


def added_step(name: str) -> list[str]:
    """The overrides that add a step to the training pipeline."""
    if name not in options()["transform"]:
        return [f"+transform@pipeline.train.added={name}", *NEEDED[("transform", name)]]
    step = options()["transform"][name]
    key, sign = ("sample", "") if hasattr(step, "indices") else ("added", "+")
    given = {"scale_range": "[256,320]", "input_size": "64", "size": "64", "scale": "[-1,64]", "crop_size": "64"}
    overrides = [f"{sign}transform@pipeline.train.{key}={name}", "data=folder", "data.root=videos"]
    overrides += [f"pipeline.train.{key}.{f.name}={given[f.name]}" for f in dataclasses.fields(step) if f.name in given]
    if name in ("pose_compact", "generate_pose_target"):
        return [f"transform@pipeline.train.{name.rpartition('_')[2]}={name}"]
    if name.startswith("uniform_sample"):  # the samplers of other pipelines have a frame_interval
        steps = [f"+transform@pipeline.train.sample={name}", "+transform@pipeline.val.sample=sample_frames"]
        lengths = [f"pipeline.{split}.sample.clip_len=8" for split in ("train", "val")]
        overrides = ["pipeline=features", *steps, *lengths, "data=folder", "data.root=videos"]
    if name == "segment_frames":
        overrides.append("pipeline=segments_8_224")  # other pipelines give their sampler a clip_len
    return overrides


def rows() -> list[list[str]]:
    """Few command lines that choose every option there is. A composition takes a fifth of a second."""
    others = {word for row in OTHER_TASKS for word in row} - {*LISTS, "loss=focal"}
    groups = {path.parent.relative_to(conf_dir()).as_posix() for path in FILES if path.parent != conf_dir()}
    shaping, experiments = (
        [overrides for group in chosen for overrides in options_of(group) if overrides[0] not in others]
        for chosen in ([group for group in SHAPING if group != "experiment"], ["experiment"])
    )
    columns = [
        [overrides for overrides in options_of(group) if overrides[0] not in others]
        for group in sorted(groups - set(SHAPING))
    ]
    rows = zip_longest(shaping, *columns, fillvalue=[])
    return [*([word for overrides in row for word in overrides] for row in rows), *experiments, *OTHER_TASKS]


# The first rows choose options of many groups; the others add one or a few, whose files are also read without Hydra.
@pytest.mark.parametrize("overrides", default_lane_has(5, rows()), ids=" ".join)
def test_compose_accepts_every_option(overrides: list[str]) -> None:
    assert isinstance(compose(overrides), Config)


def test_every_option_class_has_a_yaml_file() -> None:
    assert len(FILES) >= 60  # the parametrised test above looked at them
    for group, classes in options().items():
        files = "".join(path.read_text() for path in (conf_dir() / group).glob("*.yaml"))
        for name in classes:  # families of nets are chosen by the names of their nets
            chosen = (conf_dir() / group / f"{name}.yaml").is_file() or f"/schema/{group}/{name}@" in files
            assert chosen, f"{group}={name} cannot be chosen"


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_yaml_file_repeats_no_default(path: Path) -> None:
    """A default is written once, in the dataclass: an option's file says only what differs from it."""
    classes = options().get(path.parent.name, {})
    cls = classes.get(path.stem)
    fields = {f.name: f for f in dataclasses.fields(Config)}
    if cls is None and path.parent.name in fields:
        factory = fields[path.parent.name].default_factory
        cls = factory if isinstance(factory, type) else None
    if cls is None:
        return
    defaults = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]
        for f in dataclasses.fields(cls)
        if not (f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    }
    values = yaml.safe_load(path.read_text()) or {}
    restated = {key: value for key, value in values.items() if key in defaults and to_dict(defaults[key]) == value}
    assert not restated, f"{path} restates {restated}"


def test_compose_takes_lr_as_alias_of_lr_policy() -> None:
    assert compose(["lr=cosine_restart"]) == compose(["lr_policy=cosine_restart"])
    config = compose(["lr=cosine", "lr.min_lr=0.001"])
    assert isinstance(config.lr_policy, Cosine)
    assert config.lr_policy.min_lr == 0.001


def test_compose_of_readme_command_gives_its_options() -> None:
    config = compose(["optimizer=sgd", "lr=cosine_restart"])
    assert isinstance(config.lr_policy, CosineRestart)
    assert type(config.optimizer).__name__ == "SGD"


def test_compose_merges_defaults_experiment_debug_and_overrides_in_that_order() -> None:
    assert compose(["experiment=r3d_18"]).epochs == 45
    replaced = compose(["experiment=r3d_18", "lr=cosine_restart"]).lr_policy
    assert replaced == CosineRestart(warmup="linear", warmup_iters=10, warmup_by_epoch=True)
    assert compose(["experiment=r3d_18", "debug=fast"]).epochs == 1
    assert compose(["debug=fast", "epochs=3", "experiment=r3d_18"]).epochs == 3


@pytest.mark.parametrize(
    ("overrides", "epochs", "max_steps"),
    [
        (["data.default_epochs=9"], 9, None),  # the data option's own length
        (["epochs=3"], 3, None),
        (["max_steps=7"], None, 7),  # no epochs=null needed beside it
    ],
)
def test_compose_sets_length_of_training(overrides: list[str], epochs: int | None, max_steps: int | None) -> None:
    config = compose(overrides)
    assert (config.epochs, config.max_steps) == (epochs, max_steps)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [([], "motion"), (["experiment=r3d_18"], "r3d_18"), (["debug=fast"], "debug"), (["run_name=mine"], "mine")],
)
def test_compose_names_run_after_experiment_or_data(overrides: list[str], name: str) -> None:
    assert compose(overrides).run_name == name


def test_compose_changes_removes_and_replaces_transforms_by_name() -> None:
    assert compose(["pipeline.train.crop.area_range=[0.2,1.0]"]).pipeline.train["crop"].area_range == [0.2, 1.0]
    assert list(compose(["~pipeline.train.flip"]).pipeline.train) == ["sample", "crop", "resize"]
    replaced = compose(["pipeline=clip_16x4_224", "transform@pipeline.test.crop=center_crop"]).pipeline.test
    assert isinstance(replaced["crop"], CenterCrop)
    assert isinstance(compose(["pipeline=clip_16x4_224"]).pipeline.test["crop"], ThreeCrop)


def test_two_configs_share_no_list() -> None:
    first, second = compose([]), compose([])
    first.img_norm.mean[0] = -1.0
    assert second.img_norm.mean[0] != -1.0


def test_compose_finds_options_of_user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose(["experiment=mine"], config_dirs=[tmp_path]).seed == 7
    assert compose(["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"]).seed == 7
    monkeypatch.setenv("VEXP_CONFIG_PATH", str(tmp_path))
    assert compose(["experiment=mine"]).seed == 7


def test_compose_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys, vexp; vexp.compose(['lr=cosine']); "
        "print([m for m in ('torch', 'torchvision', 'cv2', 'av', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
