"""Suggestions for misspelt names."""

from __future__ import annotations

import pytest

from protocols.runtime.settings_types import merge_overrides
from protocols.runtime.suggestions import hint, nearest, suggestions


@pytest.mark.parametrize(
    ("name", "choices", "found"),
    [
        ("rign", ["ring", "star"], "ring"),
        ("RING", ["ring", "star"], "ring"),
        ("sac", ["double_dqn", "discrete_sac"], "discrete_sac"),
        ("dqn", ["vdn", "double_dqn"], "double_dqn"),
        ("zzz", ["ring", "star"], None),
        ("ri", ["spring_like_thing"], None),
    ],
)
def test_the_nearest_name(name: str, choices: list[str], found: str | None) -> None:
    assert nearest(name, choices) == found


def test_several_suggestions_and_none() -> None:
    names = ["simple_v1", "simple_v2", "other"]
    assert suggestions("simple_v3", names, 2) == ["simple_v2", "simple_v1"]
    assert hint("simple_v3", names, count=2) == 'did you mean "simple_v2" or "simple_v1"?'
    assert suggestions("Taxi-v3", ["Taxi-v4", "Ant-v3", "Humanoid-v3"], 3) == ["Taxi-v4"], "those that are much less similar are left out"
    assert hint("zzz", names, "there are three") == "there are three"


def test_overrides_merge_mappings_and_replace_other_kinds_lists_and_scalars() -> None:
    base = {"learner": {"kind": "ppo", "clip": 0.2}, "buffer": {"transitions": 5}, "hidden": [1, 2]}
    over = {"learner": {"clip": 0.1}, "buffer": {"transitions": 6}, "hidden": [3]}
    assert merge_overrides(base, over) == {"learner": {"kind": "ppo", "clip": 0.1}, "buffer": {"transitions": 6}, "hidden": [3]}
    assert merge_overrides(base, {"learner": {"kind": "sac"}})["learner"] == {"kind": "sac"}
    assert merge_overrides(base, {"learner": None})["learner"] is None
    assert base["learner"] == {"kind": "ppo", "clip": 0.2}
