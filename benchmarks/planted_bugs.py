"""Planted bugs: does a search of drawn fault schedules find twenty mistakes in the protocols, how soon, and how small does it make them?

    python benchmarks/planted_bugs.py                      # the table; --only NAME for some, --seeds 300 for the longest search
    python benchmarks/planted_bugs.py --correct 500        # as many seeds of the protocols as they are

Each bug is a fault of one or two lines that is patched into the classes of `protocols/` while its search runs. All are searched from the
same first seed with the same drawn schedules, in the configuration `4agents_ring.yaml` with `pushsum`, those of gossip with `mh`.

As a plugin of a run (`plugins=[benchmarks.planted_bugs]`, with PLANTED_BUG=NAME in the environment) it plants a bug in every process.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.averaging.push_sum import PushSum
from protocols.averaging.push_sum_edges import IncomingMass, OutgoingMass
from protocols.averaging.round_deadline import RoundDeadline
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.conversations.conversation import EpisodeConversation
from protocols.conversations.episode_exchange import EpisodeExchange
from protocols.conversations.membership.membership import Membership
from protocols.conversations.proposals import Negotiation
from protocols.conversations.retries import RetryTimer
from protocols.conversations.stepping.stepping import StepServer

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "4agents_ring.yaml"

Patch = Callable[[type, str, Any], None]


@dataclass(frozen=True)
class PlantedBug:
    """A mistake: what it is, the averaging mode that it is searched in, and what plants it."""

    text: str
    mode: str
    plant: Callable[[Patch], None]


BUGS: dict[str, PlantedBug] = {}


def planted(mode: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Decorator that lists a bug under the name of the function that plants it; its docstring describes it."""

    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS[plant.__name__] = PlantedBug(str(plant.__doc__).rstrip("."), mode, plant)
        return plant

    return add


# --- push-sum -----------------------------------------------------------------------------------------------------------------------------


@planted("pushsum")
def forgets_lost_offers(patch: Patch) -> None:
    """Push-sum forgets the mass of a lost offer: of a sum with a gap only the newest share counts."""
    take = IncomingMass.take

    def forgetful(self: Any) -> Any:
        gap = self.offer_number - max(self.number, self.offer_base)
        total, before, weight = take(self)
        if gap > 1:
            before = total - (total - (0.0 if before is None else before)) / gap
            weight /= gap
        return total, before, weight

    patch(IncomingMass, "take", forgetful)


@planted("pushsum")
def applies_duplicates(patch: Patch) -> None:
    """Push-sum applies a repeated offer once more."""
    take, receive = IncomingMass.take, PushSum._receive
    former: dict[int, tuple[Any, float]] = {}

    def remembering(self: Any) -> Any:
        taken = take(self)
        former[id(self)] = taken[1], self.weight - taken[2]
        return taken

    def receives(self: Any, src: str, message: Any, arrays: Any, now: float) -> None:
        edge = self.edge(src)
        into = edge.incoming if edge is not None else None
        if into is not None and arrays and message.number == into.number and into.offer is None and id(into) in former:
            into.total, into.weight = former.pop(id(into))
            into.keep(message, arrays["offer"])
        receive(self, src, message, arrays, now)

    patch(IncomingMass, "take", remembering)
    patch(PushSum, "_receive", receives)


@planted("pushsum")
def loses_mass_of_the_dead(patch: Patch) -> None:
    """Push-sum does not take back what a dead neighbour has not acknowledged."""
    patch(OutgoingMass, "untaken", lambda self: (None, 0.0))


@planted("pushsum")
def keeps_edges_of_the_dead(patch: Patch) -> None:
    """Push-sum keeps the edge to a dead neighbour."""
    patch(PushSum, "peer_dead", lambda self, peer, now: self._round_deadline.forget(peer))


# --- gossip -------------------------------------------------------------------------------------------------------------------------------


@planted("mh")
def takes_stale_vectors(patch: Patch) -> None:
    """Gossip takes a vector of an earlier round for one of the present round."""
    take = SynchronousAveraging._take

    def takes(self: Any, src: str, number: int, vector: Any, now: float) -> None:
        late = number < self.round and self.open and self.round not in self._kept[src]
        take(self, src, self.round if late else number, vector, now)

    patch(SynchronousAveraging, "_take", takes)


@planted("mh")
def renormalises_weights(patch: Patch) -> None:
    """Gossip divides by the weights of those that came: wrong weights after a neighbour has left."""
    combine = SynchronousAveraging._combine

    def combines(self: Any, own: Any, vectors: Any, weights: Any) -> Any:
        came = sum(weights[name] for name in vectors)
        scale = sum(weights.values()) / came if came else 1.0
        return combine(self, own, vectors, {name: scale * weight for name, weight in weights.items()})

    patch(SynchronousAveraging, "_combine", combines)


@planted("mh")
def waits_without_deadline(patch: Patch) -> None:
    """A gossip round has no deadline for a punctual neighbour."""
    closes = RoundDeadline.closes.fget  # type: ignore[attr-defined]
    patch(RoundDeadline, "closes", property(lambda self: math.inf if self._patient and self._missing and self._punctual else closes(self)))


@planted("mh")
def keeps_old_vectors(patch: Patch) -> None:
    """Gossip does not drop the vectors of rounds that are over."""
    begin = SynchronousAveraging.begin

    def begins(self: Any, number: int, vector: Any, now: float) -> None:
        kept = {name: dict(vectors) for name, vectors in self._kept.items()}
        begin(self, number, vector, now)
        for name, vectors in kept.items():
            self._kept[name].update({old: vector for old, vector in vectors.items() if old < number})

    patch(SynchronousAveraging, "begin", begins)


# --- negotiation --------------------------------------------------------------------------------------------------------------------------


@planted("pushsum")
def commits_without_quorum(patch: Patch) -> None:
    """A leader commits its goal at the deadline, without the acknowledgements of all followers."""
    patch(Negotiation, "_deadline_passed", lambda self, episode, sent: self._settle_led(episode, sent, True))


@planted("pushsum")
def accepts_stale_offers(patch: Patch) -> None:
    """A follower accepts a proposal of another episode."""
    keep = Negotiation._keep_early

    def keeps(self: Any, src: str, episode: int, payload: int, now: float) -> None:
        for number, followed in self._followed.items():
            if followed.leader == src and not followed.settled:
                self._proposed(src, number, payload)
                return
        keep(self, src, episode, payload, now)

    patch(Negotiation, "_keep_early", keeps)


@planted("pushsum")
def acknowledges_before_applying(patch: Patch) -> None:
    """A follower acknowledges a proposal before it uses it."""
    keep = Negotiation._keep_early

    def keeps(self: Any, src: str, episode: int, payload: int, now: float) -> None:
        keep(self, src, episode, payload, now)
        self._acknowledge(src, episode, payload)

    patch(Negotiation, "_keep_early", keeps)


@planted("pushsum")
def acknowledges_too_late(patch: Patch) -> None:
    """A follower that has given up acknowledges a late proposal."""
    proposed = Negotiation._proposed

    def proposes(self: Any, src: str, episode: int, message: int) -> None:
        proposed(self, src, episode, message)
        if src == self._followed[episode].leader and self._followed[episode].message is None:
            self._acknowledge(src, episode, message)

    patch(Negotiation, "_proposed", proposes)


@planted("pushsum")
def retries_once(patch: Patch) -> None:
    """The timer of a retry is not armed again after the first one."""
    again = RetryTimer.again

    def once(self: Any, attempt: Any, now: float) -> None:
        again(self, attempt, now)
        attempt.due = math.inf

    patch(RetryTimer, "again", once)


@planted("pushsum")
def follows_without_timer(patch: Patch) -> None:
    """A follower has no timer for its deadline."""
    patch(Negotiation, "tick", EpisodeConversation.tick)


@planted("pushsum")
def forgets_nothing(patch: Patch) -> None:
    """Negotiations of finished episodes are not forgotten."""
    patch(Negotiation, "forget", lambda self, episode: None)


# --- traces -------------------------------------------------------------------------------------------------------------------------------


@planted("pushsum")
def reports_twice(patch: Patch) -> None:
    """An exchange of traces is reported again with every repeated trace."""
    settle = EpisodeExchange._settle

    def settles(self: Any, exchange: Any) -> None:
        if not exchange.awaited:
            exchange.settled = False
        settle(self, exchange)

    patch(EpisodeExchange, "_settle", settles)


@planted("pushsum")
def waits_for_the_dead(patch: Patch) -> None:
    """An exchange of traces still waits for a member that is dead."""
    patch(EpisodeExchange, "peer_dead", EpisodeConversation.peer_dead)


# --- stepping and membership --------------------------------------------------------------------------------------------------------------


@planted("pushsum")
def steps_twice(patch: Patch) -> None:
    """The environment server takes a repeated action for one of the open tick."""
    receive = StepServer.receive
    patch(StepServer, "receive", lambda self, agent, tick, action: receive(self, agent, max(tick, self.tick), action))


@planted("pushsum")
def keeps_actions_of_the_gone(patch: Patch) -> None:
    """The environment server keeps the action of an agent that has left, for its next incarnation."""
    leave = StepServer.leave

    def leaves(self: Any, agent: str) -> None:
        action = self._actions.get(agent)
        leave(self, agent)
        if action is not None:
            self._actions[agent] = action

    patch(StepServer, "leave", leaves)


@planted("pushsum")
def ignores_returns(patch: Patch) -> None:
    """Membership ignores the greeting of a node that has returned."""
    hello = Membership.hello
    patch(Membership, "hello", lambda self, name, incarnation, *rest: incarnation == 1 and hello(self, name, incarnation, *rest))


# --- the table ----------------------------------------------------------------------------------------------------------------------------


@contextmanager
def patched(bug: PlantedBug) -> Iterator[None]:
    """The protocols with one bug."""
    former: list[tuple[type, str, Any]] = []

    def patch(owner: type, name: str, value: Any) -> None:
        former.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, value)

    bug.plant(patch)
    try:
        yield
    finally:
        for owner, name, value in reversed(former):
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def configuration(mode: str) -> Any:
    """The configuration of the search."""
    from orchestrator.experiments.design.experiment_design import SimulationSettings
    from orchestrator.experiments.running.averaging_simulation import loaded

    return loaded(CONFIG, [f"exchange.consensus.mode={mode}"], SimulationSettings()).configuration


def main() -> None:
    """Print the table, one line for each bug."""
    from orchestrator.experiments.nemesis.schedule_search import search

    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="*", default=list(BUGS), choices=list(BUGS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=1000, help="most seeds of one search")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--correct", type=int, default=0, metavar="N", help="search N seeds of the protocols without a bug instead")
    arguments = parser.parse_args()
    if arguments.correct:
        for mode in ("pushsum", "mh"):
            outcome = search(configuration(mode), arguments.correct, math.inf, first=arguments.first)
            broken = "all promises are kept" if outcome.failure is None else outcome.failure.text
            print(f"{mode}: {outcome.simulated} seeds, {outcome.processor / outcome.simulated:.2f} s of processor time each: {broken}")
        return
    print("| bug | broken promise | seeds | processor seconds to find | and to shrink | entries drawn | left |")
    print("|---|---|---|---|---|---|---|")
    times, entries = [], []
    for name in arguments.only:
        bug = BUGS[name]
        began = time.process_time()
        with patched(bug):
            outcome = search(configuration(bug.mode), arguments.seeds, math.inf, first=arguments.first)
        whole, failure = time.process_time() - began, outcome.failure
        times.append(outcome.processor if failure is not None else math.inf)
        if failure is None:
            print(f"| {bug.text} | not found | {outcome.simulated} | {outcome.processor:.1f} | | | |", flush=True)
            continue
        entries.append(len(failure.schedule))
        row = f"{failure.promise} | {outcome.simulated} | {outcome.processor:.1f} | {whole:.1f} | {failure.drawn} | {len(failure.schedule)}"
        print(f"| {bug.text} | {row} |", flush=True)
    found = sum(math.isfinite(one) for one in times)
    middle, most = statistics.median(times), max(entries, default=0)
    print(f"\n{found} of {len(times)} found; median {middle:.1f} s of processor time; at most {most} entries left")


if __name__ == "__main__":
    main()
elif planted_name := os.environ.get("PLANTED_BUG"):
    BUGS[planted_name].plant(setattr)
