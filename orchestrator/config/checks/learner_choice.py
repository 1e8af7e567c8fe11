"""The learner of agents whose `learner.kind` is `auto`, or that have none: chosen by the environment and by what the agent is made of.

| | goals, imagined or imported transitions | none of these |
|---|---|---|
| discrete actions | double_dqn, ppo | ppo, double_dqn |
| continuous actions | sac, ppo | sac, ppo |

The first that can use the agent's components, and has all keys that are given, is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.cross_checks import RuleContext
from orchestrator.config.checks.inapplicable_features import CHOSEN, Adjustment
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.yaml_tree import Location, Map, Node, Path, Scalar, find, place, planted, put
from protocols.runtime.component_registry import component

_AUTO, _DEFAULT = "auto", Location("default")
_USUAL = AgentSettings().learner.kind


def with_learner(tree: Node) -> Node:
    """A copy of the tree with `agents.learner: {kind: auto}` where no learner is given."""
    agents = find(tree, ("agents",))
    if find(tree, ("agents", "learner")) is not None or not (agents is None or isinstance(agents, Map)):
        return tree
    return put(tree, ("agents", "learner"), planted({"kind": _AUTO}, _DEFAULT))


def named_learners(tree: Node) -> Node:
    """A copy of the tree in which the name of a learner stands as `{kind: NAME}`."""
    overrides = find(tree, ("agents", "overrides"))
    names = list(overrides.entries) if isinstance(overrides, Map) else []
    for path in (("agents", "learner"), *(("agents", "overrides", name, "learner") for name in names)):
        given = find(tree, path)
        if isinstance(given, Scalar) and isinstance(given.value, str):
            tree = put(tree, path, planted({"kind": given.value}, given.location))
    return tree


def learner_adjustments(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """The kind of every learner that is to be chosen; without a notice where the environment cannot be made, which is an error anyhow."""
    for name, top, settings in subject.agents:
        path = (*top, "learner", "kind")
        if not settings.learner.placeholder or (top != ("agents",) and find(tree, (*top, "learner")) is None):
            continue
        discrete = not subject.playable or subject.facts.sights[name].discrete_actions
        goals = not subject.playable or subject.facts.has_goals
        candidates = _candidates(subject.configuration, settings, discrete, goals)
        given = {key for at in (("agents",), top) for key in _keys(tree, (*at, "learner"))}
        kind = next((kind for kind in candidates if given <= set(component("learner", kind).settings.by_key())), candidates[0])
        kinds_given = [at for at in (("agents",), top) if find(tree, (*at, "learner", "kind")) is not None]
        unasked = place(tree, (*kinds_given[-1], "learner", "kind")) == _DEFAULT if kinds_given else True
        silent = not subject.playable or (kind == _USUAL and unasked)
        facts = f"{'discrete' if discrete else 'continuous'} actions, {'goals' if goals else 'no goals'}"
        text = f"{kind} was chosen for {subject.configuration.environment.id} ({facts}); name another one by {'.'.join(map(str, path))}"
        yield Adjustment(path, kind, "" if silent else text, CHOSEN, "choice")


def _candidates(configuration: Configuration, settings: AgentSettings, discrete: bool, goals: bool) -> Sequence[str]:
    """Kinds in the order of preference."""
    if settings.teacher is not None or settings.curiosity is not None or settings.shaping is not None:
        return ("ppo",)
    model, exchange = settings.world_model, configuration.exchange
    imagined = model is not None and model.imagined_ratio > 0
    replay = goals or imagined or settings.optimism is not None or (exchange.experience is not None and configuration.agents.count > 1)
    if not discrete:
        return ("sac", "ppo")
    return ("double_dqn", "ppo") if replay else ("ppo", "double_dqn")


def _keys(tree: Node, path: Path) -> list[str]:
    given = find(tree, path)
    return list(given.entries) if isinstance(given, Map) else []
