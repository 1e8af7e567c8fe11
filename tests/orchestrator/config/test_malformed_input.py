"""Whatever is written at whatever place, loading ends with a configuration or with problems, never with a crash."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.config.checks.cross_checks import RuleContext, run_checks
from orchestrator.config.checks.field_checks import validate
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.command_line_overrides import OverrideRefused, apply, parse
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_text
from orchestrator.config.parsing.yaml_tree import Path
from orchestrator.config.resolved_configuration import flow
from orchestrator.config.rules import RULES
from tests.orchestrator.config import strategies

LARGE = MachineResources(cores=1e6, memory=2**60)
STAND_INS = {"until": {"episodes": 1}, "environment": {"id": "landmarks"}}
QUICK: dict[str, Any] = {"deadline": None, "derandomize": True, "phases": (Phase.generate,), "suppress_health_check": list(HealthCheck)}
RUBBISH = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**30),
    st.floats(),
    strategies.TEXTS,
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from(["kind", "count", "a", "[key]"]), strategies.TEXTS, max_size=2),
)


def _paths(data: Any) -> list[Path]:
    tree, _ = read_text(flow(data), "x.yaml")
    whole = {path[:length] for path, _ in strategies.leaves(tree) for length in range(1, len(path) + 1)}
    return sorted(whole, key=str)


@settings(max_examples=200, **QUICK)
@given(strategies.settings(Configuration), st.data())
def test_values_that_do_not_fit(data: dict[str, Any], draw: st.DataObject) -> None:
    data = {**data, "environment": {**data["environment"], "id": "landmarks"}}
    broken = deepcopy(data)
    for path in draw.draw(st.lists(st.sampled_from(_paths(data)), min_size=1, max_size=4, unique=True)):
        holder: Any = broken
        try:
            for part in path[:-1]:
                holder = holder[part]
            holder[path[-1]] = draw.draw(RUBBISH)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier piece of rubbish took the place away
    text = flow(broken).replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    tree, _ = read_text(text, "x.yaml")
    checked = validate(tree, Configuration, STAND_INS)
    assert checked.model is not None, "every mistake can be repaired"
    try:
        Configuration.model_validate_json(json.dumps(broken), strict=True)
    except ValueError:
        assert checked.problems
    else:
        assert checked.problems == []
    if checked.model.agents.count <= 32:
        for problem in run_checks(RULES, RuleContext(checked.model, LARGE), checked.tree, checked.broken):
            assert problem.place.startswith("x.yaml:")
            assert problem.text


@settings(max_examples=300, **QUICK)
@given(
    st.lists(
        st.sampled_from(["agents", "learner", "kind", "metrics", "sinks", "0", "-1", "options", "overrides", "seed", "x", ""]), max_size=5
    ),
    RUBBISH,
    st.booleans(),
)
def test_arguments_that_do_not_fit(parts: list[str], value: Any, append: bool) -> None:
    tree, _ = read_text(flow({"metrics": {"sinks": ["csv"]}, "seed": 3, "agents": {"world_model": None}}), "x.yaml")
    try:
        tree = apply(tree, parse(f"{'.'.join(parts)}{'+' if append else ''}={flow(value)}", 1), Configuration)
    except OverrideRefused as refused:
        assert refused.problem.place == "argument 1"
        assert refused.problem.text
        return
    validate(tree, Configuration, STAND_INS)


@settings(max_examples=300, **QUICK)
@given(st.text(st.sampled_from("ab:-,{}[]#&*!|>'\"%@`? \n\t0.~<=\\é\x00\ufeff"), max_size=40))
def test_texts_that_are_no_yaml(text: str) -> None:
    try:
        read_text(text, "x.yaml")
    except UnreadableYaml as unreadable:
        assert all(problem.text for problem in unreadable.problems)
