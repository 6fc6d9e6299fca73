"""Every key of every option has a doc, a type, a unit and a source; related keys exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vexp.config.keys import Key, all_keys, config_keys, key_paths, parts_of, related
from vexp.config.options import options
from vexp.tools.explain.former_names import SLOWFAST, WRITTEN_OUT, Names, former_names

LEAVES = [key for key in all_keys() if not key.holds_keys]
COUNTED = re.compile(
    r"(number of|length of|lengths of|frames|samples|steps|epochs|seconds|pixels|clips|layers|processes) "
)


def by_path(path: str, owner: str) -> Key:
    return next(key for key in all_keys() if key.path == path and key.owner.__name__ == owner)


def test_options_have_every_option_of_every_group() -> None:
    """So that the tests below hold for all: each class of each group has a key, and each key of it is in the list."""
    found = {(key.path.partition(".")[0], key.owner) for key in all_keys()}
    assert found >= {(group, cls) for group, classes in options().items() for cls in classes.values()}
    assert {"epochs", "eval.interval", "data.train.ann_file", "optimizer.paramwise.custom_keys"} <= set(key_paths())


def test_key_paths_of_the_shipped_schema_are_those_of_the_classes() -> None:
    paths = {key.path for key in all_keys() if not key.path.startswith("transform.")}
    assert key_paths() == tuple(sorted(paths))


def test_every_key_has_doc_type_unit_and_source() -> None:
    for key in all_keys():
        name = f"{key.owner.__name__}.{key.name}: {key.doc}"
        assert len(key.doc.split()) >= 2, name
        assert key.doc.replace(" ", "_").lower() != key.name, f"{name} only says its name again"
        assert not re.match(r"(of|the same|this|that|it|its)\b", key.doc), f"{name} does not stand alone"
        assert key.source() is not None, name
    for key in LEAVES:
        name = f"{key.owner.__name__}.{key.name}: {key.doc}"
        assert "any" not in key.type_text.split(), f"{name}: say what it accepts"
        counts = re.match("int|float|list of int", key.type_text) and COUNTED.match(key.doc)
        assert key.unit != "none" or not counts, f"{name}: say its unit"


@pytest.mark.parametrize(
    ("path", "owner", "type_text", "range_text", "unit", "default"),
    [
        ("lr_policy.warmup_iters", "Cosine", "int", ">= 0", "steps (epochs)", "0"),
        ("lr_policy.warmup", "Step", "text or null", "constant, linear, exp", "none", "null"),
        ("lr_policy.step", "Step", "int or list of int, or null", "", "epochs (steps)", "null"),  # annotated Any
        ("lr_policy.gamma", "Exp", "float", "> 0 and <= 1", "none", "0.9"),
        ("transform.area_range", "RandomResizedCrop", "list of 2 float", "> 0 and <= 1", "none", "[0.08,1.0]"),
        ("transform.clip_len", "SampleFrames", "int", ">= 1", "frames", "must be given"),
        ("data.flip_label_map", "Motion", "dict of text", "", "none", "{}"),
        ("img_norm.std", "ImgNorm", "list of float", "> 0", "gray levels", "[58.395,57.12,57.375]"),
        ("eval.by_epoch", "Eval", "true or false", "", "none", "true"),
    ],
)
def test_key_describes_its_field(
    path: str, owner: str, type_text: str, range_text: str, unit: str, default: str
) -> None:
    key = by_path(path, owner)
    assert (key.type_text, key.range_text, key.unit, key.default_text) == (type_text, range_text, unit, default)


def test_key_source_is_line_of_the_field() -> None:
    """Of the class that writes it, be that a base or an override of it."""
    for path, owner, declared in (
        ("lr_policy.warmup_iters", "Cosine", "base.py"),
        ("optimizer.lr", "SGD", "optimizers.py"),
        ("data.decoding_backend", "RawFrames", "config.py"),
    ):
        source = by_path(path, owner).source()
        assert source is not None
        assert source[0].name == declared
        assert Path(source[0]).read_text().splitlines()[source[1] - 1].strip().startswith(path.rpartition(".")[2] + ":")


def test_related_keys_are_those_the_doc_names() -> None:
    keys = [key for key in all_keys() if key.owner.__name__ != "OneCycle"]
    others = related(keys)
    assert {"lr_policy.warmup", "lr_policy.warmup_by_epoch"} <= set(others["lr_policy.warmup_iters"])
    assert {"eval.start", "eval.interval"} <= set(others["eval.by_epoch"])  # by their unit
    assert "grad.accumulate" in others["data.batch_size"]  # by see
    assert "data.batch_size" in others["grad.accumulate"]  # and the other way round
    assert "data.split_seed" in others["data.val.indices"]  # one level further out
    missing = {word for key in keys for word in key.field.metadata.get("see", ()) if word not in others}
    assert missing == set()


def test_former_names_belong_to_existing_keys() -> None:
    """No row of the table is left behind when a key is renamed."""
    known = {key.path for key in all_keys()} | {
        f"{cls.__name__}.{key.name}" for key in all_keys() for cls in key.owner.__mro__
    }
    assert {*WRITTEN_OUT, *SLOWFAST} - known == set()
    assert former_names(by_path("transform.scale_range", "RandomRescale")) == Names(
        "RandomRescale.scale_range, RandomShortSideScale.scale_range",
        "RandomRescale.scale_range, RandomShortSideScale.scale_range",
        "DATA.TRAIN_JITTER_SCALES",
    )
    assert not any(former_names(by_path("transform.clip_seconds", "SampleFrames")))  # ours alone


def test_config_keys_reach_every_leaf() -> None:
    from vexp import compose

    config = compose(["optimizer.paramwise.custom_keys.head.lr_mult=10"])
    found = {key.path: value for key, value in config_keys(config) if not parts_of(value)}
    assert found["optimizer.paramwise.custom_keys.head.lr_mult"] == 10
    assert found["pipeline.train.crop.area_range"] == [0.6, 1.0]
    assert not any(isinstance(value, dict) and value for path, value in found.items() if path != "data.flip_label_map")
