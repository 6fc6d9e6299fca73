"""Statistics of batch norms for an evaluation: means over training batches, without an effect on training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.run_files import assert_same_weights, read_checkpoint, read_metrics

from vexp import compose, train
from vexp.core.errors import ConfigError
from vexp.experiment.setup import build_experiment
from vexp.training.batches import training_batches
from vexp.training.run import new_state

OVERRIDES = [
    "data.train_clips=2", "data.val_clips=1", "data.num_workers=0", "data.batch_size=4", "model.width=8", "epochs=2",
    "log=text", "log.plots=false", "log.interval=1", "device=cpu", "checkpoint.interval=1", "checkpoint.by_epoch=false",
    "checkpoint.max_keep_ckpts=-1", "eval.interval=3", "eval.by_epoch=false",
]  # fmt: skip
PRECISE = "eval.precise_bn=2"


@pytest.fixture(scope="module")
def runs(motion_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("running", []), ("precise", [PRECISE])):
        train.run(compose([*OVERRIDES, *more]), folder / name)
    return folder


@pytest.mark.integration
def test_training_is_the_same_with_precise_statistics(runs: Path) -> None:
    running, precise = (read_checkpoint(runs / name)["model"] for name in ("running", "precise"))
    differing = {key for key, value in running.items() if not torch.equal(value, precise[key])}
    assert {key.rpartition(".")[2] for key in differing} == {"running_mean", "running_var", "num_batches_tracked"}
    losses = [[record["loss"] for record in read_metrics(runs / name, "train")] for name in ("running", "precise")]
    assert losses[0] == losses[1]
    evaluated = [[record["loss"] for record in read_metrics(runs / name, "val")] for name in ("running", "precise")]
    assert evaluated[0] != evaluated[1]


@pytest.mark.integration
def test_run_with_precise_statistics_resumes_with_equal_weights(runs: Path, tmp_path: Path) -> None:
    middle = runs / "precise" / "checkpoints" / "step_3.pth"
    train.run(compose([*OVERRIDES, PRECISE, f"resume={middle}"]), tmp_path / "resumed")
    assert_same_weights(runs / "precise", tmp_path / "resumed")


@pytest.mark.integration
def test_statistics_are_means_over_the_next_batches(runs: Path) -> None:
    """The first norm's input does not depend on other norms: its statistics are those of the batches themselves."""
    state = read_checkpoint(runs / "precise", "step_3.pth")["model"]
    exp = build_experiment(compose([*OVERRIDES, PRECISE]))
    model = exp.config.model.build(len(exp.classes))
    model.load_state_dict(state)
    norm, path = next((m, n) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm3d))
    inputs: list[Any] = []
    norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        for batch in training_batches(exp, 3, None, steps=2):  # type: ignore[arg-type]
            model(exp.task.inputs(batch, training=True)[0][0])
    means = torch.stack([x.mean((0, 2, 3, 4)) for x in inputs]).mean(0)
    torch.testing.assert_close(state[f"{path}.running_mean"], means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("override", ["model.norm=group", "ema=average", "model.norm_eval=true", "model.freeze=[stem]"])
def test_precise_statistics_are_rejected_without_norms_that_take_them(override: str, motion_cache: Path) -> None:
    exp = build_experiment(compose([*OVERRIDES, PRECISE, override]))
    with pytest.raises(ConfigError) as caught:
        new_state(exp, exp.config.model.build(len(exp.classes)))
    assert caught.value.key == "eval.precise_bn"
