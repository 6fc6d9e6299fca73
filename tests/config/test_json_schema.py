"""The JSON schema of the config, by a validator of another project: right files pass, wrong keys and values do not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from support.paths import GOLDEN_DIR

from vexp import compose
from vexp.config.compose import compose_with_provenance
from vexp.config.instantiate import to_dict
from vexp.config.json_schema import FILE_NAME, schema_line
from vexp.config.keys import Key, all_keys
from vexp.config.option_types import upgrade_saved
from vexp.config.options import options
from vexp.config.search_path import conf_dir
from vexp.core.fields import broken_rule
from vexp.tools.explain.config_file import experiment_file

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((conf_dir() / FILE_NAME).read_text(encoding="utf-8"))  # current: test_write_reference
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def errors(values: Any) -> list[tuple[str, str]]:
    """Return (place, message) of each error."""
    return sorted((error.json_path, error.message) for error in VALIDATOR.iter_errors(values))


def test_schema_is_valid() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_schema_line_names_the_shipped_file() -> None:
    place = schema_line().removeprefix("# yaml-language-server: $schema=").strip()
    assert place == (conf_dir() / FILE_NAME).as_uri()


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml")))
def test_shipped_experiment_is_valid(name: str) -> None:
    values = OmegaConf.load(conf_dir() / "experiment" / f"{name}.yaml")
    assert errors(OmegaConf.to_container(values)) == []


def test_defaults_of_every_option_are_valid() -> None:
    for group, classes in options().items():
        for name, cls in classes.items():
            keys = [Key(field.name, cls, field) for field in dataclasses.fields(cls)]
            values = {"type": name} | {key.name: to_dict(key.default) for key in keys}  # "???" where one must be given
            place = {"pipeline": {"train": {"x": values}}} if group == "transform" else {group: values}
            assert errors(place) == [], name


def test_saved_config_is_valid() -> None:
    assert errors(to_dict(compose(["optimizer=adamw", "lr=chain"]), types=True)) == []


def test_config_files_of_earlier_runs_are_valid() -> None:
    files = sorted((GOLDEN_DIR / "run_folders").glob("*/config.yaml"))
    assert files
    for path in files:
        assert errors(upgrade_saved(yaml.safe_load(path.read_text()))) == []


#: (line of a config file, what it becomes, the place and the message of the validator)
NO_KEY = "Additional properties are not allowed ({!r} was unexpected)"
FLIP = "$.pipeline.train.flip"
WRONG = [
    ("  momentum: 0.9", "  momentun: 0.9", "$.optimizer", NO_KEY.format("momentun")),
    ("epochs: null", "epochs: 0", "$.epochs", "0 is less than the minimum of 1"),
    ("  lr: 0.1", "  lr: -0.1", "$.optimizer.lr", "-0.1 is less than the minimum of 0"),
    ("      flip_ratio: 0.5", "      flip_ratio: 1.5", f"{FLIP}.flip_ratio", "1.5 is greater than the maximum of 1"),
    ("      flip_ratio: 0.5", "      ratio: 0.5", FLIP, NO_KEY.format("ratio")),
    (
        "  decoding_backend: auto", "  decoding_backend: ffmpeg", "$.data.decoding_backend",
        "'ffmpeg' is not valid under any of the given schemas",
    ),
    (
        "deterministic: false", "deterministic: maybe", "$.deterministic",
        r"'maybe' does not match '^\\?\\?\\?$|\\$\\{'",
    ),
    ("  type: sgd", "  type: sgdd", "$.optimizer.type", None),
    ("seed: 0", "seeds: 0", "$", NO_KEY.format("seeds")),
]  # fmt: skip


@pytest.fixture(scope="module")
def config_file() -> str:
    """What ``vexp explain --yaml optimizer=sgd`` prints."""
    return experiment_file(*compose_with_provenance(["optimizer=sgd"]))


def test_written_config_file_is_valid(config_file: str) -> None:
    assert errors(yaml.safe_load(config_file)) == []


@pytest.mark.parametrize(("line", "edited", "place", "message"), WRONG, ids=[row[1].strip() for row in WRONG])
def test_edited_config_file_is_rejected(
    config_file: str, line: str, edited: str, place: str, message: str | None
) -> None:
    assert f"\n{line}\n" in config_file
    found = errors(yaml.safe_load(config_file.replace(f"\n{line}\n", f"\n{edited}\n", 1)))
    assert place in dict(found)
    if message is not None:
        assert found == [(place, message)]


def test_interpolations_and_values_given_later_are_valid() -> None:
    values = {"epochs": "${data.default_epochs}", "optimizer": {"lr": "???"}, "pipeline": {"train": "${pipeline.val}"}}
    assert errors(values | {"log": {"wandb": {"mode": "${oc.env:MODE}"}}}) == []


def test_options_outside_of_vexp_are_valid() -> None:
    assert errors({"model": {"_target_": "mine.Net", "anything": 1}, "plugins": ["mine"]}) == []


def test_schema_has_every_key_with_its_text_range_and_choices() -> None:
    """A value out of the range of a key is an error of the schema where it is one of the dataclass."""
    definitions = SCHEMA["definitions"]
    checked = 0
    for key in all_keys():
        name = f"{key.declared_in.__name__}.{key.name}"
        node = definitions.get(name) or SCHEMA
        if name not in definitions:
            for part in key.path.split("."):
                node = node["properties"][part]
        assert key.doc in node["description"], key.path
        if key.holds_keys:
            continue
        validator = jsonschema.Draft7Validator({**node, "definitions": definitions})
        if not key.required and key.default != float("inf"):
            assert validator.is_valid(to_dict(key.default)), key.path
        bounds = key.field.metadata.get("bounds", {})
        value = bounds["gt"] if "gt" in bounds else bounds["ge"] - 1 if "ge" in bounds else None
        if value is not None and broken_rule(value, {"bounds": bounds}) and "list" not in key.type_text:
            assert not validator.is_valid(value), key.path
            checked += 1
        if key.field.metadata.get("choices") and "list" not in key.type_text:
            assert not validator.is_valid("no such choice"), key.path
            assert all(validator.is_valid(choice) for choice in key.field.metadata["choices"])
    assert checked > 200
