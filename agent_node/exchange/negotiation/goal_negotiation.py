"""Before an episode: which goal the agent takes, by itself or by agreement with the other members.

For each offered episode the leader draws a goal from its own source and, with a negotiation, one message for it; the others read their goal
from the message. Where no agreement comes about in time each goes on with a goal of its own, and the episode counts as not negotiated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import GoalSource
from agent_node.exchange.negotiation.coordination_game import CoordinationGame, convention_accuracy
from protocols.conversations.conversation import column, episodes
from protocols.conversations.negotiation.proposals import Negotiation, NegotiationSettled, ProposalReceived
from protocols.conversations.negotiation.signalling_convention import leading_choices, reading_choices
from protocols.runtime.errors import BadMessage
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import NO_GOAL, Goal


@dataclass
class EpisodeAgreement:
    """What the agent knows of one episode to come or running."""

    episode: int
    others: tuple[str, ...]
    leader: str
    evaluation: bool
    goal: Goal = NO_GOAL
    message: int = -1
    negotiated: bool = False
    decided: bool = False


class GoalNegotiation:
    """Answers offers with goals. `game` and `negotiation` are both there or both None (each for itself). `remembered`: agreements kept;
    the oldest leave first."""

    def __init__(
        self,
        name: str,
        seed: int,
        source: GoalSource,
        game: CoordinationGame | None,
        negotiation: Negotiation | None,
        remembered: int = 8192,
    ) -> None:
        self.source = source
        self.game = game
        self.negotiation = negotiation
        self._name = name
        self._remembered = remembered
        self._key = (seed, crc32(name.encode()))
        self._agreements: OrderedDict[int, EpisodeAgreement] = OrderedDict()
        self._answers: dict[int, EpisodeAgreement] = {}
        self._outcomes: OrderedDict[int, tuple[Goal, float]] = OrderedDict()

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
        if self.game is None or self.negotiation is None or not isinstance(agreement.goal, int):
            self._decide(agreement)
            return
        agreement.message = self.game.lead(agreement.goal, random)
        self.negotiation.lead(agreement.episode, agreement.others, agreement.message, now)

    def settle(self) -> None:
        """Turn what the negotiation has come to into decisions."""
        if self.negotiation is None or self.game is None:
            return
        for event in self.negotiation.events():
            agreement = self._agreements.get(event.episode)
            if agreement is None or agreement.decided:
                continue
            if isinstance(event, ProposalReceived):
                agreement.message = event.message
                agreement.goal = self.game.follow(event.message, self._random(event.episode))
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
        """What is known of an episode; None after a restart or for very old ones."""
        return self._agreements.get(episode)

    def finished(self, episode: int, goal: Goal, reward: float, learn: bool) -> None:
        """An episode is over: the source hears its outcome, and the table, if it was negotiated. Evaluations (`learn` false) teach none,
        nor do episodes whose `goal` is another than agreed on, because the environment server did not wait for it any longer."""
        agreement = self._agreements.pop(episode, None)
        if self.negotiation is not None:
            self.negotiation.forget(episode)
        if agreement is None or agreement.goal != goal or not learn:
            return
        self.source.update(agreement.goal, reward)
        self._outcomes[episode] = agreement.goal, reward
        if len(self._outcomes) > self._remembered:
            self._outcomes.popitem(last=False)
        if self.game is not None and agreement.negotiated and isinstance(agreement.goal, int):
            self.game.update([(agreement.goal, agreement.message, reward)])

    def completed(self, episode: int, partner_goals: Sequence[int]) -> None:
        """The other members' goals in an episode that is over are known: the source hears of them, if it was told the outcome.
        The table never does: it learns from what was negotiated and earned, and not from hindsight."""
        outcome = self._outcomes.pop(episode, None)
        if outcome is not None:
            self.source.completed(*outcome, partner_goals)

    def metrics(self) -> dict[str, float]:
        """`goals.entropy`: of the source's probabilities, as a share of ln |G|; `negotiation.self_consistency`: how far the agent would
        understand itself, by `convention_accuracy` of its own table."""
        probabilities = self.source.probabilities()
        positive = probabilities[probabilities > 0]
        values: dict[str, float] = {}
        if len(probabilities):
            values["goals.entropy"] = float(-(positive * np.log(positive)).sum() / np.log(max(2, len(probabilities))))
        if self.game is not None:
            values["negotiation.self_consistency"] = convention_accuracy(self.game.table, self.game.table)
        return values

    def choices(self) -> dict[str, NDArray[Any]]:
        """Frames from which the run server tells how far agents understand each other: `leading[|G|]` and `reading[|M|]` (see
        `protocols.conversations.negotiation.signalling_convention`); none without a game."""
        if self.game is None:
            return {}
        return {"leading": leading_choices(self.game.table), "reading": reading_choices(self.game.table)}

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
