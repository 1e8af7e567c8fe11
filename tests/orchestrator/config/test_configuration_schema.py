"""The committed schema is current, and an independent validator agrees with it about every configuration we ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.json_schema import schema_of, schema_text
from orchestrator.config.loader import load

CONFIGS = Path(__file__).parents[3] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(schema_of(Configuration))


def mistakes(data: Any) -> list[str]:
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(data)]


def test_the_committed_schema_is_current() -> None:
    assert (CONFIGS / "schema.json").read_text() == schema_text(schema_of(Configuration)), (
        "write it anew: orchestrate schema --write configs/schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(schema_of(Configuration))


def _is_run(file: Path) -> bool:
    data = YAML(typ="safe", pure=True).load(file)
    return "version" in data and ("environment" in data or "extends" in data)


@pytest.mark.parametrize("file", [file for file in FILES if _is_run(file)], ids=lambda file: file.stem)
def test_shipped_configurations(file: Path) -> None:
    assert mistakes(YAML(typ="safe", pure=True).load(file)) == []
    overrides = ["dataset=null"] if file.parent.name == "offline" else []  # a dataset is made by a command
    load(file, overrides, machine=MachineResources(cores=1e6, memory=2**60))


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    good: dict[str, Any] = {"version": 2, "until": {"time": "5s"}, "environment": {"id": "landmarks"}}
    assert mistakes(good) == []
    assert mistakes({**good, "cuont": 3}) == [""]
    assert mistakes({**good, "until": {"time": 5}}) == ["until.time"]
    assert mistakes({**good, "until": {"time": "5 parsecs"}}) == ["until.time"]
    assert mistakes({**good, "agents": {"learner": {"kind": "dqn"}}}) == ["agents.learner.kind"]
    assert mistakes({**good, "agents": {"learner": {"kind": "double_dqn", "temperature": 1}}}) == ["agents.learner"]
    assert mistakes({**good, "agents": {"count": 0}}) == ["agents.count"]
    assert mistakes({**good, "environment": {"id": "landmarks", "options": {"anything": [1, {"deep": None}]}}}) == []
    assert mistakes({"version": 2}) == [""]
    assert mistakes({"extends": "base.yaml"}) == []


def test_accepted_names_are_in_the_schema() -> None:
    given: dict[str, Any] = {"version": 2, "until": {"time": "5s"}, "environment": {"id": "landmarks"}}
    for kind in ("double_dqn", "ppo"):
        assert mistakes({**given, "agents": {"learner": {"kind": kind, "gamma": 0.9}}}) == []
        assert mistakes({**given, "agents": {"learner": {"kind": kind, "gamma": 2}}}) == ["agents.learner.gamma"]
    assert (
        load({**given, "agents": {"learner": {"kind": "double_dqn", "gamma": 0.9}}}).configuration.agents.learner.model_dump()["discount"]
        == 0.9
    )
    assert mistakes({**given, "agents": {"world_model": {"kind": "ensemble", "gamma": 0.9}}}) == ["agents.world_model"]


def test_every_key_is_described() -> None:
    definitions = json.loads(schema_text(schema_of(Configuration)))["$defs"]
    bare = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, rule in definition.get("properties", {}).items()
        if key != "kind" and "description" not in rule
    ]
    assert bare == []
