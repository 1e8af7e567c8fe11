"""Rules of what agents are made of."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.intrinsic.settings import TeacherSettings
from agent_node.learners.settings import LearnerSettings, ReplaySettings, RolloutSettings
from agent_node.settings.agent import AgentSettings
from agent_node.world_models.gp.settings import GaussianProcessSettings, GPSettings
from agent_node.world_models.settings import WorldModelSettings
from orchestrator.config.checks.cross_checks import Finding, RuleContext, agent_checked
from orchestrator.config.parsing.yaml_tree import Path
from orchestrator.config.rules.rule_registry import Rules, agents_of, meant, placed, playable
from protocols.topology.unfit_topology import UnfitTopology

RULES = Rules()
reads = RULES.reads


@reads("agents")
def _overrides(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    names = configuration.agent_names()
    for name in configuration.agents.overrides:
        where: Path = ("agents", "overrides", name)
        if name not in names:
            text = f'"{name}" does not exist (agents.count is {configuration.agents.count})'
            yield Finding(where, text, meant(name, names), key=True)
            continue
        checked = agent_checked(configuration, name)
        for problem, path in zip(checked.problems, checked.paths, strict=True):
            unknown = problem.text.startswith("unknown key")
            yield Finding((*where, *path), problem.text, problem.suggestion, key=unknown)


@reads("agents", "exchange.consensus")
def _groups(subject: RuleContext) -> Iterator[Finding]:
    consensus = subject.configuration.exchange.consensus
    if consensus is None:
        return
    agents = agents_of(subject)
    for index, group in enumerate(consensus.groups):
        where: Path = ("exchange", "consensus", "groups", index)
        if consensus.groups.index(group) != index:
            yield Finding(where, f"{group} is listed twice")
            continue
        lacking = [name for name, settings in agents.items() if group not in _groups_of(settings)]
        if lacking:
            have = ", ".join(_groups_of(agents[lacking[0]]))
            who = "the agents have" if len(lacking) == len(agents) else f"{lacking[0]} has"
            cure = "; set agents.world_model or leave the group out" if group == "world_model" else ""
            yield Finding(where, f"{who} no parameters called {group} (but {have}){cure}")
            continue
        shapes = {name: _architecture(settings, group) for name, settings in agents.items()}
        first = next(iter(shapes), None)
        for name, shape in shapes.items():
            if first is not None and shape != shapes[first]:
                yield Finding(where, f"{group} of {name} ({shape}) and {first} ({shapes[first]}) differ in shape and cannot be averaged")


def _groups_of(settings: AgentSettings) -> list[str]:
    parts = [settings.learner, settings.world_model, settings.teacher]
    return [group for part in parts if part is not None for group in part.groups]


def _architecture(settings: AgentSettings, group: str) -> str:
    """What decides the shapes of a group's parameters, as text."""
    part: LearnerSettings | WorldModelSettings | TeacherSettings = settings.learner
    if settings.world_model is not None and group in settings.world_model.groups:
        part = settings.world_model
    if settings.teacher is not None and group in settings.teacher.groups:
        part = settings.teacher
    facts = {key: getattr(part, key) for key in ("hidden", "members", "network", "lstm_layers", "orientation") if hasattr(part, key)}
    return ", ".join([part.kind, *(f"{key} {value}" for key, value in facts.items()), f"history {settings.history}"])


@reads("agents")
def _buffers(subject: RuleContext) -> Iterator[Finding]:
    for _, top, settings in placed(subject):
        learner, size = settings.learner, settings.buffer.transitions
        if isinstance(learner, ReplaySettings):
            for key in ("learning_starts", "batch_size"):
                if getattr(learner, key) > size:
                    text = (
                        f"{getattr(learner, key)} transitions never fit into a buffer of {size} (buffer.transitions), so nothing is learnt"
                    )
                    yield Finding((*top, "learner", key), text)
        bounds = getattr(learner, "value_range", None)
        if bounds is not None and bounds[0] >= bounds[1]:
            yield Finding((*top, "learner", "value_range"), f"the lower end {bounds[0]:g} is not below the upper end {bounds[1]:g}")


@reads("agents")
def _gaussian_processes(subject: RuleContext) -> Iterator[Finding]:
    for _, top, settings in placed(subject):
        model = settings.world_model
        if isinstance(model, GaussianProcessSettings):
            for low, high in model.bounds or []:
                if low >= high:
                    yield Finding((*top, "world_model", "bounds"), f"the least value {low:g} is not below the largest one, {high:g}")
                    break
            imagines = model.imagined_ratio > 0 and isinstance(settings.learner, ReplaySettings)
            if imagines and (model.imagination is None or model.imagination.reward == "model"):
                text = "a Gaussian process predicts no rewards, and all that is imagined would earn 0"
                where = (*top, "world_model") if model.imagination is None else (*top, "world_model", "imagination", "reward")
                yield Finding(where, f"{text}; write imagination: {{reward: learned}} (or known), or imagined_ratio: 0")
        if isinstance(model, GPSettings) and model.basis == "fourier" and model.features % 2:
            text = f"random Fourier features come in pairs, and {model.features} is odd; write {model.features + 1}"
            yield Finding((*top, "world_model", "features"), text)


@reads("agents", "agents.count", "network.topology", "exchange.statistics")
def _statistics(subject: RuleContext) -> Iterator[Finding]:
    """Only sums can be added, and some ways of adding them ask something of the graph, or of the number of agents."""
    statistics, graph, where = subject.configuration.exchange.statistics, subject.graph, ("exchange", "statistics")
    if statistics is None:
        return
    for name, settings in agents_of(subject).items():
        model = settings.world_model
        grid = model is not None and model.imagination is not None and model.imagination.reward == "learned"
        if not isinstance(model, GPSettings) and not grid:
            what = (
                f"the world model of {name}, {model.kind}, is no sum over its data" if model is not None else f"{name} has no world model"
            )
            text = f"there is nothing to add up: {what}; write null, or choose agents.world_model.kind gp"
            yield Finding(where, text)
            break
    if statistics.mode == "mh" and not isinstance(graph, UnfitTopology) and graph.directed:
        yield Finding((*where, "mode"), '"mh" needs an undirected graph; use ledger or pushsum')
    from protocols.statistics.ledger import MOST_ORIGINS

    for name, settings in agents_of(subject).items():
        if isinstance(settings.world_model, GPSettings) and settings.world_model.half_life is not None:
            text = (
                f"{name} forgets (agents.world_model.half_life), and sums that fall can't be told from those of a former life; write null"
            )
            yield Finding(where, f"{text} for one of them")
            break
    count = subject.configuration.agents.count
    if statistics.mode == "ledger" and count > MOST_ORIGINS:
        yield Finding((*where, "mode"), f"a ledger holds the statistics of up to {MOST_ORIGINS} agents, not of {count}; use pushsum")


@reads("agents", "exchange.plans")
def _plans(subject: RuleContext) -> Iterator[Finding]:
    """Plans change what is uncertain, which only optimism takes notice of."""
    if subject.configuration.exchange.plans is None:
        return
    for name, settings in agents_of(subject).items():
        if not isinstance(settings.world_model, GPSettings) or settings.optimism is None:
            text = f"{name} has no optimism about a world model gp, which alone takes notice of plans; write null, or give it both"
            yield Finding(("exchange", "plans"), text)
            break


@reads("agents", "clock", "launch.engine")
def _devices(subject: RuleContext) -> Iterator[Finding]:
    """GPUs that there are not (which GPUs torch can use, each agent finds out as it starts), and those that a repeatable run can't use."""
    gpu = subject.machine.gpu
    for _, top, settings in placed(subject):
        parts = {"learner": settings.learner.device}
        if settings.world_model is not None:
            parts["world_model"] = settings.world_model.device
        for part, device in parts.items():
            where = (*top, part, "device")
            if device == "cuda" and not gpu and subject.configuration.launch.engine == "local":
                yield Finding(where, "this machine has no GPU; write auto or cpu")
            elif device != "cpu" and gpu and subject.configuration.clock == "logical":
                text = (
                    "a GPU adds in an order of its own, so that two runs with one seed may differ, and this clock is for those that don't"
                )
                yield Finding(where, f"{text}; write cpu", None, "warning")


@reads("agents", "exchange.hindsight")
def _rollouts(subject: RuleContext) -> Iterator[Finding]:
    """Learners that take each transition once have no use for those that nobody made for them."""
    hindsight = subject.configuration.exchange.hindsight
    for _, top, settings in placed(subject):
        if not isinstance(settings.learner, RolloutSettings):
            continue
        kind, model = settings.learner.kind, settings.world_model
        if model is not None and model.imagined_ratio > 0:
            text = (
                f"learner {kind} takes real transitions once, and none that is imagined; write 0, or choose a learner with a replay buffer"
            )
            yield Finding((*top, "world_model", "imagined_ratio"), text)
        if hindsight is not None and hindsight.share > 0:
            text = f"relabelled transitions are off the policy of learner {kind}; write 0 (traces are still exchanged), or hindsight: null"
            yield Finding(("exchange", "hindsight", "share"), text)
            hindsight = None  # once is enough


@reads("environment", "agents", "exchange.experience", "network.topology")
def _experience(subject: RuleContext) -> Iterator[Finding]:
    """Transitions can be learnt from as they are only without goals, and by learners that remember."""
    configuration, where = subject.configuration, ("exchange", "experience")
    if configuration.exchange.experience is None:
        return
    for name, settings in agents_of(subject).items():
        if isinstance(settings.learner, RolloutSettings):
            text = (
                f"{settings.learner.kind} of {name} takes its own transitions once, and none of others; write null, or choose learner sac"
            )
            yield Finding(where, text)
            break
    if playable(subject) and subject.facts.goals > 0:
        text = f"what a transition is worth in {configuration.environment.id} depends on the goal that was pursued; write null"
        yield Finding(where, f"{text} (exchange.hindsight.segments: {{}} shares the surprising ones, and labels them anew)")
    if configuration.agents.count == 1:
        yield Finding(where, "there is nobody to tell anything: agents.count is 1", None, "warning")


@reads("agents")
def _optimism(subject: RuleContext) -> Iterator[Finding]:
    """Optimism is noted beside imagined transitions that are kept, and only some learners look there."""
    for _, top, settings in placed(subject):
        if settings.optimism is None:
            continue
        if "optimism" not in settings.learner.capabilities:
            yield Finding((*top, "optimism"), f"learner {settings.learner.kind} takes no notice of it; write null, or choose learner sac")
        elif settings.world_model is None or settings.world_model.imagination is None:
            yield Finding((*top, "optimism"), "needs a world model whose imagined transitions are kept; write world_model.imagination: {}")
