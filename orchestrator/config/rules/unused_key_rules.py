"""Keys that are set and have no effect, because another key decides: a warning each."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.cross_checks import Finding, RuleContext, reads

Unused = Iterator[tuple[BaseModel, tuple[str, ...], str]]
"""settings, the path of the key below the agent's, and why it has no effect"""


@reads("agents")
def _unused(subject: RuleContext) -> Iterator[Finding]:
    """Only values that differ from their defaults are reported: a resolved configuration has all keys."""
    for _, top, settings in subject.agents:
        for owner, path, reason in (*_of_world_model(settings), *_of_rewards(settings)):
            key = path[-1]
            field = type(owner).model_fields.get(key)
            if field is not None and getattr(owner, key) != field.get_default(call_default_factory=True):
                yield Finding((*top, *path), f"has no effect: {reason}; leave it out", severity="warning")


def _of_world_model(settings: AgentSettings) -> Unused:
    model, optimism = settings.world_model, settings.optimism
    if model is None or model.imagination is None:
        return
    imagination = model.imagination
    within = ("world_model", "imagination")
    yield model, ("world_model", "horizon"), "agents.world_model.imagination.horizon is the length of trajectories that are kept"
    if "additive_statistics" in model.capabilities:
        text = f"{model.kind} is refreshed after agents.world_model.refresh own transitions"
        yield imagination, (*within, "every"), text
    if optimism is None or not getattr(settings.learner, "exploit", True):
        text = "without agents.optimism and agents.learner.exploit there is one policy, which learns from all steps"
        yield imagination, (*within, "max_uncertainty"), text
    if imagination.reward != "learned":
        text = f"agents.world_model.imagination.reward is {imagination.reward}, and only learned rewards have"
        yield imagination, (*within, "reward_cell_size"), f"{text} cells"
        if optimism is not None:
            yield optimism, ("optimism", "reward_weight"), f"{text} a deviation"


def _of_rewards(settings: AgentSettings) -> Unused:
    teacher, curiosity = settings.teacher, settings.curiosity
    if teacher is not None and getattr(teacher, "reached", "changed") == "position":
        yield teacher, ("teacher", "changed_by"), "with agents.teacher.reached: position a goal is reached by the agent's own position"
    if curiosity is not None and getattr(curiosity, "optimiser", "rmsprop") == "adam":
        yield curiosity, ("curiosity", "weight"), "the steps of adam do not depend on the size of its loss"
