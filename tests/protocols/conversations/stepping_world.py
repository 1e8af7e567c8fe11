"""A server and its agents in lock-step under loss, repetition, reordering, deaths and returns, and a checker: every act counts once at
most, for its own tick, and all know it.

The network is simulated (`network.py` drives conversations among equals; here one side is a server with its own driver). Each act carries
who sent it, in which incarnation, for which tick, and how often before, so that the ledger of the environment can be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

import numpy as np

from protocols.conversations.stepping.stepping import ClosedTick, StepClient, StepServer

SEEDS = 1000
DEADLINE = 2.0


class Meant(NamedTuple):
    """An action: sent by `agent` in one incarnation, for `tick`, for the `copy`-th time."""

    agent: str
    life: int
    tick: int
    copy: int


@dataclass
class Player:
    """One incarnation of an agent, as a driver of `StepClient`."""

    name: str
    life: int
    client: StepClient
    joined: bool = False
    acts: int = 0
    acted: set[int] = field(default_factory=set)
    seen: list[int] = field(default_factory=list)
    transitions: dict[int, Meant | None] = field(default_factory=dict)


class Violation(AssertionError):
    """A rule of stepping is broken."""


class World:
    """A server and its agents under one seed's network; `run` raises `Violation`. The first `faulty` seconds are bad, the rest heals."""

    faulty = 10.0
    ticks_after = 6

    def __init__(
        self, seed: int, server: type[StepServer], client: type[StepClient], check_lives: bool = True, deaths: bool = True
    ) -> None:
        self.random = Random(seed)
        self.jitter = np.random.default_rng(seed)
        self.names = [f"agent-{i}" for i in range(self.random.choice([2, 3]))]
        self.loss = self.random.choice([0.0, 0.1, 0.3])
        self.duplicate = self.random.choice([0.0, 0.1, 0.2])
        self.delay = self.random.choice([0.005, 0.1, 0.6])
        self.server = server(self.names, DEADLINE)
        self.client = client
        self.check_lives = check_lives
        self.lives: dict[str, int] = {}
        self.stored: dict[tuple[str, int], Meant] = {}
        self.ledger: list[tuple[ClosedTick, frozenset[str]]] = []
        self.lives_at: list[dict[str, int]] = []
        self.players: dict[str, Player] = {}
        self.past: list[Player] = []
        self.sent: Counter[str] = Counter()
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        for name in self.names:
            self._live(name, 1)
            if deaths and self.random.random() < 0.5:
                death = self.random.uniform(0.05, self.random.choice([1.0, self.faulty - 3]))
                self.at(death, lambda name=name: self._die(name))
        self.at(DEADLINE, self._watch)

    # --- time and network ---------------------------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._order += 1
        heappush(self._queue, (time, self._order, action))

    def post(self, arrive: Callable[[], None]) -> None:
        bad = self.now < self.faulty
        for _ in range(1 + (bad and self.random.random() < self.duplicate)):
            if not (bad and self.random.random() < self.loss):
                self.at(self.now + self.random.uniform(0.001, self.delay), arrive)

    def run(self) -> None:
        """Until it has healed and gone on for a while."""
        healed_at: int | None = None
        while self._queue and self.now < self.faulty + 60.0:
            self.now, _, action = heappop(self._queue)
            action()
            if self.now > self.faulty + 6.0 and healed_at is None:
                if not self.players:
                    return self._check_all()
                healed_at = len(self.ledger)
            if healed_at is not None and len(self.ledger) >= healed_at + self.ticks_after:
                return self._check_all()
        raise Violation(f"stepping does not go on: {len(self.ledger)} ticks, {healed_at} when the network had healed")

    # --- agents ---------------------------------------------------------------------------------------------------------------------

    def _live(self, name: str, life: int) -> None:
        player = Player(name, life, self.client(self.jitter))
        self.players[name] = player
        self.past.append(player)
        self._agent_turn(player)

    def _die(self, name: str) -> None:
        player = self.players.pop(name)
        if self.random.random() < 0.5:  # the run server notices
            self.at(self.now + self.random.uniform(0.0, 5.0), lambda: self._lost(name, player.life))
        if self.random.random() < 0.7:
            self.at(self.now + self.random.uniform(0.05, 3.0), lambda: self._live(name, player.life + 1))

    def _agent_turn(self, player: Player) -> None:
        if self.players.get(player.name) is not player:
            return
        if player.client.tick < 0:
            self.post(lambda: self._join(player.name, player.life))
        elif player.client.again(self.now):
            self._act(player)
        self.at(self.now + 0.15, lambda: self._agent_turn(player))

    def _act(self, player: Player) -> None:
        player.acts += 1
        player.acted.add(player.client.tick)
        self.sent[player.name] += 1
        meant = Meant(player.name, player.life, player.client.tick, player.acts)
        self.post(lambda: self._acted(meant))

    def _observed(self, player: Player, tick: int, applied: Meant | None) -> None:
        if self.players.get(player.name) is not player or not player.client.observed("env-0", tick, self.now):
            return
        if player.client.continuous:
            if tick - 1 in player.transitions:
                raise Violation(f"{player.name} keeps the transition of tick {tick - 1} twice")
            player.transitions[tick - 1] = applied
        player.seen.append(tick)
        player.acts = 0
        thinking = 3.0 if self.random.random() < 0.02 else self.random.uniform(0.05, 0.2)

        def decide() -> None:
            if self.players.get(player.name) is player and player.client.tick == tick:
                player.client.act(self.now)
                self._act(player)

        self.at(self.now + thinking, decide)

    # --- the server -----------------------------------------------------------------------------------------------------------------

    def _stale(self, name: str, life: int) -> bool:
        """The transport drops messages of older incarnations."""
        if not self.check_lives:
            return False
        known = self.lives.get(name, 0)
        return life < known

    def _join(self, name: str, life: int) -> None:
        if self._stale(name, life):
            return
        if self.lives.get(name) == life and name in self.server.present | self.server.joining:
            if name in self.server.present:
                self._again(name, self.server.tick)
        else:
            self.lives[name] = life
            self.server.join(name)
        self._server_turn()

    def _lost(self, name: str, life: int) -> None:
        if self.lives.get(name) == life:
            self.server.leave(name)
            self._server_turn()

    def _acted(self, meant: Meant) -> None:
        if self._stale(meant.agent, meant.life):
            return
        verdict = self.server.receive(meant.agent, meant.tick, meant)  # type: ignore[arg-type]
        current = meant.agent in self.server.present and meant.tick == len(self.ledger)
        if current and meant.life == max(p.life for p in self.past if p.name == meant.agent):
            self.stored.setdefault((meant.agent, meant.tick), meant)
        if verdict == "repeat":
            self._again(meant.agent, meant.tick)
        self._server_turn()

    def _again(self, name: str, tick: int) -> None:
        answer = self.server.answer(name, tick)
        if answer is not None:
            self._answer(name, *answer)

    def _answer(self, name: str, tick: int, applied: Meant | None, life: int) -> None:
        # A connection ends with the process: nothing for an earlier incarnation reaches the next one.
        player = self.players.get(name)
        if player is not None and player.life == life:
            self.post(lambda: self._observed(player, tick, applied))

    def _watch(self) -> None:
        self._server_turn()
        self.at(self.now + 0.25, self._watch)

    def _server_turn(self) -> None:
        if not self.server.ready(self.now):
            return
        before = self.server.present
        overdue = self.now >= self.server.due()
        closed = self.server.close()
        self._check_closed(closed, before, overdue)
        self.ledger.append((closed, before))
        self.lives_at.append(dict(self.lives))
        self.server.advance(self.now)
        for name in sorted(self.server.present):  # sets of texts have another order in every process
            applied: Any = closed.actions.get(name)
            answer = (self.server.tick, applied, self.lives[name])
            self.server.answered(name, answer)
            self._answer(name, *answer)

    # --- the rules ------------------------------------------------------------------------------------------------------------------

    def _check_closed(self, closed: ClosedTick, present: frozenset[str], overdue: bool) -> None:
        if closed.tick != len(self.ledger):
            raise Violation(f"tick {closed.tick} is played as number {len(self.ledger)}")
        if closed.late and not overdue:
            raise Violation(f"{sorted(closed.late)} are called late before the deadline")
        if closed.late | closed.actions.keys() != present or closed.late & closed.actions.keys():
            raise Violation("an agent that is present is neither late nor counted")
        for agent, action in closed.actions.items():
            meant: Any = action
            if (meant.agent, meant.tick) != (agent, closed.tick):
                raise Violation(f"at tick {closed.tick} counts {meant}")
            if meant.life != self.lives[agent]:
                raise Violation(f"an act of incarnation {meant.life} counts in incarnation {self.lives[agent]} of {agent}")
            first = self.stored.get((agent, closed.tick))
            if first is not None and first.life == meant.life and first != meant:
                raise Violation(f"{meant} counts, but {first} came before")

    def _check_all(self) -> None:
        for player in self.past:
            if player.seen != sorted(set(player.seen)):
                raise Violation(f"{player.name} sees ticks {player.seen}")
            for tick, applied in player.transitions.items():
                if tick not in player.acted or tick not in player.seen:
                    raise Violation(f"{player.name} keeps a transition of tick {tick}, which it has not played")
                closed, present = self.ledger[tick]
                if player.name not in present or self.lives_at[tick][player.name] != player.life:
                    raise Violation(f"{player.name} keeps a transition of tick {tick}, in which incarnation {player.life} took no part")
                if closed.actions.get(player.name) != applied:
                    raise Violation(f"{player.name} records that {applied} counted at tick {tick}")
        for name, player in self.players.items():
            if player.seen[-1] < len(self.ledger) - self.ticks_after or not player.transitions:
                raise Violation(f"{name} takes no part after the network has healed")


def catch(server: type[StepServer], client: type[StepClient] = StepClient, check_lives: bool = True, seeds: int = SEEDS) -> str | None:
    """The first violation, if any."""
    for seed in range(seeds):
        try:
            World(seed, server, client, check_lives).run()
        except Violation as violation:
            return f"seed {seed}: {violation}"
    return None
