"""Rules of the environment: whether it can be played, its goals and what is said about them, and what there is to see."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.exchange.negotiation.settings import CoordinationGameSettings
from agent_node.world_models.gp.settings import GaussianProcessSettings
from orchestrator.config.checks.cross_checks import Finding, RuleContext
from orchestrator.config.parsing.yaml_tree import Path
from orchestrator.config.rules.rule_registry import Rules, agents_of, placed, playable, seeing
from protocols.topology.unfit_topology import UnfitTopology

RULES = Rules()
reads = RULES.reads


@reads("environment", "agents.count", "network.topology")
def _environment(subject: RuleContext) -> Iterator[Finding]:
    if not isinstance(subject.graph, UnfitTopology):
        yield from subject.environment


@reads("environment", "agents", "exchange", "network.topology")
def _goals(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    if not playable(subject):
        return  # an environment that cannot be made cannot be asked for its goals
    goals = subject.facts.goals
    exchange = configuration.exchange
    for _, top, settings in placed(subject):
        if not subject.facts.has_goals and settings.goals is not None:
            yield Finding((*top, "goals"), f"{configuration.environment.id} has no goals; write goals: null")
        if subject.facts.has_goals and settings.goals is None:
            yield Finding(
                (*top, "goals"),
                f"{configuration.environment.id} has goals, and no goal source chooses them; write goals: {{kind: uniform}}",
            )
        if settings.goals is not None and settings.goals.needs_traces and exchange.hindsight is None:
            text = f"{settings.goals.kind} learns from what the partners tell after an episode, and exchange.hindsight is null"
            yield Finding((*top, "goals", "kind"), f"{text}; write hindsight: {{}}, or another goal source")
        if goals > 0 and settings.world_model is not None and settings.world_model.imagination is not None:
            text = "imagined transitions that are kept know no goals; write null, which imagines goals anew for every batch"
            yield Finding((*top, "world_model", "imagination"), text)
    for part in ("negotiation", "hindsight"):
        wanted = getattr(exchange, part)
        none = goals == 0 if part == "negotiation" else not subject.facts.has_goals
        if wanted is not None and none and not getattr(wanted, "swaps_teacher_goals", False):
            yield Finding(
                ("exchange", part), f"needs an environment with goals, and {configuration.environment.id} has none; write {part}: null"
            )
    if configuration.environment.supervisor is not None:
        if goals == 0:
            yield Finding(("environment", "supervisor"), f"{configuration.environment.id} has no goals to give; write supervisor: null")
        elif exchange.negotiation is not None:
            yield Finding(
                ("environment", "supervisor"),
                "gives the agents their goals, and exchange.negotiation lets them agree on others; write null for one of them",
            )
    game = exchange.negotiation
    if isinstance(game, CoordinationGameSettings) and goals > 0 and game.messages < 1.4 * goals:
        best = -(-14 * goals // 10)
        fewer = f"fewer than the {goals} goals" if game.messages < goals else f"less than 1.4 times the {goals} goals"
        yield Finding(
            ("exchange", "negotiation", "messages"), f"{game.messages} is {fewer}, and learns slowly; write {best} or more", None, "warning"
        )


@reads("agents", "exchange.hindsight")
def _abilities(subject: RuleContext) -> Iterator[Finding]:
    hindsight = subject.configuration.exchange.hindsight
    if hindsight is None:
        return
    for name, settings in agents_of(subject).items():
        lacks = {"probabilities", "surprise"} - set(settings.learner.capabilities)
        who = f"{settings.learner.kind} of {name} can't"
        if hindsight.partner == "corrected" and "probabilities" in lacks:
            text = f"corrected needs learners that can say how likely an action is, and {who}; write consistent"
            yield Finding(("exchange", "hindsight", "partner"), text)
        if hindsight.segments is not None and lacks:
            text = f"needs learners that can say how wrong they are and how likely an action is, and {who}; write segments: null"
            yield Finding(("exchange", "hindsight", "segments"), text)


@reads("environment", "exchange.negotiation", "clock", "tick")
def _negotiation(subject: RuleContext) -> Iterator[Finding]:
    """Keys that nobody reads, and deadlines within which nothing can be agreed on."""
    configuration = subject.configuration
    game, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if game is None:
        return
    if isinstance(game, CoordinationGameSettings):
        for key in ("batch", "epochs", "parts"):
            if game.update != "forgetting" and getattr(game, key) != CoordinationGameSettings.model_fields[key].default:
                yield Finding((*where, key), f"is read only with update: forgetting, and update is {game.update}", None, "warning")
        if game.update == "forgetting" and game.parts > game.batch:
            text = f"a batch of {game.batch} episodes can't be cut into {game.parts} parts; write {game.batch} or fewer"
            yield Finding((*where, "parts"), text, None, "warning")
    patience, tick = configuration.environment.goal_deadline, configuration.tick
    if configuration.clock == "logical" and game.deadline < 2 * tick:
        text = f"a proposal and its answer take two ticks of {1000 * tick:g}ms, so that nothing is ever agreed on; write that or more"
        yield Finding((*where, "deadline"), text)
    elif game.deadline > patience and not game.swaps_teacher_goals:
        text = (
            f"is longer than an idle copy waits for goals (environment.goal_deadline, {patience:g}s), which are drawn for its members then"
        )
        yield Finding((*where, "deadline"), f"{text}; write less, or raise goal_deadline", None, "warning")


@reads("environment", "agents", "network.topology")
def _sights(subject: RuleContext) -> Iterator[Finding]:
    """Parts of an agent that must know between what values it sees things."""
    environment = subject.configuration.environment.id
    for top, settings, sight in seeing(subject):
        model = settings.world_model
        if settings.frequencies and not sight.bounded:
            yield Finding((*top, "frequencies"), f"{environment} tells no bounds of what it shows; write 0")
        if model is None:
            continue
        inside: Path = (*top, "world_model")
        if model.imagination is not None and model.imagination.uniform_start_ratio > 0 and (sight.unbounded or sight.picture):
            text = f"{environment} does not tell the bounds of all that it shows; write 0"
            yield Finding((*inside, "imagination", "uniform_start_ratio"), text)
        if isinstance(model, GaussianProcessSettings):
            if sight.picture:
                yield Finding((*inside, "kind"), f"{model.kind} can't predict pictures, as {environment} shows them; write ensemble")
            elif sight.unbounded and model.bounds is None:
                text = f"{environment} does not tell between what values all lies that it shows; write their bounds: [[-1, 1]], say"
                yield Finding((*inside, "bounds"), text)
