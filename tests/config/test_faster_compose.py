"""What is replaced in Hydra composes the same configs."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from hydra._internal import defaults_list
from hydra.core.default_element import GroupDefault

from vexp.config import faster_compose
from vexp.config.compose import compose
from vexp.config.instantiate import to_dict


@pytest.mark.parametrize("overrides", [[], ["model=mvit_v1_b", "lr=chain", "debug=fast"]])
def test_composed_config_is_that_of_hydra_itself(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    faster = to_dict(compose(overrides), types=True)
    monkeypatch.setattr(faster_compose, "faster_compose", nullcontext)
    assert to_dict(compose(overrides), types=True) == faster


def test_choices_are_copied_for_a_defaults_list_that_refers_to_them() -> None:
    chosen = SimpleNamespace(known_choices={"data": "motion"})
    with faster_compose.faster_compose():
        create = defaults_list._create_interpolation_map
        plain, referring = GroupDefault(group="eval", value="never"), GroupDefault(group="eval", value="of_${data}")
        referring.update_parent("", "")
        assert create(chosen, [plain], False) is None
        assert create(chosen, [referring], False).data == "motion"


def test_replaced_function_exists_and_is_restored() -> None:
    before = defaults_list._create_interpolation_map
    with faster_compose.faster_compose():
        assert defaults_list._create_interpolation_map is not before
    assert defaults_list._create_interpolation_map is before
