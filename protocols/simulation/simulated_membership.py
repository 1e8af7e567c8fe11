"""Who is alive, as the run server of a simulation sees it: the real `Membership`, fed with heartbeats, and rosters that come late."""

from __future__ import annotations

from collections.abc import Callable, Collection

from protocols.conversations.membership.membership import Membership, MembershipTimeouts, MemberState
from protocols.simulation.simulated_network import Network


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

    def alive(self) -> list[str]:
        """Nodes that count as alive."""
        return [name for name, member in self.membership.members.items() if member.state.living]

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
