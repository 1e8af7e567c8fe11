"""The faults of a configuration in a simulation: link outcomes in virtual time, the deaths and returns of its schedule, and who is alive as
the run server of a simulation sees it: the real `Membership`, fed with heartbeats, and rosters that come late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from protocols.conversations.membership.membership import Membership, MembershipTimeouts, MemberState
from protocols.faults.fault_schedule import LINK_KINDS, FaultSchedule, RunMoment, ScheduledEvent
from protocols.faults.fault_timeline import FaultChange, FaultTimeline
from protocols.faults.link_effects.faulty_links import FaultyLinks, LinkOutcome
from protocols.faults.link_effects.link_trace import WORDS, RecordedPast
from protocols.faults.node_faults.scheduled_faults import absence
from protocols.faults.settings import MembershipFault, ProcessFault
from protocols.simulation.simulated_network import Network
from protocols.wire.messages import Channel

DELAY = 0.01
"""delay of a message in seconds where the configuration specifies none"""
LEAST = 0.001
"""least delay of every message in seconds: otherwise virtual time would not advance"""


class ScheduledLinks:
    """The links of one incarnation of a node, by rules and schedule. `round()` and `episode()`: position of its agent and of the run; None
    while it is unknown."""

    def __init__(
        self,
        links: FaultyLinks,
        round: Callable[[], int | None],
        episode: Callable[[], int],
        healed: Callable[[], bool],
        began: set[str],
        past: RecordedPast,
    ) -> None:
        """`healed()`: nothing is broken any more, whatever an agent counts that began its rounds anew. `began` gets the ids of what begins,
        `past` what the node's next incarnation needs."""
        self._links = links
        self._round, self._episode = round, episode
        self._healed, self._whole = healed, False
        self._began = began
        self._past = past

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """Outcome of a message by the effects that are active now."""
        changes = self._links.progress(time=now, episode=self._episode(), round=self._round())
        if not self._whole and self._healed():
            self._whole = True
            changes = [*changes, *self._links.heal()]
        if changes:
            self._note(changes)
        link_outcome = self._links.link_outcome(dst, channel, kind, seq, size, now)
        if link_outcome.copies and min(link_outcome.copies) < LEAST:
            return link_outcome._replace(copies=tuple(max(delay, LEAST) if delay else DELAY for delay in link_outcome.copies))
        return link_outcome

    def _note(self, changes: Collection[FaultChange]) -> None:
        reached = self._links.reached
        self._began.update(change.event.id for change in changes if change.what == "begin")
        for change in changes:
            if not change.event.lasting:
                self._past.saw(WORDS[change.what], change.event.id, reached)


class Absence(NamedTuple):
    """Why an agent is away, and until when."""

    event: str
    back: RunMoment | None
    """None: for ever"""


class SimulatedDeaths:
    """Executes deaths, departures and returns of `agents`: `die(name)` ends a process, `back(name)` begins its next incarnation.

    Returns are decided as in a run under the wall clock; `restart`: seconds until a return without another specification.
    """

    def __init__(
        self,
        schedule: FaultSchedule,
        agents: Collection[str],
        die: Callable[[str], None],
        back: Callable[[str], None],
        restart: float,
        began: set[str],
    ) -> None:
        """`began` gets the ids of what begins."""
        self.away: dict[str, Absence] = {}
        self._agents = frozenset(agents)
        self._began = began
        self._timeline = FaultTimeline(schedule, ("process", "membership"))
        self._die, self._back = die, back
        self._restart = restart
        self._carry_out(self._timeline.settle())

    @property
    def next(self) -> float:
        """Time at which something may be due."""
        returns = [back.value for _, back in self.away.values() if back is not None and back.unit == "time"]
        return min([self._timeline.next("time"), *returns])

    @property
    def healed(self) -> bool:
        """Whether no agent dies any more, and no other fault is active."""
        return self._timeline.healed

    @property
    def over(self) -> bool:
        """Whether no agent runs and none will: without agents there are neither rounds nor episodes for which a return could wait."""
        if len(self.away) < len(self._agents):
            return False
        return not any(back is not None and back.unit == "time" for _, back in self.away.values())

    def reach(self, time: float, episode: int, round: float) -> None:
        """The run has come so far."""
        changes = self._timeline.reach(time=time, episode=episode, round=round)
        self._bring_back()
        self._carry_out(changes)

    def _bring_back(self) -> None:
        timeline = self._timeline
        for name, (_, back) in list(self.away.items()):
            # After everything is healed no return waits for an episode or round, as in a run.
            if back is not None and (timeline.reached.past(back) or (timeline.healed and back.unit != "time")):
                del self.away[name]
                self._back(name)

    def _carry_out(self, changes: Collection[FaultChange]) -> None:
        for change in changes:
            event = change.event
            if change.what != "begin":
                continue
            self._began.add(event.id)
            if event.node_fault is None or not _ends_processes(event):
                continue
            for name in event.targets:
                if name in self._agents and name not in self.away:
                    self.away[name] = Absence(event.id, self._timeline.reached.after(absence(event.node_fault, self._restart)))
                    self._die(name)


def left_out(events: Collection[ScheduledEvent], began: Collection[str], away: Mapping[str, Absence]) -> list[str]:
    """Notes on events that did not happen as scheduled, by reason; `began` are the ids of the events that began, `away` the agents away at
    the end."""
    strange = [event for event in events if not _known(event)]
    known = [event for event in events if _known(event)]
    waiting = [event for event in known if event.id not in began]
    lasting = {event for event, back in away.values() if back is not None and back.unit in ("episode", "round")}
    reasons = {
        "not simulated, since a simulation has no processes and nothing is learnt": strange,
        "not begun, since a simulation makes no steps": [event for event in waiting if event.start.unit == "step"],
        "not begun, since the simulation was over before": [event for event in waiting if event.start.unit != "step"],
        "not ended, since a simulation makes no steps": [event for event in known if event.id in began and _ends_by_step(event)],
        "no return, since the simulation ended before": [event for event in known if event.id in lasting],
    }
    return [f"{reason}: {', '.join(event.id for event in found)}" for reason, found in reasons.items() if found]


def _ends_processes(event: ScheduledEvent) -> bool:
    return isinstance(event.node_fault, MembershipFault) or (isinstance(event.node_fault, ProcessFault) and event.node_fault.ends)


def _known(event: ScheduledEvent) -> bool:
    """Whether a simulation, in which there are agents alone, carries out events like this one."""
    return event.kind in LINK_KINDS or (_ends_processes(event) and any(name.startswith("agent-") for name in event.targets))


def _ends_by_step(event: ScheduledEvent) -> bool:
    if isinstance(event.node_fault, MembershipFault):
        return event.node_fault.return_after is not None and event.node_fault.return_after.steps is not None
    until = event.length or event.stop
    return event.kind in LINK_KINDS and until is not None and until.unit == "step"


class SimulatedMembership:
    """Watches all nodes of a network that `started` names. `delay()` draws the seconds that a roster is under way to a node.

    `neighbours(node)`: the nodes of which a node is notified (and which are notified of it); `died` is called at every verdict.
    """

    def __init__(
        self,
        network: Network,
        neighbours: Callable[[str], Collection[str]],
        delay: Callable[[], float],
        timeouts: MembershipTimeouts = MembershipTimeouts(),
        heartbeat: float = 0.5,
    ) -> None:
        self.membership = Membership(timeouts)
        self.network = network
        self.died: Callable[[str], None] = lambda name: None
        self._neighbours = neighbours
        self._delay = delay
        self._heartbeat = heartbeat
        self._known: dict[tuple[str, int, str], int] = {}
        """(listener, its incarnation, peer): the incarnation of the peer that was reported alive"""
        network.at(network.now + heartbeat, self._beat)

    def started(self, name: str) -> None:
        """A node has started and joined; it is notified of all others, and they of it."""
        network, node = self.network, self.network.nodes[name]
        self.membership.expect(name, "agent", node.incarnation, network.now)
        self.membership.hello(name, node.incarnation, name, network.now)
        for peer in self._neighbours(name):
            known = self.membership.members.get(peer)
            if known is None or not known.state.living:
                network.report_dead(node, peer)
            elif network.nodes[peer].incarnation == known.incarnation:
                self._known[name, node.incarnation, peer] = known.incarnation
                network.report_alive(node, peer)
        self._announce()

    def present(self, name: str) -> None:
        """A node that is present from the beginning, like all nodes of `neighbours`; no notification is needed."""
        incarnation = self.network.nodes[name].incarnation
        self.membership.expect(name, "agent", incarnation, self.network.now)
        self.membership.hello(name, incarnation, name, self.network.now)
        self.membership.changes()
        for peer in self._neighbours(name):
            self._known[name, incarnation, peer] = 1

    def ended(self, name: str) -> None:
        """Its host has seen the process end; otherwise only silence shows it."""
        if self.membership.ended(name, self.network.nodes[name].incarnation, False, "ended"):
            self._announce()

    def _beat(self) -> None:
        now = self.network.now
        for name, node in self.network.nodes.items():
            if node.alive:
                self.membership.message_received(name, node.incarnation, now)
        self.membership.tick(now, judge_progress=False)
        self._announce()
        self.network.at(now + self._heartbeat, self._beat)

    def _announce(self) -> None:
        for change in self.membership.changes():
            if change.new is MemberState.DEAD:
                self.died(change.node)
            elif change.new is not MemberState.ALIVE or change.old is not MemberState.JOINING:
                continue
            for name in self._neighbours(change.node):
                self._notify(name, change.node, change.incarnation, change.new is MemberState.ALIVE)

    def _notify(self, name: str, peer: str, incarnation: int, alive: bool) -> None:
        network = self.network
        listener = network.nodes.get(name)
        if listener is None or not listener.alive:
            return

        place = (name, listener.incarnation, peer)

        def deliver() -> None:
            known = self._known.get(place, 0)
            if not listener.alive or incarnation < known or network.nodes[peer].incarnation != incarnation:  # a newer roster supersedes it
                return
            living = self.membership[peer].state.living
            if known and (known < incarnation or not alive):  # who came back as another process has died in between
                del self._known[place]
                network.report_dead(listener, peer)
            if alive and living and known < incarnation:
                self._known[place] = incarnation
                network.report_alive(listener, peer)

        network.at(network.now + self._delay(), deliver)
