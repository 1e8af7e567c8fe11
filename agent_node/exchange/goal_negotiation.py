"""Goals of the agent's episodes, drawn by itself or negotiated with the other members before the episode begins.

For each offered episode the leader draws a goal from its own source and, with a negotiation, one message for it; the others derive their
goal from the message. Without an agreement before the deadline each member draws a goal of its own, and the episode counts as not
negotiated. What the messages mean is the convention of the negotiation; `CoordinationGame` is the built-in one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, EpisodeNegotiation, GoalSource, Metrics, State, arrays, tensors
from agent_node.exchange.settings import CoordinationGameSettings
from agent_node.memory.episode import Episode
from agent_node.session.session_context import SessionContext, SessionProgress
from protocols.conversations.conversation import column, episodes
from protocols.conversations.proposals import Negotiation, NegotiationSettled, ProposalReceived
from protocols.conversations.signalling_convention import accuracy, leading_choices, reading_choices
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
        """Complete the episode with its agreement, and update the source, and the table if it was negotiated. Evaluations are not learnt
        from, nor are episodes whose goal differs from the agreement, because the environment server no longer waited for it."""
        agreement = self._agreements.pop(episode.number, None)
        if self.negotiation is not None:
            self.negotiation.forget(episode.number)
        if agreement is None:
            return
        episode.message, episode.role = agreement.message, int(agreement.leader == self._name)
        episode.negotiated, episode.partners = agreement.negotiated, agreement.others
        goal, reward = episode.goal, episode.total_reward
        if agreement.goal != goal or episode.evaluation or episode.peer_lost or not self._progress.learning:
            return
        self.source.update(goal, reward)
        self._outcomes[episode.number] = goal, reward
        if len(self._outcomes) > self._remembered:
            self._outcomes.popitem(last=False)
        if self.table is not None and agreement.negotiated and isinstance(goal, int):
            self.table.update([(goal, agreement.message, reward)])

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

    def tick(self, now: float) -> None:
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


class CoordinationGame(EpisodeNegotiation):
    """Negotiation `coordination_game` over `goals` goals: a convention between goals and messages that grows from success alone (Nisioti
    et al., arXiv 2211.06082).

    Each agent owns one table P `[|G|, |M|]`, zeros at the start, used both when it leads and when it follows:
    - the leader holds goal g and sends message m with probability proportional to exp(kappa P[g, m]) over m;
    - the follower takes goal g with probability proportional to exp(kappa P[g, m]) over g;
    - after the episode each side moves its own cell toward its own reward: P[g, m] += alpha (r - P[g, m]).
    Rule `inhibition` besides shrinks, where r > 0, all other cells of that row (synonyms) and column (homonyms) by the factor 1 - alpha.
    Rule `forgetting`, the published one, learns from a whole batch of episodes instead: in each of several epochs it is cut at random into
    parts, and after every part b all cells move, P[g, m] += alpha (rbar_b(g, m) - P[g, m]), rbar_b being the mean reward of the cell in b
    and 0 where b does not have it. After epochs * parts steps the table depends mainly on the last batch, which makes the convention
    one-to-one. Only negotiated episodes count. Nothing but m is ever sent, unless the table is averaged with neighbours, as the parameter
    group `convention`: the mean of the tables is a table with the values of all, and agents that never meet come to one convention.
    """

    def __init__(self, settings: CoordinationGameSettings, goals: int, seed: int = 0) -> None:
        self.settings = settings
        self.table: NDArray[np.float64] = np.zeros((goals, settings.messages))
        self._batch: list[tuple[int, int, float]] = []
        self._seed = seed
        self._batches = 0

    @property
    def vocabulary(self) -> int:
        """|M|."""
        return self.settings.messages

    def lead(self, goal: int, random: np.random.Generator, greedy: bool = False) -> int:
        """The message to send for a goal."""
        return self._choose(self.table[goal], random, greedy)

    def follow(self, message: int, random: np.random.Generator, greedy: bool = False) -> int:
        """The goal to take for a message; `ValueError` if it is no message of this game (the sender is at fault)."""
        if not 0 <= message < self.settings.messages:
            raise ValueError(f"message {message} is not in 0..{self.settings.messages - 1}; all agents need the same negotiation.messages")
        return self._choose(self.table[:, message], random, greedy)

    def update(self, records: Iterable[tuple[int, int, float]]) -> None:
        """Learn from (goal, message, own reward) of negotiated episodes, one after the other."""
        if self.settings.update == "forgetting":
            self._batch += records
            while len(self._batch) >= self.settings.batch:
                batch, self._batch = self._batch[: self.settings.batch], self._batch[self.settings.batch :]
                self._forget_and_learn(batch)
            return
        rate = self.settings.step_size
        for goal, message, reward in records:
            cell = self.table[goal, message]
            moved = cell + rate * (reward - cell)
            if reward > 0 and self.settings.update == "inhibition":
                self.table[goal] *= 1 - rate
                self.table[:, message] *= 1 - rate
            self.table[goal, message] = moved

    def _forget_and_learn(self, batch: list[tuple[int, int, float]]) -> None:
        settings, rate = self.settings, self.settings.step_size
        goals, messages = np.array([record[:2] for record in batch], np.intp).T
        rewards = np.array([record[2] for record in batch])
        random = np.random.default_rng((self._seed, self._batches))
        self._batches += 1
        for _ in range(settings.epochs):
            for part in np.array_split(random.permutation(len(batch)), min(settings.parts, len(batch))):
                cells = goals[part], messages[part]
                total, count = np.zeros_like(self.table), np.zeros_like(self.table)
                np.add.at(total, cells, rewards[part])
                np.add.at(count, cells, 1)
                self.table += rate * (total / np.maximum(count, 1) - self.table)

    def metrics(self) -> Metrics:
        """`negotiation.self_consistency`: share of goals g for which the own best goal of the own best message for g is g."""
        return {"negotiation.self_consistency": accuracy(leading_choices(self.table), reading_choices(self.table))}

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`convention`: the table, float64, on the same memory."""
        return {"convention": [torch.from_numpy(self.table)]}

    def shared_arrays(self) -> dict[str, Array]:
        """`leading[|G|]` and `reading[|M|]` (`protocols.conversations.signalling_convention`)."""
        return {"leading": leading_choices(self.table), "reading": reading_choices(self.table)}

    def state_dict(self) -> State:
        """The table, and for `forgetting` the records `[n, 3]` of the next batch and the number of completed batches."""
        batch = np.array(self._batch, np.float64).reshape(len(self._batch), 3)
        return tensors({"table": self.table.copy(), "batch": batch, "batches": np.array([float(self._batches)])})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what is missing or has another shape."""
        found = arrays(state)
        for name, shape in (("table", self.table.shape), ("batch", (len(found.get("batch", ())), 3)), ("batches", (1,))):
            if name not in found:
                raise ValueError(f"coordination game: the checkpoint has no {name}")
            if found[name].shape != shape:
                wanted = list(shape) if name != "batch" else "[n, 3]"
                raise ValueError(f"coordination game: {name} has shape {list(found[name].shape)} in the checkpoint and {wanted} here")
        self.table[:] = found["table"]
        self._batch = [(int(goal), int(message), float(reward)) for goal, message, reward in found["batch"].tolist()]
        self._batches = int(found["batches"][0])

    def _choose(self, values: NDArray[np.float64], random: np.random.Generator, greedy: bool) -> int:
        if greedy:
            return int(random.choice(np.flatnonzero(values == values.max())))
        # The largest of (log-weight + Gumbel noise) is a draw from the softmax.
        return int((self.settings.inverse_temperature * values + random.gumbel(size=len(values))).argmax())
