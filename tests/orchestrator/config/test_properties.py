"""Random valid configurations survive every way of writing them down, and arguments do what editing the file does."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from orchestrator.config.checks.field_checks import validate
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.command_line_overrides import apply, parse
from orchestrator.config.parsing.yaml_reader import read_text
from orchestrator.config.parsing.yaml_tree import Map, plain
from orchestrator.config.resolved_configuration import canonical_json, digest, flow, resolved_yaml
from tests.orchestrator.config import strategies

CONFIGURATIONS = strategies.settings(Configuration)
QUICK = {"deadline": None, "phases": (Phase.generate,), "derandomize": True, "suppress_health_check": list(HealthCheck)}


def read(text: str) -> Configuration:
    tree, mistakes = read_text(text, "x.yaml")
    assert mistakes == []
    checked = validate(tree, Configuration, {})
    assert checked.problems == []
    assert checked.model is not None
    return checked.model


def written_and_read(data: dict[str, Any]) -> None:
    model = Configuration.model_validate_json(json.dumps(data), strict=True)
    assert read(flow(data)) == model


@settings(max_examples=200, **QUICK)
@given(CONFIGURATIONS)
def test_model_to_yaml_and_back(data: dict[str, Any]) -> None:
    written_and_read(data)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=1000, **QUICK)
@given(CONFIGURATIONS)
def test_many_models_to_yaml_and_back(data: dict[str, Any]) -> None:
    written_and_read(data)


@settings(max_examples=60, **QUICK)
@given(CONFIGURATIONS)
def test_resolved_yaml_loads_back(data: dict[str, Any]) -> None:
    model = Configuration.model_validate_json(json.dumps(data), strict=True)
    text = resolved_yaml(model)
    again = read(text)
    assert again == model
    assert canonical_json(again) == canonical_json(model)
    assert digest(again) == digest(model)
    assert resolved_yaml(again) == text


@settings(max_examples=100, **QUICK)
@given(CONFIGURATIONS, CONFIGURATIONS, st.data())
def test_arguments_commute_with_editing(data: dict[str, Any], donor: dict[str, Any], draw: st.DataObject) -> None:
    set_both_ways(data, donor, draw)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=400, **QUICK)
@given(CONFIGURATIONS, CONFIGURATIONS, st.data())
def test_many_arguments_commute_with_editing(data: dict[str, Any], donor: dict[str, Any], draw: st.DataObject) -> None:
    set_both_ways(data, donor, draw)


def set_both_ways(data: dict[str, Any], donor: dict[str, Any], draw: st.DataObject) -> None:
    """Setting a key by argument gives the configuration that a file with the key set gives; a second key in either order."""
    tree, _ = read_text(flow(donor), "donor.yaml")
    paths = [
        path
        for path, _ in strategies.leaves(tree)
        if all(isinstance(part, str) and part and "." not in part and "=" not in part and part.isidentifier() for part in path)
        and not {"options", "overrides", "pins", "kind", "every", "until"} & set(path)
        and _same_kinds(data, donor, path)
    ]
    assume(paths)
    chosen = draw.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True))
    edited = deepcopy(data)
    arguments = []
    for path in chosen:
        value = _at(donor, path)
        holder = edited
        for part in path[:-1]:
            holder = holder.setdefault(part, {})
        holder[path[-1]] = value
        if value is not None:
            arguments.append(f"{'.'.join(path)}={flow(value)}")
        else:
            arguments.append(f"{'.'.join(path)}=null")
    by_file = validate(read_text(flow(edited), "x.yaml")[0], Configuration, {})
    for order in (arguments, list(reversed(arguments))):
        here, _ = read_text(flow(data), "x.yaml")
        for number, argument in enumerate(order, start=1):
            here = apply(here, parse(argument, number), Configuration)
        by_argument = validate(here, Configuration, {})
        assert by_argument.model == by_file.model
        assert sorted((p.path, p.text) for p in by_argument.problems) == sorted((p.path, p.text) for p in by_file.problems)


def _same_kinds(data: Any, donor: Any, path: tuple[Any, ...]) -> bool:
    """Whether the donor's value fits where it goes: components on the way exist in both, with one kind."""
    for part in path[:-1]:
        data, donor = data.get(part) if isinstance(data, dict) else None, donor[part]
        if not isinstance(data, dict) or data.get("kind") != donor.get("kind"):
            return False
    return True


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


@settings(max_examples=300, **QUICK)
@given(strategies.OPTIONS)
def test_any_plain_data_survives_one_line_of_yaml(data: dict[str, Any]) -> None:
    tree, mistakes = read_text(flow(data), "x.yaml")
    assert mistakes == []
    assert isinstance(tree, Map)
    assert plain(tree) == data


def test_the_digest_leaves_out_what_cannot_change_results() -> None:
    base: dict[str, Any] = {"version": 2, "until": {"steps": 5}, "environment": {"id": "landmarks"}}

    def of(**changes: Any) -> str:
        return digest(Configuration.model_validate({**base, **changes}))

    assert (
        of()
        == of(name="other")
        == of(metrics={"every": "9s"})
        == of(network={"control_port": 9})
        == of(network={"transport": "tcp"})
        == of(launch={"placement": {"policy": "spread"}})
    )
    assert len({of(), of(seed=1), of(agents={"count": 5}), of(until={"steps": 6}), of(environment={"id": "landmarks", "copies": 3})}) == 5
    assert of() == of(agents={"count": 4})  # a default that is written down changes nothing
