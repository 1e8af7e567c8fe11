"""Lock-step under loss, repetition, reordering, deaths and returns; and the checker finds what is broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.conversations.stepping.stepping import StepClient, StepServer
from tests.protocols.conversations.stepping_world import World, catch


def test_every_act_counts_once_whatever_the_network_does() -> None:
    assert catch(StepServer) is None


# --- the checker can fail ---------------------------------------------------------------------------------------------------------


class LastValueWins(StepServer):
    """No deduplication: a repetition replaces what was stored."""

    def receive(self, agent: str, tick: int, action: Any) -> Any:
        verdict = super().receive(agent, tick, action)
        if verdict == "duplicate":
            self._actions[agent] = action
        return verdict


class NoOrder(StepServer):
    """Acts count for whatever tick is open."""

    def receive(self, agent: str, tick: int, action: Any) -> Any:
        return super().receive(agent, self.tick, action)


class RemembersTheDead(StepServer):
    """An agent that joins anew keeps what an earlier incarnation has sent."""

    def join(self, agent: str) -> bool:
        self._joining.add(agent)
        return True


class Endless(StepServer):
    """No deadline."""

    def ready(self, now: float) -> bool:
        return super().ready(-1e9)


class Impatient(StepServer):
    """Closes as soon as any agent has acted."""

    def ready(self, now: float) -> bool:
        return super().ready(now) or bool(self._actions)


class WrongAnswer(StepServer):
    """Keeps answers under the tick that was played instead of the one that is open."""

    def answer(self, agent: str, tick: int) -> Any:
        kept = self._answers[agent]
        found = kept.get(tick + 1)
        return None if found is None else (found[0] + 1, *found[1:])


class SeesTwice(StepClient):
    """Repeated observations are new ones."""

    def observed(self, server: str, tick: int, now: float) -> bool:
        if tick == self.tick:
            self.tick -= 1
        return super().observed(server, tick, now)


class AlwaysContinuous(StepClient):
    """Does not notice missed ticks."""

    def observed(self, server: str, tick: int, now: float) -> bool:
        fresh = self.tick >= 0
        new = super().observed(server, tick, now)
        self.continuous = fresh
        return new


class NeverRepeats(StepClient):
    """One try for each act."""

    def again(self, now: float) -> bool:
        return False


SERVERS = [LastValueWins, NoOrder, RemembersTheDead, Endless, Impatient, WrongAnswer]


@pytest.mark.parametrize("server", SERVERS)
def test_a_broken_server_is_caught(server: type[StepServer]) -> None:
    assert catch(server, seeds=1000) is not None


@pytest.mark.parametrize("client", [SeesTwice, AlwaysContinuous])
def test_a_broken_agent_is_caught(client: type[StepClient]) -> None:
    assert catch(StepServer, client, seeds=1000) is not None


def test_messages_of_earlier_lives_are_caught() -> None:
    assert catch(StepServer, check_lives=False, seeds=1000) is not None


def test_without_retries_acts_are_lost() -> None:
    """Nothing breaks without retries, but the deadline must stand in for every lost act."""

    def late(client: type[StepClient]) -> float:
        shares = []
        for seed in range(60):
            world = World(seed, StepServer, client, deaths=False)
            world.loss, world.delay = 0.3, 0.05
            world.run()
            shares.append(np.mean([len(closed.late) / max(1, len(present)) for closed, present in world.ledger]))
        return float(np.mean(shares))

    assert late(NeverRepeats) > 1.4 * late(StepClient)
