"""The keys in which configs vary, in as few columns as possible."""

from pathlib import Path

import pytest

from vexp.tools.compare.columns import varying_keys
from vexp.tools.compare.runs import Run, flatten

ADAMW = {"type": "adamw", "lr": 0.003, "betas": [0.9, 0.999]}
LONG = {"clip_len": 32, "size": 64}
SGD = {"type": "sgd", "lr": 0.1, "momentum": 0.9}

MINE = {"_target_": "mine.SGD", "lr": 0.1, "type": "a"}


def run(overrides="", **config):
    base = {"optimizer": ADAMW, "seed": 0, "epochs": 2, "out_root": "runs", "pipeline": {"clip_len": 8, "size": 64}}
    typed = dict(item.split("=") for item in overrides.split())
    return Run(Path("x"), "x", flatten(base | config), overrides=typed)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # one run, and equal ones
        ([run()], {}),
        ([run(), run()], {}),
        # where a run writes is no difference
        ([run(), run(out_root="b")], {}),
        # a value
        ([run(seed=0), run(seed=1)], {"seed": ("0", "1")}),
        # an option: one column, not one of each value below it
        (
            [run("optimizer=sgd", optimizer=SGD), run("optimizer=adamw")],
            {"optimizer": ("sgd", "adamw")},
        ),
        # typed in one run only
        ([run("optimizer=sgd", optimizer=SGD), run()], {"optimizer": ("sgd", "adamw")}),
        # typed nowhere, as after --rerun
        ([run(optimizer=SGD), run()], {"optimizer": ("sgd", "adamw")}),
        # a class of the user's own has its name
        ([run(optimizer=MINE), run()], {"optimizer": ("SGD", "adamw")}),
        ([run(optimizer=MINE), run(optimizer=MINE | {"type": "b"})], {"optimizer.type": ("a", "b")}),
        # the default typed in one run and not in the other: no difference
        ([run("optimizer=adamw"), run()], {}),
        # ... and beside a third, the untyped one has the name of its class
        (
            [run("optimizer=adamw"), run(), run("optimizer=sgd", optimizer=SGD)],
            {"optimizer": ("adamw", "adamw", "sgd")},
        ),
        # an option and, beyond it, a value of its own
        (
            [
                run("optimizer=sgd optimizer.lr=0.1", optimizer=SGD),
                run("optimizer=sgd optimizer.lr=0.2", optimizer=SGD | {"lr": 0.2}),
                run("optimizer=adamw"),
            ],
            {"optimizer": ("sgd", "sgd", "adamw"), "optimizer.lr": ("0.1", "0.2", "0.003")},
        ),
        # a value that only some options have
        (
            [run(optimizer=SGD), run(optimizer=SGD | {"momentum": 0.5}), run()],
            {"optimizer": ("sgd", "sgd", "adamw"), "optimizer.momentum": ("0.9", "0.5", None)},
        ),
        # an option without a class, recognized by its values where it was not overridden
        (
            [run("pipeline=long", pipeline=LONG), run(pipeline=LONG), run()],
            {"pipeline": ("long", "long", "default")},
        ),
        # an experiment reaches everywhere, but what was typed beside it is seen
        (
            [run("experiment=a seed=0", epochs=5), run("experiment=b seed=1", epochs=9, seed=1)],
            {"experiment": ("a", "b"), "seed": ("0", "1")},
        ),
        # the same option, another default: code or YAML changed between the runs
        ([run("optimizer=adamw"), run("optimizer=adamw", epochs=3)], {"epochs": ("2", "3")}),
        # a step that one pipeline has not
        (
            [run(pipeline={"size": 8, "flip": {"type": "flip", "ratio": 0.5}}), run(pipeline={"size": 8})],
            {"pipeline.flip": ("flip", None)},
        ),
        # lists are values
        ([run(step=[8, 11]), run(step=[4])], {"step": ("[8,11]", "[4]")}),
    ],
)  # fmt: skip
def test_varying_keys_have_one_column_per_cause(runs, expected):
    found = {column.key: column.values for column in varying_keys(runs)}
    assert found == expected


def test_varying_keys_equal_cells_mean_equal_configs():
    """Every difference between two runs is visible in a column."""
    runs = [
        run(f"optimizer={name} seed={seed} optimizer.lr={lr}", optimizer=base | {"lr": lr}, seed=seed, epochs=seed % 2)
        for name, base in (("sgd", SGD), ("adamw", ADAMW))
        for lr in (0.1, 0.2)
        for seed in (0, 1, 2)
    ]
    found = varying_keys(runs)
    cells = {tuple(column.values[i] for column in found): str(r.config) for i, r in enumerate(runs)}
    assert len(cells) == len({str(r.config) for r in runs}) == len(runs)
    assert [column.key for column in found] == ["optimizer", "seed", "optimizer.lr", "epochs"]  # overridden keys first


def test_flatten_formats_values_as_on_the_command_line():
    nested = {"a": {"b": None, "c": [1, 2]}, "d": True, "e": {}, "f": 1e-08}
    assert flatten(nested) == {"a.b": "null", "a.c": "[1,2]", "d": "true", "e": "{}", "f": "1e-08"}
