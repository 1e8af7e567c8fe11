"""Learners that need the steps of all agents get joint experience, and what does not go with it is refused before the start."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config import loader
from orchestrator.config.parsing.problems import Problems

TEAM: dict[str, Any] = {
    "version": 2,
    "until": {"steps": 1000},
    "environment": {"id": "particles:simple_spread"},
    "agents": {"count": 4, "learner": {"kind": "maddpg"}},
}


def found(*overrides: str) -> list[tuple[str, str]]:
    try:
        loader.load(TEAM, overrides)
    except Problems as problems:
        return [(problem.path, problem.text) for problem in problems.problems if problem.severity == "error"]
    return []


def test_it_is_on_by_default_on_a_complete_graph_for_learners_that_need_it() -> None:
    configuration = loader.load(TEAM).configuration
    assert configuration.exchange.joint_experience is not None and configuration.network.topology.kind == "complete"
    other = loader.load(TEAM, ["agents.learner={kind: ppo}"]).configuration
    assert other.exchange.joint_experience is None and other.network.topology.kind != "complete"
    given = loader.load(TEAM, ["exchange.joint_experience.snapshot_every=7"]).configuration
    assert given.exchange.joint_experience is not None and given.exchange.joint_experience.snapshot_every == 7


@pytest.mark.parametrize(
    ("overrides", "path", "text"),
    [
        (["exchange.joint_experience=null"], "exchange.joint_experience", "write joint_experience: {}"),
        (["agents.learner={kind: ppo}", "exchange.joint_experience={}"], "exchange.joint_experience", "ppo of agent-0 does not use"),
        (["agents.overrides={agent-2: {learner: {kind: ppo}}}"], "exchange.joint_experience", "ppo of agent-2 does not use"),
        (["network.topology={kind: ring}"], "network.topology", "agent-0 and agent-2, agent-1 and agent-3; write {kind: complete}"),
        (["exchange.experience={}"], "exchange.experience", "write null"),
        (["agents.world_model={kind: ensemble}"], "agents.world_model", "learns from the joint steps as they are; write null"),
        (["agents.overrides={agent-1: {history: 2}}"], "agents.overrides.agent-1.history", "agent-1 and agent-0 differ"),
        (["environment={id: landmarks}"], "environment.id", "has goals"),
        (["exchange.joint_experience={snapshot_every: 500}"], "exchange.joint_experience", "write 500 or more"),
    ],
)
def test_mistakes(overrides: list[str], path: str, text: str) -> None:
    assert any(place == path and text in said for place, said in found(*overrides)), found(*overrides)
