"""Fields of config dataclasses: every rule, its message, and that a config node gives the same object."""

from dataclasses import dataclass, fields

import pytest
from omegaconf import OmegaConf

from vexp.core.errors import format_value
from vexp.core.fields import ValidatedConfig, broken_rule, option


def rule(value, **rules):
    """What ``option(..., **rules)`` says of a value."""
    return broken_rule(value, option(0, **rules).metadata)


@pytest.mark.parametrize(
    ("rules", "good", "bad", "text"),
    [
        ({"ge": 1}, [1, 2.5], [0, -1, 0.999], "must be >= 1"),  # the bound itself is allowed
        ({"gt": 0}, [1e-9], [0, -1], "must be > 0"),  # here it is not
        ({"le": 1}, [1, 0, -5], [2, 1.001], "must be <= 1"),
        ({"lt": 1}, [0.999], [1, 2], "must be < 1"),
        ({"ge": 0, "lt": 1}, [0, 0.5], [-0.1], "must be >= 0"),  # the first broken bound is named
        ({"ge": 0, "lt": 1}, [], [1], "must be < 1"),
        ({"gt": 0}, [[1, 2]], [[1, 0], [-1, 1], (0,)], "must be > 0"),  # bounds hold for each entry of a list
        ({"ge": 0}, [], [float("nan"), [0.5, float("nan")]], "must be >= 0"),  # NaN keeps no bound
        ({"lt": 1}, [float("-inf")], [float("inf")], "must be < 1"),
        ({"choices": ("a", "b")}, ["a", "b", ["b", "a"], []], ["c", "", ["a", "c"]], "must be one of a, b"),
        ({"length": 2}, [[1, 2], (1, 2)], [[1], [1, 2, 3]], "needs exactly 2 values, got"),
        ({"length": 2}, [], [7], "needs exactly 2 values"),  # one number is no list of one
        ({"check": lambda v: "must be even" if v % 2 else None}, [0, 2], [1, 3], "must be even"),
        ({"length": 2, "check": lambda v: "must rise" if v[0] > v[1] else None}, [[1, 2]], [[2, 1]], "must rise"),
        ({}, [0, "x", [], {}], [], ""),  # no rule
    ],
)
def test_rules(rules, good, bad, text):
    assert [rule(value, **rules) for value in good] == [None] * len(good)
    assert [str(rule(value, **rules)).startswith(text) for value in bad] == [True] * len(bad)


def test_a_length_is_checked_before_a_check_that_relies_on_it():
    assert rule([1], length=2, check=lambda value: f"{value[1]}") == "needs exactly 2 values, got 1"


def test_none_keeps_every_rule():
    rules = {"ge": 1, "choices": ("a",), "length": 2, "check": lambda value: "never called"}
    assert rule(None, **rules) is None


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
        ({"ratio": 0, "mode": "fast"}, r"^mode=fast: needs ratio > 0$"),  # a rule across fields, after the fields' own
        ({"ratio": 2, "mode": "fast"}, r"^ratio=2"),
    ],
)
def test_an_instance_that_breaks_a_rule_cannot_be_made(values, text):
    with pytest.raises(ValueError, match=text):
        Related(**values)
    node = OmegaConf.merge(OmegaConf.structured(Related), values)
    with pytest.raises(ValueError, match=text):
        OmegaConf.to_object(node)


def test_a_config_node_becomes_the_same_instance():
    node = OmegaConf.merge(OmegaConf.structured(Example), {"ratio": 0.5, "names": {"left": "right"}})
    assert OmegaConf.to_object(node) == Example(ratio=0.5, names={"left": "right"})


def test_a_field_without_default_has_to_be_given():
    with pytest.raises(TypeError, match="ratio"):
        Example()
    assert OmegaConf.missing_keys(OmegaConf.structured(Example)) == {"ratio"}


def test_a_mutable_default_belongs_to_one_instance():
    first, second = Example(ratio=0), Example(ratio=0)
    first.size.append(3)
    first.names["a"] = "b"
    assert (second.size, second.names) == ([1, 2], {})
    assert (Example(ratio=0).size, Example(ratio=0).names) == ([1, 2], {})


def test_the_documentation_travels_with_the_field():
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
def test_values_are_shown_as_the_command_line_writes_them(value, text):
    assert format_value(value) == text
