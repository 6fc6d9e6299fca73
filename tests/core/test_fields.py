"""Fields of config dataclasses: every rule with its message, and conversion of config nodes."""

from dataclasses import dataclass, fields

import pytest
from omegaconf import OmegaConf

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, broken_rule, option


def broken_rule_of(value, **rules):
    """Return the message of ``option(..., **rules)`` for a value."""
    return broken_rule(value, option(0, **rules).metadata)


@pytest.mark.parametrize(
    ("rules", "valid", "invalid", "text"),
    [
        ({"ge": 1}, [1, 2.5], [0, -1, 0.999], "must be >= 1"),  # the bound itself is allowed
        ({"gt": 0}, [1e-9], [0, -1], "must be > 0"),  # the bound itself is not allowed
        ({"le": 1}, [1, 0, -5], [2, 1.001], "must be <= 1"),
        ({"lt": 1}, [0.999], [1, 2], "must be < 1"),
        ({"ge": 0, "lt": 1}, [0, 0.5], [-0.1], "must be >= 0"),  # the first broken bound is named
        ({"ge": 0, "lt": 1}, [], [1], "must be < 1"),
        ({"gt": 0}, [[1, 2]], [[1, 0], [-1, 1], (0,)], "must be > 0"),  # bounds hold for each entry of a list
        ({"ge": 0}, [], [float("nan"), [0.5, float("nan")]], "must be >= 0"),  # NaN breaks every bound
        ({"lt": 1, "infinite": True}, [float("-inf")], [float("inf")], "must be < 1"),
        ({}, [], [float("inf"), [0.5, float("nan")], [[float("-inf")]]], "must be finite"),
        ({"choices": ("a", "b")}, ["a", "b", ["b", "a"], []], ["c", "", ["a", "c"]], "must be one of a, b"),
        ({"length": 2}, [[1, 2], (1, 2)], [[1], [1, 2, 3]], "needs exactly 2 values, got"),
        ({"length": 2}, [], [7], "needs exactly 2 values"),  # a single number is not a list
        ({"check": lambda v: "must be even" if v % 2 else None}, [0, 2], [1, 3], "must be even"),
        ({"length": 2, "check": lambda v: "must rise" if v[0] > v[1] else None}, [[1, 2]], [[2, 1]], "must rise"),
        ({}, [0, "x", [], {}], [], ""),  # no rules
    ],
)
def test_broken_rule_names_first_broken_rule(rules, valid, invalid, text):
    assert [broken_rule_of(value, **rules) for value in valid] == [None] * len(valid)
    assert [str(broken_rule_of(value, **rules)).startswith(text) for value in invalid] == [True] * len(invalid)


def test_broken_rule_accepts_infinite_default():
    assert broken_rule(float("inf"), option(float("inf")).metadata) is None


def test_broken_rule_checks_length_before_check():
    assert broken_rule_of([1], length=2, check=lambda value: f"{value[1]}") == "needs exactly 2 values, got 1"


def test_broken_rule_accepts_none():
    rules = {"ge": 1, "choices": ("a",), "length": 2, "check": lambda value: "never called"}
    assert broken_rule_of(None, **rules) is None


@dataclass(kw_only=True, slots=True)
class Example(ValidatedConfig):
    size: list[int] = option([1, 2], "width and height", unit="pixels", ge=1, length=2)
    mode: str | None = option(None, "how", choices=("fast", "slow"))
    names: dict[str, str] = option({}, "by name")
    ratio: float = option(doc="has to be given", le=1)


@dataclass(kw_only=True, slots=True)
class Related(Example):
    def __post_init__(self):
        ValidatedConfig.__post_init__(self)
        if self.mode == "fast" and self.ratio == 0:
            raise ValueError("mode=fast: needs ratio > 0")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ratio": 2.5}, r"^ratio=2.5: must be <= 1$"),
        ({"ratio": 1, "size": [0, 1]}, r"^size=\[0,1\]: must be >= 1$"),
        ({"ratio": 1, "mode": "quick"}, r"^mode=quick: must be one of fast, slow$"),
        ({"ratio": 0, "mode": "fast"}, r"^mode=fast: needs ratio > 0$"),  # a rule across fields comes last
        ({"ratio": 2, "mode": "fast"}, r"^ratio=2"),
    ],
)
def test_validated_config_rejects_broken_rule(values, text):
    with pytest.raises(ValueError, match=text):
        Related(**values)
    node = OmegaConf.merge(OmegaConf.structured(Related), values)
    with pytest.raises(ValueError, match=text):
        OmegaConf.to_object(node)


def test_config_node_converts_to_equal_instance():
    node = OmegaConf.merge(OmegaConf.structured(Example), {"ratio": 0.5, "names": {"left": "right"}})
    assert OmegaConf.to_object(node) == Example(ratio=0.5, names={"left": "right"})


def test_option_without_default_is_required():
    with pytest.raises(TypeError, match="ratio"):
        Example()
    assert OmegaConf.missing_keys(OmegaConf.structured(Example)) == {"ratio"}


def test_option_copies_mutable_default_per_instance():
    first, second = Example(ratio=0), Example(ratio=0)
    first.size.append(3)
    first.names["a"] = "b"
    assert (second.size, second.names) == ([1, 2], {})
    assert (Example(ratio=0).size, Example(ratio=0).names) == ([1, 2], {})


def test_option_metadata_holds_help_unit_and_rules():
    size = fields(Example)[0].metadata
    assert (size["doc"], size["unit"], size["bounds"], size["length"]) == ("width and height", "pixels", {"ge": 1}, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (1e-4, "0.0001"),
        ("word", "word"),
        ([1, None, [True, "a"]], "[1,null,[true,a]]"),
        ((1, 2), "[1,2]"),
        ([], "[]"),
    ],
)
def test_format_value_as_on_the_command_line(value, text):
    assert format_value(value) == text
