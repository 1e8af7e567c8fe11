"""Goals of the agent's episodes, drawn by itself or negotiated with the other members before the episode begins.

For each offered episode the leader draws a goal from its own source and, with a negotiation, one message for it; the others derive their
goal from the message. Without an agreement before the deadline each member draws a goal of its own, and the episode counts as not
negotiated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Component, EpisodeNegotiation, GoalSource, Metrics
from agent_node.memory.episode_recorder import Episode
from agent_node.session.session_context import SessionContext, SessionProgress
from protocols.conversations.conversation import column, episodes
from protocols.conversations.negotiation.proposals import Negotiation, NegotiationSettled, ProposalReceived
from protocols.runtime.errors import BadMessage
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import NO_GOAL, Goal


@dataclass
class EpisodeAgreement:
    """State of one offered or running episode."""

    episode: int
    others: tuple[str, ...]
    leader: str
    evaluation: bool
    goal: Goal = NO_GOAL
    message: int = -1
    negotiated: bool = False
    decided: bool = False


class GoalNegotiation(Component):
    """Answers offers with goals. `table` and `negotiation` are both given, or both None (each agent draws its own goals). `remembered`:
    number of agreements kept; the oldest are dropped first."""

    def __init__(
        self,
        name: str,
        seed: int,
        source: GoalSource,
        table: EpisodeNegotiation | None,
        negotiation: Negotiation | None,
        remembered: int = 8192,
    ) -> None:
        self.source = source
        self.table = table
        self.negotiation = negotiation
        self._name = name
        self._remembered = remembered
        self._key = (seed, crc32(name.encode()))
        self._agreements: OrderedDict[int, EpisodeAgreement] = OrderedDict()
        self._answers: dict[int, EpisodeAgreement] = {}
        self._outcomes: OrderedDict[int, tuple[Goal, float]] = OrderedDict()
        self._progress = SessionProgress()

    def joined(self, context: SessionContext) -> None:
        """Negotiate with the members of episodes."""
        self._progress = context.progress
        if self.negotiation is not None:
            context.converse(self.negotiation)

    def episode_ended(self, episode: Episode) -> None:
        """Complete the episode with its agreement, and learn from its outcome."""
        agreement = self.agreement(episode.number)
        if agreement is not None:
            episode.message, episode.role = agreement.message, int(agreement.leader == self._name)
            episode.negotiated, episode.partners = agreement.negotiated, agreement.others
        learn = self._progress.learning and not (episode.evaluation or episode.peer_lost)
        self.finished(episode.number, episode.goal, episode.total_reward, learn)

    def tick(self, now: float) -> None:
        """Decide the goals that the negotiation has settled."""
        self.settle_goals()

    def offered(self, offers: dict[str, NDArray[Any]], members: list[str], now: float) -> None:
        """Take the frames of an `Offer`; `members` are the names its indices mean. Episodes that are known are answered again. `BadMessage`
        for malformed ones, of which nothing is taken."""
        numbers = episodes(offers)
        n = len(numbers)
        places = offers.get("members")
        if places is None or places.dtype != np.int16 or places.ndim != 2 or len(places) != n or not places.shape[1]:
            raise BadMessage("E_FRAME", f"members is not [{n}, M] of i2")
        if ((places < -1) | (places >= len(members))).any() or (places[:, 0] < 0).any():
            raise BadMessage("E_FRAME", f"an episode without leader, or a member outside of [0, {len(members)})")
        evaluations, goals = column(offers, "evaluation", "u1", n), column(offers, "goal", "i4", n)
        rows = zip(numbers.tolist(), places.tolist(), evaluations.tolist(), goals.tolist(), strict=True)
        for episode, indices, evaluation, assigned in rows:
            known = self._agreements.get(episode)
            if known is not None:
                if known.decided:
                    self._answers[episode] = known
                continue
            names = [members[i] for i in indices if i >= 0]
            others = tuple(name for name in names if name != self._name)
            agreement = EpisodeAgreement(episode, others, names[0], bool(evaluation), assigned)
            self._agreements[episode] = agreement
            if assigned != NO_GOAL:
                self._decide(agreement)
            elif names[0] == self._name:
                self._lead(agreement, now)
            elif self.negotiation is not None:
                self.negotiation.follow(episode, agreement.leader, now)
            else:
                self._own_goal(agreement)
        while len(self._agreements) > self._remembered:
            self._agreements.popitem(last=False)

    def _lead(self, agreement: EpisodeAgreement, now: float) -> None:
        random = self._random(agreement.episode)
        agreement.goal = self.source.propose(random)
        if self.table is None or self.negotiation is None or not isinstance(agreement.goal, int):
            self._decide(agreement)
            return
        agreement.message = self.table.lead(agreement.goal, random)
        self.negotiation.lead(agreement.episode, agreement.others, agreement.message, now)

    def settle_goals(self) -> None:
        """Decide the goals that the negotiation has settled."""
        if self.negotiation is None or self.table is None:
            return
        for event in self.negotiation.events():
            agreement = self._agreements.get(event.episode)
            if agreement is None or agreement.decided:
                continue
            if isinstance(event, ProposalReceived):
                agreement.message = event.message
                agreement.goal = self.table.follow(event.message, self._random(event.episode))
            elif isinstance(event, NegotiationSettled):
                agreement.negotiated = event.negotiated
                if agreement.goal == NO_GOAL:
                    self._own_goal(agreement)
                else:
                    self._decide(agreement)

    def answers(self) -> dict[str, NDArray[Any]] | None:
        """Frames of a `Goals` message with all decisions since the last call."""
        if not self._answers:
            return None
        decided, self._answers = list(self._answers.values()), {}
        return {
            "episode": np.array([a.episode for a in decided], np.int64),
            "goal": np.array([a.goal for a in decided], np.float32 if isinstance(decided[0].goal, tuple) else np.int32),
            "negotiated": np.array([a.negotiated for a in decided], np.uint8),
        }

    def agreement(self, episode: int) -> EpisodeAgreement | None:
        """State of an episode; None after a restart and for very old episodes."""
        return self._agreements.get(episode)

    def finished(self, episode: int, goal: Goal, reward: float, learn: bool) -> None:
        """An episode ended: update the source, and the table if it was negotiated. Evaluations (`learn` false) are not learnt from, nor are
        episodes whose `goal` differs from the agreement, because the environment server no longer waited for it."""
        agreement = self._agreements.pop(episode, None)
        if self.negotiation is not None:
            self.negotiation.forget(episode)
        if agreement is None or agreement.goal != goal or not learn:
            return
        self.source.update(agreement.goal, reward)
        self._outcomes[episode] = agreement.goal, reward
        if len(self._outcomes) > self._remembered:
            self._outcomes.popitem(last=False)
        if self.table is not None and agreement.negotiated and isinstance(agreement.goal, int):
            self.table.update([(agreement.goal, agreement.message, reward)])

    def completed(self, episode: int, partner_goals: Sequence[int]) -> None:
        """The goals of the other members in an ended episode are known: pass them to the source, with the outcome. The table learns from
        negotiated goals and their rewards alone, not from hindsight."""
        outcome = self._outcomes.pop(episode, None)
        if outcome is not None:
            self.source.completed(*outcome, partner_goals)

    def metrics(self) -> Metrics:
        """`goals.entropy`: of the source's probabilities, as a share of ln |G|."""
        probabilities = self.source.probabilities()
        positive = probabilities[probabilities > 0]
        if not len(probabilities):
            return {}
        return {"goals.entropy": float(-(positive * np.log(positive)).sum() / np.log(max(2, len(probabilities))))}

    def _own_goal(self, agreement: EpisodeAgreement) -> None:
        agreement.goal = self.source.propose(self._random(agreement.episode))
        self._decide(agreement)

    def _decide(self, agreement: EpisodeAgreement) -> None:
        agreement.decided = True
        self._answers[agreement.episode] = agreement

    def _random(self, episode: int) -> np.random.Generator:
        # One generator per episode: choices do not depend on the order in which messages arrive.
        seed, node = self._key
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(node, int(Stream.GOALS), episode)))
