"""Rules between the keys of `faults` and `network.links`: what cannot work, is ambiguous, or has no effect, reported before a run
starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path as FilePath

from protocols.faults.fault_draws import read_values
from protocols.faults.fault_schedule import OTHER_NODES, SMALLEST_RING, moment
from protocols.faults.node_faults.fault_log import FILE
from protocols.faults.settings import (
    AUTO,
    Distribution,
    FaultEvent,
    FaultsSettings,
    LinkEffects,
    LinkRule,
    Loss,
    MembershipFault,
    Nemesis,
    Partition,
    ProcessFault,
    TriggerPoint,
)
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.node_start import RUN_SERVER
from protocols.wire.message_registry import message_kinds

Path = tuple[str | int, ...]
_NEEDS = {
    "constant": ("mean",), "uniform": ("min", "max"), "normal": ("mean", "jitter"), "lognormal": ("mean", "jitter"),
    "exponential": ("mean",), "pareto": ("mean", "jitter"), "empirical": ("file",),
}  # fmt: skip
_EFFECTS = ("delay", "loss", "duplicate", "reorder", "corrupt", "bandwidth")
_UNSEEN = "and faults.expect asks for a recovery that is never seen"
_UNTOUCHED = f"nothing would happen: what {RUN_SERVER} itself sends always gets through, only what is sent to it is touched"
_NO_ROUNDS = "there are no averaging rounds to count: exchange.consensus is null; take time, steps or episodes"
_NOTHING_IS_SLOW = (
    "under clock: logical no agent is slower than another, since all wait for each tick; delay the links, or write clock: wall"
)
_ROUNDS_DIFFER = "agents' rounds differ; under clock: logical a link goes by time, step or episode"
_SIDED = ("isolate_one", "halves", "majority_minority")


@dataclass(frozen=True)
class FaultRuleViolation:
    """A broken rule: where, what and how to mend it. `name` is the misspelt one of a node, if it is one."""

    path: Path
    text: str
    name: str | None = None


@dataclass(frozen=True)
class FaultRuleContext:
    """What the rules must know of the rest of the configuration. `ends` as for `schedule.compile_schedule`."""

    agents: Sequence[str]
    ends: Mapping[str, float]
    averages: bool = True
    """whether there are averaging rounds"""

    @property
    def nodes(self) -> list[str]:
        """All senders of messages."""
        return [*self.agents, *OTHER_NODES]


def check(faults: FaultsSettings | None, links: Sequence[LinkRule], run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    """All broken rules, with paths from the top of the configuration."""
    yield from _names(faults, links)
    for index, rule in enumerate(links):
        where: Path = ("network", "links", index)
        yield from _effects(rule, where, run)
        if rule.during != LinkRule.model_fields["during"].default:
            yield FaultRuleViolation(
                (*where, "during"), "holds for the whole run here; a rule that comes and goes belongs into faults.links"
            )
    if faults is None:
        return
    yield from _mode(faults, run)
    for index, rule in enumerate(faults.links):
        where = ("faults", "links", index)
        yield from _effects(rule, where, run)
        yield from _at(rule.during.start, (*where, "during", "start"), faults, run)
        stop = rule.during.stop
        if stop is not None:
            yield from _stop(rule, (*where, "during", "stop"), run)
        over = stop is not None and (stop.random is not None or moment(stop).value < run.ends.get(moment(stop).unit, inf))
        if not over and faults.heal_before_end == 0.0 and _wants_recovery(faults):
            yield FaultRuleViolation(where, f"never ends, {_UNSEEN}; write during: {{stop: ...}}, or heal_before_end above 0%")
    for index, event in enumerate(faults.events):
        yield from _event(event, ("faults", "events", index), faults, run)
    if faults.random is not None:
        yield from _nemesis(faults.random, ("faults", "random"))


def check_asked(event: FaultEvent, where: Path, faults: FaultsSettings | None, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    """All broken rules of an event that is asked for while the run goes on, beside the run's own `faults`, if it has some."""
    yield from _event(event, where, faults or FaultsSettings(heal_before_end=0.0), run)


# --- the whole -----------------------------------------------------------------------------------------------------------------------


def _names(faults: FaultsSettings | None, links: Sequence[LinkRule]) -> Iterator[FaultRuleViolation]:
    seen: set[str] = set()
    for where, named in _listed(faults, links):
        name = f'"{named.id}"'
        if name in seen:
            yield FaultRuleViolation((*where, "id"), f"{name} is the id of another rule or event too, and draws go by it; take another")
        elif named.id.startswith("random-"):
            text = f"{name} could be the id of a drawn fault (faults.random); take one that does not begin with random-"
            yield FaultRuleViolation((*where, "id"), text)
        seen.add(name)


def _listed(faults: FaultsSettings | None, links: Sequence[LinkRule]) -> Iterator[tuple[Path, LinkRule | FaultEvent]]:
    """All rules and events with their places."""
    for index, rule in enumerate(links):
        yield ("network", "links", index), rule
    if faults is not None:
        for index, rule in enumerate(faults.links):
            yield ("faults", "links", index), rule
        for index, event in enumerate(faults.events):
            yield ("faults", "events", index), event


def _mode(faults: FaultsSettings, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    if faults.backend != "shim":
        text = f"{faults.backend} is not in this version: it works on packets, below TCP, which makes every loss a delay; write shim"
        yield FaultRuleViolation(("faults", "backend"), text)
    if faults.mode == "live" and faults.trace is not None:
        cure = "; for a line per message write record: full" if faults.trace == "full" else "; write mode: replay, or leave it out"
        yield FaultRuleViolation(("faults", "trace"), f"is read only with mode: replay{cure}")
    if faults.mode == "replay":
        if faults.trace is None:
            yield FaultRuleViolation(("faults", "mode"), "replay needs the run to repeat; write trace: runs/NAME")
            return
        missing = [name for name in run.agents if not (FilePath(faults.trace) / "nodes" / name / FILE).is_file()]
        if missing:
            text = f"{faults.trace} holds no trace of {missing[0]} (nodes/{missing[0]}/{FILE}); give the directory of a run with faults"
            yield FaultRuleViolation(("faults", "trace"), text)


# --- rules of the links --------------------------------------------------------------------------------------------------------------


def _effects(rule: LinkEffects, where: Path, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    for key, globs in (("from", rule.source), ("to", rule.to)):
        for glob in globs:
            yield from _known(glob, (*where, key), run.nodes)
    for index, kind in enumerate(rule.types):
        if kind not in message_kinds():
            yield FaultRuleViolation(
                (*where, "types", index), f'"{kind}" is no type of message; write one of docs/reference/messages.md in small letters', kind
            )
    reached = _reached(rule.source, rule.to, run.nodes) | (_reached(rule.to, rule.source, run.nodes) if rule.symmetric else set())
    if reached == {RUN_SERVER}:
        yield FaultRuleViolation((*where, "from"), f"{_UNTOUCHED}; name in from who sends to it, or write symmetric: true")
    if all(getattr(rule, key) is None for key in _EFFECTS):
        yield FaultRuleViolation(where, f"does nothing; give it {', '.join(_EFFECTS[:-1])} or {_EFFECTS[-1]}")
    if rule.delay is not None:
        yield from _distribution(rule.delay, (*where, "delay"))
    if rule.loss is not None:
        yield from _loss(rule.loss, (*where, "loss"))


def _reached(senders: Sequence[str], receivers: Sequence[str], nodes: Sequence[str]) -> set[str]:
    """Nodes of the second patterns that receive from another node of the first."""
    receiving = _named(receivers, nodes)
    return {name for name in _named(senders, nodes) if receiving - {name}}


def _named(globs: Sequence[str], nodes: Sequence[str]) -> set[str]:
    return {name for name in nodes if any(fnmatchcase(name, glob) for glob in globs)}


def _known(glob: str, where: Path, names: Sequence[str]) -> Iterator[FaultRuleViolation]:
    if not any(fnmatchcase(name, glob) for name in names):
        yield FaultRuleViolation(where, f'"{glob}" matches no node: they are {_span(names)}', glob)


def _span(names: Sequence[str]) -> str:
    agents = [name for name in names if name.startswith("agent-")]
    others = [name for name in names if not name.startswith("agent-")]
    return ", ".join([f"{agents[0]} ... {agents[-1]}" if len(agents) > 2 else ", ".join(agents), *others])


def _distribution(settings: Distribution, where: Path, positive: bool = False) -> Iterator[FaultRuleViolation]:
    needs = _NEEDS[settings.dist]
    missing = [key for key in needs if getattr(settings, key) is None]
    if missing:
        yield FaultRuleViolation(where, f"{settings.dist} needs {' and '.join(needs)}; {' and '.join(missing)} is missing")
        return
    for key in ("mean", "jitter", "file"):
        if key not in needs and getattr(settings, key) is not None:
            yield FaultRuleViolation((*where, key), f"means nothing for {settings.dist}, which takes {' and '.join(needs)}; remove it")
    if settings.min is not None and settings.max is not None and settings.min > settings.max:
        yield FaultRuleViolation((*where, "min"), f"the least value, {settings.min:g} s, is above the greatest, {settings.max:g} s (max)")
    if "jitter" in needs:
        for key in ("mean", "jitter"):
            if getattr(settings, key) == 0.0:
                yield FaultRuleViolation((*where, key), f"must be above 0s for {settings.dist}; write dist: constant for one value")
    if positive and (settings.mean == 0.0 or (settings.dist == "uniform" and settings.max == 0.0) or settings.max == 0.0):
        yield FaultRuleViolation(where, "must be above 0s")
    if settings.file is not None and settings.dist == "empirical":
        try:
            read_values(FilePath(settings.file))
        except ConfigurationError as error:
            yield FaultRuleViolation((*where, "file"), str(error))


def _loss(settings: Loss, where: Path) -> Iterator[FaultRuleViolation]:
    needs = ("p",) if settings.model == "bernoulli" else ("p_gb", "p_bg")
    for key in needs:
        if getattr(settings, key) is None:
            yield FaultRuleViolation(where, f"{settings.model} needs {' and '.join(needs)}; {key} is missing")
    if settings.model == "bernoulli":
        for key in ("p_gb", "p_bg"):
            if getattr(settings, key) is not None:
                yield FaultRuleViolation((*where, key), "is read only with model: gilbert_elliott")
    elif settings.p is not None:
        text = "is read only with model: bernoulli; here loss_good and loss_bad are the probabilities of losses"
        yield FaultRuleViolation((*where, "p"), text)
    elif settings.corr:
        yield FaultRuleViolation((*where, "corr"), "is read only with model: bernoulli; here p_gb and p_bg determine the length of bursts")


# --- when ----------------------------------------------------------------------------------------------------------------------------


def _at(at: TriggerPoint, where: Path, faults: FaultsSettings, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    if at.random is not None:
        yield from _distribution(at.random, (*where, "random"))
        return
    start = moment(at)
    if start.unit == "round" and not run.averages:
        yield FaultRuleViolation(where, _NO_ROUNDS)
    end = run.ends.get(start.unit, inf)
    healed = (1.0 - faults.heal_before_end) * end
    if start.value >= end:
        yield FaultRuleViolation(where, f"{start.unit} {start.value:g} is never reached: training ends at {end:g} (until)")
    elif start.value >= healed:
        yield FaultRuleViolation(
            where, f"at {start.unit} {start.value:g} all is healed already: faults end at {healed:g} (heal_before_end)"
        )


def _stop(rule: LinkRule, where: Path, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    start, stop = rule.during.start, rule.during.stop
    if stop is None:
        return
    if stop.random is not None:
        yield FaultRuleViolation(where, "is not drawn; give a place, or let an event with a length do it")
    elif start.random is None and moment(start).unit == moment(stop).unit and moment(start).value >= moment(stop).value:
        yield FaultRuleViolation(where, f"the rule ends at {moment(stop).value:g}, before it begins at {moment(start).value:g}")
    elif moment(stop).unit == "round" and not run.averages:
        yield FaultRuleViolation(where, _NO_ROUNDS)


# --- events --------------------------------------------------------------------------------------------------------------------------


def _event(event: FaultEvent, where: Path, faults: FaultsSettings, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    yield from _at(event.at, (*where, "at"), faults, run)
    what = getattr(event, event.chosen)
    inside: Path = (*where, event.chosen)
    if event.duration is not None and event.duration.rounds is not None and not run.averages:
        yield FaultRuleViolation((*where, "for"), _NO_ROUNDS)
    if event.duration is not None and moment(event.duration).value <= 0:
        yield FaultRuleViolation((*where, "for"), "lasts no time, so nothing would happen; write a length above 0")
    if isinstance(what, Partition):
        yield from _partition(what, inside, run)
    elif isinstance(what, LinkEffects):
        yield from _effects(what, inside, run)
    else:
        key, pattern = ("leave", what.leave) if isinstance(what, MembershipFault) else ("target", what.target)
        targets = [*run.agents, "env-0"] if event.chosen in ("process", "storage") else list(run.agents)
        if pattern != AUTO:
            yield from _known(pattern, (*inside, key), targets)
        if isinstance(what, ProcessFault):
            yield from _process(event, what, where)
        back = {"leave": "return_after", "target": "restart_after"}[key]
        for_good = what.return_after is None if isinstance(what, MembershipFault) else isinstance(what, ProcessFault) and not what.returns
        if for_good and all(fnmatchcase(name, pattern) for name in run.agents):
            text = f'"{pattern}" matches all agents, and none returns: no agent would be left; name some, or write {back}'
            yield FaultRuleViolation((*inside, key), text)
        if isinstance(what, MembershipFault) and event.duration is not None:
            yield FaultRuleViolation((*where, "for"), "does not apply to membership; write membership: {return_after: ...}")
    if _lasts(event) and faults.heal_before_end == 0.0 and _wants_recovery(faults) and not _ends(event, run):
        yield FaultRuleViolation(where, f"never ends, {_UNSEEN}; write for: ..., or heal_before_end above 0%")


def _process(event: FaultEvent, what: ProcessFault, where: Path) -> Iterator[FaultRuleViolation]:
    if what.ends and event.duration is not None:
        yield FaultRuleViolation(
            (*where, "for"), f"{what.action} is over at once; for the time until it is started again write restart_after"
        )
    if not what.ends and what.restart_after is not None:
        yield FaultRuleViolation((*where, "process", "restart_after"), f"{what.action} ends no process; write for: ... beside at")
    if what.action != "exit" and what.code != ProcessFault.model_fields["code"].default:
        yield FaultRuleViolation((*where, "process", "code"), f"is read only with action: exit, and the action is {what.action}")


def _ends(event: FaultEvent, run: FaultRuleContext) -> bool:
    """Whether its length is over before training is, as far as that is known."""
    if event.duration is None:
        return False
    length = moment(event.duration)
    start = 0.0 if event.at.random is not None or moment(event.at).unit != length.unit else moment(event.at).value
    return start + length.value < run.ends.get(length.unit, inf)


def _lasts(event: FaultEvent) -> bool:
    """Whether it lasts until it is ended by hand or healed."""
    if event.process is not None:
        return event.process.action in ("pause", "hang")
    if event.storage is not None:
        return event.storage.action in ("full", "slow")
    return event.membership is None


def _wants_recovery(faults: FaultsSettings) -> bool:
    return any(one.metric.startswith("recovery") or one.metric.endswith(".final") for one in faults.expect)


def _partition(what: Partition, where: Path, run: FaultRuleContext) -> Iterator[FaultRuleViolation]:
    if what.groups is not None:
        if what.target != AUTO:
            yield FaultRuleViolation((*where, "target"), "is read only with a shape; groups name the sides")
        members: Counter[str] = Counter()
        for index, globs in enumerate(what.groups):
            for place, glob in enumerate(globs):
                path: Path = (*where, "groups", index, place) if len(globs) > 1 else (*where, "groups", index)
                yield from _known(glob, path, run.nodes)
            members.update(_named(globs, run.nodes))
        twice = [name for name, count in members.items() if count > 1]
        if twice:
            yield FaultRuleViolation(
                (*where, "groups"), f"{', '.join(twice)} would be on two sides at once; name each node in one group only"
            )
        first, *others = (_named(globs, run.nodes) for globs in what.groups)
        senders = {"both": set(members), "from_first": first, "to_first": set().union(*others)}[what.direction]
        if senders == {RUN_SERVER}:
            yield FaultRuleViolation((*where, "direction"), f"{_UNTOUCHED}; write both, or the other direction")
        return
    if len(run.agents) < 2:
        yield FaultRuleViolation((*where, "shape"), "one agent cannot be separated: agents.count is 1")
    if what.shape == "overlapping_ring":
        if len(run.agents) < SMALLEST_RING:
            yield FaultRuleViolation(
                (*where, "shape"), f"an overlapping ring of {len(run.agents)} agents cuts nothing; it needs {SMALLEST_RING}"
            )
        if what.direction != "both":
            yield FaultRuleViolation((*where, "direction"), "an overlapping ring has no first side; write both")
    if what.target != AUTO:
        if what.shape not in _SIDED:
            yield FaultRuleViolation((*where, "target"), f"is read only with {', '.join(_SIDED)}, and the shape is {what.shape}")
        else:
            yield from _known(what.target, (*where, "target"), run.agents)


def _nemesis(settings: Nemesis, where: Path) -> Iterator[FaultRuleViolation]:
    if not any(settings.weights.model_dump().values()):
        yield FaultRuleViolation((*where, "weights"), "all are 0, so that nothing is ever drawn; write random: null")
    yield from _distribution(settings.every, (*where, "every"), positive=True)
    yield from _distribution(settings.duration, (*where, "duration"), positive=True)


def unsupported_under_logical_clock(faults: FaultsSettings | None, links: Sequence[LinkRule]) -> Iterator[FaultRuleViolation]:
    """Rules and events that `clock: logical` can't carry out, each with the cure."""
    if faults is not None and faults.mode == "replay":
        yield FaultRuleViolation(("faults", "mode"), "a run under clock: logical repeats itself: run it again with its seeds")
    if faults is not None and faults.random is not None:
        text = "is drawn as real time passes; under clock: logical list events, or write clock: wall"
        yield FaultRuleViolation(("faults", "random"), text)
    for where, one in _listed(faults, links):
        if isinstance(one, FaultEvent):
            yield from _event_under_logical_clock(one, where)
            continue
        yield from _link_under_logical_clock(one, where)
        if one.during.start.chosen == "round" or (one.during.stop is not None and one.during.stop.chosen == "round"):
            yield FaultRuleViolation((*where, "during"), _ROUNDS_DIFFER)


def _link_under_logical_clock(rule: LinkEffects, where: Path) -> Iterator[FaultRuleViolation]:
    if set(rule.channels) != {"peer"}:
        text = "under clock: logical only the channel peer has faults (a step waits for all agents); write channels: [peer]"
        yield FaultRuleViolation((*where, "channels"), text)


def _event_under_logical_clock(event: FaultEvent, where: Path) -> Iterator[FaultRuleViolation]:
    what = getattr(event, event.chosen)
    if event.chosen in ("straggler", "clock"):
        yield FaultRuleViolation((*where, event.chosen), _NOTHING_IS_SLOW)
    if isinstance(what, ProcessFault) and what.action in ("pause", "hang"):
        yield FaultRuleViolation((*where, "process", "action"), _NOTHING_IS_SLOW)
    if isinstance(what, LinkEffects):
        yield from _link_under_logical_clock(what, (*where, "link"))
    if event.chosen in ("link", "partition") and event.at.chosen == "round":
        yield FaultRuleViolation((*where, "at"), _ROUNDS_DIFFER)
    if isinstance(what, ProcessFault | MembershipFault):
        key, target = ("leave", what.leave) if isinstance(what, MembershipFault) else ("target", what.target)
        if target != AUTO and fnmatchcase("env-0", target):
            text = "under clock: logical the run stands and falls with env-0; interrupt the run and go on with orchestrate up --resume"
            yield FaultRuleViolation((*where, event.chosen, key), text)
        if event.at.chosen == "round":
            yield FaultRuleViolation(
                (*where, "at"), "under clock: logical an agent leaves at a time, step or episode that all agents can compute"
            )
