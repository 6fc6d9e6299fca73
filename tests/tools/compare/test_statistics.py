"""Means and standard deviations against NumPy, marginal effects against manual results."""

import itertools
import statistics as library

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexp.tools.compare.statistics import effect, pooled_std, sort_key, summary

FLOATS = st.floats(-1e3, 1e3).map(lambda v: round(v, 6))


@given(st.lists(FLOATS, min_size=2, max_size=12))
def test_summary_mean_and_std(values):
    found = summary(values)
    assert found.n == len(values)
    np.testing.assert_allclose(found.mean, np.mean(values), atol=1e-9)
    np.testing.assert_allclose(found.std, np.std(values, ddof=1), atol=1e-9)


def test_summary_of_few_values():
    assert (summary([0.5]).mean, summary([0.5]).std, summary([])) == (0.5, None, None)


@given(st.lists(st.lists(FLOATS, min_size=2, max_size=6), min_size=2, max_size=5))
def test_pooled_std_matches_analysis_of_variance(groups):
    within = sum(np.sum((np.array(group) - np.mean(group)) ** 2) for group in groups)
    expected = np.sqrt(within / (sum(map(len, groups)) - len(groups)))
    np.testing.assert_allclose(pooled_std([*groups, [3.0]]), expected, atol=1e-6)  # a single value has no spread


def test_pooled_std_without_repetitions():
    assert pooled_std([[1.0], [2.0]]) is None


def balanced():
    """Return 2 x 3 cells of 2 runs with additive effects."""
    rows = [
        (a, b, 10 * (a == "sgd") + 2 * "xyz".index(b) + luck)
        for a, b in itertools.product(("sgd", "adamw"), "xyz")
        for luck in (-1.0, 1.0)
    ]
    return [a for a, _, _ in rows], [b for _, b, _ in rows], [score for _, _, score in rows]


def test_effect_of_balanced_grid():
    first, second, scores = balanced()
    found = effect("optimizer", first, second, scores)
    assert [(level.value, level.runs, level.cells, level.mean, level.matched) for level in found.levels] == [
        ("adamw", 6, 3, 2.0, 2.0),
        ("sgd", 6, 3, 12.0, 12.0),
    ]
    assert (found.balanced, found.crossed, found.common, found.spread) == (True, True, 3, 10.0)
    assert found.statement == "balanced: 6 runs in 3 cells each"
    other = effect("lr_policy", second, first, scores)
    assert [level.matched for level in other.levels] == [5.0, 7.0, 9.0]


def test_effect_missing_run_keeps_matched_means():
    first, second, scores = ([v for k, v in enumerate(column) if k != 0] for column in balanced())  # sgd, x, -1
    scores[0] = 10.0  # the other run of the cell has its mean
    found = effect("lr_policy", second, first, scores)
    assert (found.balanced, found.crossed) == (False, True)
    assert [level.matched for level in found.levels] == [5.0, 7.0, 9.0]
    assert found.levels[0].mean == pytest.approx(10 / 3)  # of all runs: adamw counts twice
    assert found.statement.startswith("the same 2 cells with unequal numbers of runs (x 3, y 4, z 4)")


def test_effect_missing_cell_is_excluded():
    first, second, scores = ([v for k, v in enumerate(column) if k not in (4, 5)] for column in balanced())  # sgd, z
    found = effect("optimizer", first, second, scores)
    assert (found.balanced, found.crossed, found.common) == (False, False, 2)
    assert [(level.value, level.mean, level.matched) for level in found.levels] == [("adamw", 2, 1), ("sgd", 11, 11)]
    assert "unbalanced (cells: adamw 3, sgd 2): matched means are over the 2 cells" in found.statement


def test_effect_of_confounded_keys():
    found = effect("lr", ["0.1", "0.1", "0.01"], ["sgd", "sgd", "adamw"], [1.0, 2.0, 3.0])
    assert (found.common, found.spread) == (0, None)
    assert [level.matched for level in found.levels] == [None, None]
    assert "the means also depend on other keys" in found.statement


def test_effect_counts_runs_without_key():
    found = effect("momentum", ["0.9", None, "0.5"], ["a", "a", "a"], [1.0, 50.0, 2.0])
    assert [(level.value, level.mean) for level in found.levels] == [("0.5", 2.0), ("0.9", 1.0)]
    assert found.statement == "balanced: 1 run in 1 cell each; 1 run without this key is left out"
    assert effect("momentum", ["0.9", None], ["a", "a"], [1.0, 2.0]) is None  # nothing to compare


def test_effect_of_random_search_is_scattered():
    rates = [str(rate) for rate in np.geomspace(1e-4, 1e-1, 20)]
    found = effect("optimizer.lr", rates, ["a"] * 20, list(range(20)))
    assert found.scattered
    assert found.statement == "20 values, most of them in one run: see the scatter plot in index.html"
    assert not effect("optimizer.lr", rates * 2, ["a"] * 40, list(range(40))).scattered


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), FLOATS), min_size=2, max_size=20))
def test_effect_matched_means_are_means_of_cell_means(rows):
    found = effect("key", [a for a, _, _ in rows], [b for _, b, _ in rows], [v for _, _, v in rows])
    values = {a for a, _, _ in rows}
    if len(values) < 2:
        assert found is None
        return
    cells = {pair: [v for a, b, v in rows if (a, b) == pair] for pair in {(a, b) for a, b, _ in rows}}
    common = [b for b in "xyz" if all((a, b) in cells for a in values)]
    assert found.common == len(common)
    for level in found.levels:
        assert level.mean == pytest.approx(library.fmean(v for a, _, v in rows if a == level.value))
        if common:
            assert level.matched == pytest.approx(np.mean([np.mean(cells[level.value, b]) for b in common]))


def test_sort_key_order():
    values = ["step", "10", "0.5", None, "nan", "cosine", "1e-3", "2"]
    assert sorted(values, key=sort_key) == [None, "1e-3", "0.5", "2", "10", "cosine", "nan", "step"]
