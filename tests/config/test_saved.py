"""Saved configurations of strangers: they run no code, read no environment, and write nowhere else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.composing import compose_from_options, composing_with
from support.paths import GOLDEN_DIR
from support.tables import default_lane_has

from vexp.config.command import run_command
from vexp.config.compose import compose
from vexp.config.plugins import option_class
from vexp.config.saved import read_saved_config, saved_config
from vexp.core.errors import ConfigError, UserError

RUN = GOLDEN_DIR / "run_folders" / "by_type"
#: Commands that read a run's config.yaml or the config inside a checkpoint, as (module, arguments).
DOORS: dict[str, tuple[str, list[str]]] = {
    "evaluate": ("vexp.cli.evaluate", ["run=RUN", "device=cpu"]),
    "evaluate pth": ("vexp.cli.evaluate", ["run=RUN/checkpoints/last.pth", "device=cpu"]),
    "predict": ("vexp.cli.predict", ["run=RUN", "input=clip.mp4", "device=cpu"]),
    "features": ("vexp.cli.features", ["run=RUN", "input=clip.mp4", "out=features", "device=cpu"]),
    "export": ("vexp.cli.export", ["run=RUN", "out=model.pt2"]),
    "explain": ("vexp.cli.explain", ["run=RUN", "optimizer.lr"]),
    "rerun": ("vexp.train", ["--rerun", "RUN", "device=cpu", "max_steps=1", "epochs=null", "eval=never"]),
    "resume": ("vexp.train", ["--resume", "RUN", "device=cpu"]),
}
TOUCH = "touch PWNED"
#: Kind -> (changes of the saved configuration, fragment of the error that refuses it).
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "module attribute": (
        {"pipeline.val.x": {"_target_": "torchvision.transforms.v2.functional.os.system", "command": TOUCH}},
        "_target_=torchvision.transforms.v2.functional.os.system",
    ),
    "function of torchvision": (
        {"pipeline.val.x": {"_target_": "torchvision.datasets.utils.os.system", "command": TOUCH}},
        "a config may instantiate classes of",
    ),
    "module of vexp": (
        {"pipeline.val.x": {"_target_": "vexp.experiment.run_dir.subprocess.getoutput", "cmd": TOUCH}},
        "vexp has no transform of that name",
    ),
    "function of torch": (
        {"optimizer": {"_target_": "torch.optim.lr_scheduler.partial", "func": TOUCH}},
        "a config may instantiate only",
    ),
    "plugins": (
        {"plugins": ["os"], "pipeline.val.x": {"_target_": "os.system", "command": TOUCH}},
        "a config may instantiate classes of torch.optim, torchvision.models, torchvision.transforms.v2",
    ),
    "callbacks of hydra": (
        {"hydra": {"callbacks": {"x": {"_target_": "torch.utils.collect_env.run", "command": TOUCH}}}},
        "has no key hydra",
    ),
    "environment of hydra": ({"hydra": {"job": {"env_set": {"PATH": "evil"}}}}, "has no key hydra"),
    "defaults": ({"defaults": [{"override hydra/launcher": "joblib"}]}, "has no key defaults"),
    "unknown key": ({"data.old_key": 1}, "data.old_key"),
    "name outside": ({"run_name": "../../x"}, "run_name=../../x: must be the name of a folder"),
}  # fmt: skip


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for path, value in changes.items():
        *parents, name = path.split(".")
        node = values
        for part in parents:
            node = node[part]
        node[name] = value
    return values


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a finished run in ``tmp_path / "work"``, the working folder."""
    work = tmp_path / "work"
    shutil.copytree(RUN, work / "runs" / "foreign")
    monkeypatch.chdir(work)
    yield work / "runs" / "foreign"
    assert not list(tmp_path.rglob("PWNED"))
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def infect(run: Path, changes: dict[str, Any]) -> None:
    """Change the configuration in config.yaml and in every checkpoint; leave no checksums that would refuse them."""
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), changes), sort_keys=False))
    (run / "checkpoints" / "manifest.json").unlink()
    for path in (run / "checkpoints").glob("*.pth"):
        content = torch.load(path, weights_only=True)
        torch.save(content | {"config": changed(content["config"], changes)}, path)


def call(door: str, run: Path) -> int:
    module, arguments = DOORS[door]
    return run_command(import_module(module).main, [argument.replace("RUN", str(run)) for argument in arguments])


@pytest.mark.parametrize("attack", default_lane_has(3, ATTACKS))
def test_hostile_saved_config_is_refused(attack: str, tmp_path: Path) -> None:
    changes, fragment = ATTACKS[attack]
    values = changed(yaml.safe_load((RUN / "config.yaml").read_text()), changes)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(UserError) as refused:
        compose(saved=read_saved_config(tmp_path / "config.yaml"))
    assert fragment in str(refused.value)


@pytest.mark.parametrize(
    "attack",
    [pytest.param(name, marks=() if name == "plugins" else pytest.mark.integration) for name in ATTACKS],
)
@pytest.mark.parametrize("door", DOORS)
def test_command_refuses_hostile_saved_config(
    door: str, attack: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, fragment = ATTACKS[attack]
    infect(run, changes)
    assert call(door, run) == 2
    captured = capsys.readouterr()
    assert fragment in captured.err
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize("key", ["out_root", "checkpoint.out_dir"])
def test_rerun_does_not_write_to_place_of_saved_config(
    key: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    infect(run, {key: str(tmp_path / "elsewhere")})
    assert call("rerun", run) == 2
    assert f"{key}={tmp_path}/elsewhere: is outside of the working folder" in capsys.readouterr().err


def test_saved_config_is_read_without_interpolation(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = r"${oc.env:SECRET} \${seed} \\${seed}"
    infect(run, {"log.wandb.project": text})
    assert compose(saved=read_saved_config(run / "config.yaml")).log.wandb.project == text


def test_saved_config_does_not_choose_cache(run: Path) -> None:
    infect(run, {"data.cache_dir": "/elsewhere"})
    assert compose(saved=read_saved_config(run / "config.yaml")).data.cache_dir is None  # type: ignore[attr-defined]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def bomb() -> list[Any]:
    value: list[Any] = ["lol"]
    for _ in range(9):
        value = [value] * 9
    return value


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        (5, "the saved configuration: must be a mapping, not a whole number"),
        (None, "must be a mapping, not null"),
        ([], "must be a mapping, not a list"),
        ({1: 2}, "a key: must be text, not a whole number"),
        ({"seed": torch.zeros(1)}, "holds a value of type Tensor"),
        ({"seed": nested(100_000)}, "is nested too deeply or too large"),
        ({"seed": bomb()}, "is nested too deeply or too large"),
    ],
    ids=["number", "null", "list", "number as key", "tensor", "deep", "bomb"],
)
def test_saved_config_of_checkpoint_must_be_plain_mapping(values: Any, fragment: str) -> None:
    with pytest.raises(Exception, match=r"x\.pth: the saved configuration") as error:
        saved_config(values, Path("x.pth"))
    assert fragment in str(error.value)


BOMB = "a0: &a0 [lol]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (BOMB.encode(), "config.yaml:2: YAML aliases (*name) are not allowed"),
        (b"seed: &a {x: *a}\n", "YAML aliases"),
        (b"seed: " + b"[" * 1500 + b"]" * 1500, "config.yaml:1: more than 40 nested"),
        ("run_name: é\n".encode("latin-1"), "config.yaml:1: is not UTF-8 text"),
        (b"seed: !!int x\n", "config.yaml: is not valid YAML"),
        (b"seed: !!python/object/apply:os.system [touch PWNED]\n", "config.yaml:1:7: not valid YAML"),
        (b"a: [\n", "not valid YAML"),
        (b"", "must be a mapping, not null"),
        (b"\0\0\0", "not valid YAML"),
    ],
    ids=["bomb", "self-reference", "deep", "Latin-1", "tag", "python tag", "cut", "empty", "NUL"],
)
def test_damaged_config_yaml_is_refused_by_name(content: bytes, fragment: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"config\.yaml") as error:
        read_saved_config(path)
    assert fragment in str(error.value)


#: Values that do not have their tag, for which PyYAML raises five kinds of exceptions.
TAGS = ["!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!int '0b'"]


@pytest.mark.parametrize("value", TAGS)
def test_value_of_saved_config_without_its_tag_is_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: {value}\n")
    with pytest.raises(UserError, match=r"config\.yaml: is not valid YAML"):
        read_saved_config(path)


EXPERIMENTS = [
    (BOMB.encode(), "more than 100,000 values"),
    (b"optimizer: &a {x: *a}\n", "the YAML alias *a contains itself"),
    (b"seed: " + b"[" * 1500 + b"]" * 1500, "more than 40 nested"),
    ("run_name: é\n".encode("latin-1"), "is not UTF-8 text"),
    (b"defaults: sgd\n", "defaults must be a list"),
    (b"defaults: [null]\n", "defaults must be a list"),
    (b"# @package\nseed: 1\n", "a header line must be # @package NAME"),
    *((f"seed: {value}\n".encode(), "is not valid YAML") for value in TAGS),
]


@pytest.mark.parametrize(("content", "fragment"), EXPERIMENTS)
def test_damaged_option_file_is_refused(content: bytes, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "u.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r".") as error:
        compose(["experiment=u"], config_dirs=[tmp_path])
    assert fragment in str(error.value)
    assert "u.yaml" in str(error.value)


def test_aliases_of_option_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "u.yaml").write_text("# @package _global_\nseed: &seed 7\ngrad:\n  accumulate: *seed\n")
    config = compose(["experiment=u"], config_dirs=[tmp_path])
    assert (config.seed, config.grad.accumulate) == (7, 7)


@pytest.mark.parametrize("name", ["..", ".", "", "../../x", "/anywhere", "a/../../b", "~/x"])
@pytest.mark.parametrize("key", ["run_name", "sweep.name"])
def test_name_of_run_or_sweep_that_leaves_its_folder_is_refused(key: str, name: str) -> None:
    with (
        composing_with(compose_from_options),
        pytest.raises(ValueError, match=rf"{key}=.*must be the name of a folder"),
    ):
        compose([f"{key}='{name}'"])


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.sgd.torch.hub.load",
        "torch.optim.lr_scheduler.StepLR",
        "torch.optim.Optimizer",
        "torch.optim.SGD.__base__",
        "torch.optim.SGD.__class__",
        "torch.optim.SGD.__init__",
        "torch.optim.Adam.profile_hook_step",
        "torch.optim.swa_utils.AveragedModel",
        "torch.optim..SGD",
        "torch.optim. SGD",
        "torchvision.models.get_weight",
        "torchvision.models._utils.handle_legacy_interface",
        "torchvision.models.get_model",
        "torchvision.models.list_models",
        "torchvision.models._api.inspect.getsource",
        "torchvision.transforms.v2.functional.to_image",
    ],
)
def test_target_must_be_defined_as_option(target: str) -> None:
    with pytest.raises(ConfigError, match=rf"_target_={re.escape(target)}: "):
        option_class(target, [])


@pytest.mark.parametrize(
    "target", ["torch.optim.SGD", "torchvision.models.video.r3d_18", "torchvision.models.VisionTransformer"]
)
def test_targets_of_torch_and_torchvision_are_found(target: str) -> None:
    assert option_class(target, []).__name__ == target.rpartition(".")[2]
