"""What the partners would have done under the goal that is relearnt: own ratios are told, theirs weight the steps in the buffer.

    rho_j(t) = clip(pi_j(a_j | o_j, g') / pi_j(a_j | o_j, g_j), 0, 2)

with g' the goal with which all members relabel the episode (`relabelling.agreed_goal`) and g_j the one that j pursued, both by j's policy
as it is when the episode has ended. Steps that the environment took in j's stead, and those after j's own part, have rho_j = 1: they would
have been the same. With several partners their product counts, clipped again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Learner
from agent_node.memory.episode_recorder import Episode
from agent_node.memory.replay.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.training_batches import goal_encodings
from protocols.conversations.hindsight.correction_exchange import LARGEST_RATIO, CorrectionExchange, EpisodeCorrection
from protocols.conversations.hindsight.episode_exchange import ExchangeComplete
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.goal_space import DiscreteSpace


class PartnerCorrections:
    """One agent's side of the corrections. `ConfigurationError` if its learner can't say how likely an action is."""

    def __init__(
        self,
        learner: Learner,
        features: Features,
        space: DiscreteSpace,
        buffer: ReplayBuffer | None,
        machine: CorrectionExchange,
    ) -> None:
        if "probabilities" not in learner.capabilities:
            raise ConfigurationError(
                "exchange.hindsight.partner: corrected needs learners that can say how likely an action is, and this one can't; "
                "write consistent"
            )
        self.machine = machine
        self._learner = learner
        self._features = features
        self._encodings = goal_encodings(space)
        self._buffer = buffer

    def finished(self, episode: Episode, goal: int, others: Iterable[str], now: float) -> None:
        """All traces of an own episode are there, and all relabel it with `goal`: tell the other members."""
        self.machine.finished(EpisodeCorrection(episode.number, goal, self.ratios(episode, goal)), others, now)

    def ratios(self, episode: Episode, goal: int) -> NDArray[np.float16]:
        """rho(t) of the own steps, `[T]`."""
        if goal == episode.goal:
            return np.ones(episode.steps, np.float16)
        observation = self._features.encode(episode.histories(self._features.history)[:-1])
        shape = (episode.steps, self._encodings.shape[1])
        wanted, pursued = (np.broadcast_to(self._encodings[number], shape) for number in (goal, episode.goal_index))
        change = self._learner.log_probability(observation, wanted, episode.action)
        change = change - self._learner.log_probability(observation, pursued, episode.action)
        ratio = np.exp(np.minimum(change, np.log(LARGEST_RATIO)))
        if episode.substituted is not None:
            ratio[episode.substituted] = 1
        return np.minimum(ratio, LARGEST_RATIO).astype(np.float16)

    def attach(self) -> None:
        """Give the buffer the weights of episodes whose corrections have all come. Those without keep 1."""
        for event in self.machine.events():
            if not isinstance(event, ExchangeComplete) or self._buffer is None:
                continue
            steps = len(event.own.ratios)
            product = np.ones(steps, np.float32)
            for theirs in event.others.values():
                known = min(steps, len(theirs.ratios))
                product[:known] *= theirs.ratios[:known]
            self._buffer.attach_ratios(event.episode, np.minimum(product, np.float32(LARGEST_RATIO)))
