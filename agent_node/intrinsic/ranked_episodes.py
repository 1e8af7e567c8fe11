"""Ranked episodes (RAPID: Zha et al., arXiv 2101.08152): the steps of the best own episodes are imitated.

    S = w0 * return + w1 * local + w2 * global
    local = different states / steps,   global = mean over the steps of 1 / sqrt(N(s))

N(s) counts the visits of s in all training episodes so far. States are what the policy sees. The buffer has the pairs (observation, action)
of the highest scores; an episode at its edge is kept in part. Global novelty falls while states are visited again, and is computed anew
for all pairs whenever episodes come in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Imitation, Learner, Metrics, State, arrays, tensors, with_prefix
from agent_node.intrinsic.settings import RankedEpisodesSettings
from agent_node.intrinsic.state_counts import StateCounts, StateHash
from agent_node.learners.library.optimisers import remaining
from agent_node.memory.episode import Episode
from agent_node.session.observation_features import Features

_COUNTS = "counts."


class RankedEpisodes(Imitation):
    """Imitation `ranked`: the buffer, and gradient steps on batches of it that are drawn uniformly."""

    def __init__(self, settings: RankedEpisodesSettings, features: Features, seed: int) -> None:
        self.settings = settings
        self._features = features
        self._random = np.random.default_rng(seed)
        self._hash = StateHash(features.policy_spec(), "observation")
        self._counts = StateCounts()
        self._pairs: dict[str, Array] = {
            "observation": np.zeros((0, features.history, features.size), features.dtype),
            "action": np.zeros((0, features.action_size), np.int32 if features.discrete else np.float32),
            "state": np.zeros(0, np.int64),
            "episode": np.zeros(0, np.int64),
            "return": np.zeros(0, np.float32),
            "local": np.zeros(0, np.float32),
        }
        """of each pair: observation, action, number of the state in the counts; number, return and local novelty of its episode"""
        self._episodes = self._steps = self._ended = 0
        """training episodes so far, their steps, and those that ended since the last rollout"""
        self._scores = np.zeros(0)

    def episode_ended(self, episode: Episode) -> None:
        """Count the states of an own training episode, and rank it with the others."""
        if episode.evaluation or episode.peer_lost or not episode.steps or (episode.substituted is not None and episode.substituted.any()):
            return
        hashes = self._hash(episode.observation[:-1])
        self._episodes, self._steps, self._ended = self._episodes + 1, self._steps + episode.steps, self._ended + 1
        local = len(np.unique(hashes)) / episode.steps
        new: dict[str, Array] = {
            "observation": episode.histories(self._features.history)[:-1],
            "action": episode.action,
            "state": self._counts.add(hashes),
            "episode": np.full(episode.steps, self._episodes),
            "return": np.full(episode.steps, episode.total_reward, np.float32),
            "local": np.full(episode.steps, local, np.float32),
        }
        merged = {name: np.concatenate([kept, new[name]]) for name, kept in self._pairs.items()}
        scores = self._ranks(merged)
        order = np.argsort(-scores, kind="stable")[: self.settings.pairs]
        self._pairs, self._scores = {name: values[order] for name, values in merged.items()}, scores[order]

    def _ranks(self, pairs: Mapping[str, Array]) -> NDArray[np.float64]:
        """S of the episode of each pair."""
        _, of = np.unique(pairs["episode"], return_inverse=True)
        rarity = 1 / np.sqrt(self._counts.visits(pairs["state"]))
        means = np.bincount(of, rarity) / np.bincount(of)
        settings = self.settings
        found: NDArray[np.float64] = (
            settings.return_weight * pairs["return"] + settings.local_weight * pairs["local"] + settings.global_weight * means[of]
        )
        return found

    def learn(self, learner: Learner) -> Metrics:
        """`updates` gradient steps for each training episode that has ended since the last rollout. Metrics: mean `loss`, `updates`."""
        steps = round(self.settings.updates * self._ended * remaining(self._steps, self.settings.decay_steps))
        self._ended = 0
        if not steps or not len(self._scores):
            return {}
        goals = np.zeros((self.settings.batch_size, 0), np.float32)
        losses = []
        for _ in range(steps):
            rows = self._random.integers(len(self._scores), size=self.settings.batch_size)
            observations = self._features.encode(self._pairs["observation"][rows])
            losses.append(learner.imitate(observations, goals, self._pairs["action"][rows]))
        return {"loss": float(np.mean(losses)), "updates": float(steps)}

    def metrics(self) -> Metrics:
        """`ranked.pairs` in the buffer, means over them of the `score` and the `return` of their episodes, number of different `episodes`
        among them, and different `states` in all training episodes."""
        if not len(self._scores):
            return {}
        return {
            "ranked.pairs": float(len(self._scores)),
            "ranked.score": float(self._scores.mean()),
            "ranked.return": float(self._pairs["return"].mean()),
            "ranked.episodes": float(len(np.unique(self._pairs["episode"]))),
            "ranked.states": float(len(self._counts)),
        }

    def state_dict(self) -> State:
        """The buffer, the counts of states, and the numbers of training episodes and of their steps."""
        progress = np.array([self._episodes, self._steps, self._ended])
        counts = {f"{_COUNTS}{name}": tensor for name, tensor in self._counts.state_dict().items()}
        return tensors({name: values.copy() for name, values in self._pairs.items()} | {"progress": progress}) | counts

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned. `ValueError` names what is missing or does not fit."""
        found = arrays(state)
        for name, kept in self._pairs.items():
            if name not in found:
                raise ValueError(f"{name} is missing in the state")
            if found[name].shape[1:] != kept.shape[1:] or len(found[name]) != len(found["state"]):
                raise ValueError(f"{name} has shape {list(found[name].shape)} in the state and {[-1, *kept.shape[1:]]} here")
        self._counts.load_state_dict(with_prefix(_COUNTS, state))
        self._pairs = {name: found[name].copy() for name in self._pairs}
        self._episodes, self._steps, self._ended = found["progress"].tolist()
        self._scores = self._ranks(self._pairs)
