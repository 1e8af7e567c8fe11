"""Joint experience on the side of one agent: its own steps go to all other members of the team, and joint episodes into its memory.

When the steps of all members of a training episode are there, the episode is added to the joint memory (`agent_node.memory.joint_replay`);
incomplete ones are dropped and counted. Every `snapshot_every` updates the parameters from which the others compute this agent's part of
their targets are sent to them (`Learner.policy_snapshot`); the snapshot of a member that is older than `max_policy_age` own updates is
withdrawn (`Learner.load_peer_policy` with None), and the member's logged actions stand for its policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf

import numpy as np
import torch

from agent_node.contracts import Component, Metrics, ObservedTick, State, tensors
from agent_node.exchange.settings import JointExperienceSettings
from agent_node.memory.episode import Episode, histories
from agent_node.memory.joint_replay import JointReplay, JointRollouts, MemberPart
from agent_node.session.observation_features import Features
from agent_node.session.roles import JOINT_REPLAY, JOINT_ROLLOUTS, LEARNER, REPLAY_REWARD
from agent_node.session.session_context import SessionContext
from protocols.conversations.episode_exchange import EpisodeExchanged
from protocols.conversations.joint_experience import EpisodeSteps
from protocols.conversations.joint_experience import JointExperience as JointExperienceMachine
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError

NEVER = -1
"""of a member whose snapshot is not used"""


class JointExperience(Component):
    """Steps of all members, and snapshots of their policies. `ConfigurationError` where some member is no neighbour in the graph."""

    def __init__(self, settings: JointExperienceSettings, context: SessionContext) -> None:
        components, team = context.components, context.components.team
        if team is None:
            kind = components.settings.learner.kind
            raise ConfigurationError(f"exchange.joint_experience: learner {kind} does not use it; write null")
        others = [name for name in team.names if name != context.name]
        if missing := sorted(set(others) - set(context.neighbourhood.all_neighbours)):
            text = f"{context.name} has no edge to {', '.join(missing)}"
            raise ConfigurationError(f"exchange.joint_experience: {text}; write network.topology: {{kind: complete}}")
        self._settings, self._team, self._others, self._own = settings, team, others, context.name
        self._learner = components[LEARNER]
        replay = components.get(JOINT_REPLAY)
        self.memory: JointReplay | JointRollouts = components[JOINT_ROLLOUTS] if replay is None else replay
        self._replay_reward = components.get(REPLAY_REWARD)
        self._features = components.team_features
        self.counters: Counter[str] = Counter()
        self._clock, self._progress = context.clock, context.progress
        self._reward_range = (-inf, inf) if settings.reward_range is None else settings.reward_range
        self._mine: dict[int, Episode] = {}
        """own episodes whose exchange is not over"""
        self.machine = self._make_machine({name: _limits(self._features[name]) for name in others}, context)
        self._sent = NEVER
        """updates at which the newest own snapshot was made"""
        self._loaded = dict.fromkeys(others, NEVER)
        """own updates at which the snapshot of each member arrived"""

    def _make_machine(self, limits: Mapping[str, SegmentLimits], context: SessionContext) -> JointExperienceMachine:
        deadline, remembered = self._settings.deadline, context.episodes_remembered
        return JointExperienceMachine(limits, context.retries, deadline, remembered, self._reward_range)

    def joined(self, context: SessionContext) -> None:
        """Exchange steps and snapshots with all members."""
        context.converse(self.machine)

    # --- steps ----------------------------------------------------------------------------------------------------------------------

    def observed(self, tick: ObservedTick) -> None:
        """`ConfigurationError` where the agent waits for its turn: steps of different moments are no joint steps."""
        if ((tick.flags & Flag.WAITING) != 0).any():
            text = "agents of this environment take turns or enter late, and joint steps are what all agents do at the same moments"
            raise ConfigurationError(f"agents.learner: {text}; choose a learner without the capability joint")

    def episode_ended(self, episode: Episode) -> None:
        """Send the own steps of a training episode. `ConfigurationError` for own rewards outside of `reward_range`: all others would refuse
        them."""
        if episode.evaluation:
            return
        steps = self._own_steps(episode)
        if episode.peer_lost:
            self.counters["peer_lost"] += 1
            return
        self._mine[episode.number] = episode
        self.machine.finished(steps, self._others, self._clock.now())

    def _own_steps(self, episode: Episode) -> EpisodeSteps:
        (least, greatest), rewards = self._reward_range, episode.reward
        if rewards.min() < least or rewards.max() > greatest:
            text = f"{self._own} got rewards from {rewards.min():g} to {rewards.max():g}, outside of [{least:g}, {greatest:g}]"
            raise ConfigurationError(f"exchange.joint_experience.reward_range: {text}; widen it, or write null")
        return EpisodeSteps(episode.number, episode.observation, episode.action, rewards, episode.terminated)

    def tick(self, now: float) -> None:
        """Add the joint episodes that are complete, in the order of their numbers; load the snapshots that have arrived, send the own one
        where it is due, and withdraw old ones."""
        for event in sorted(self.machine.events(), key=lambda one: one.episode):
            self._exchanged(event)
        self._exchange_snapshots(now)

    def _exchanged(self, event: EpisodeExchanged[EpisodeSteps]) -> None:
        own = self._mine.pop(event.episode)
        if event.missing:
            self.counters["incomplete"] += 1
            return
        parts = [self._own_part(own) if name == self._own else self._part(name, event.others[name]) for name in self._team.names]
        joint = self.memory.add(event.episode, parts)
        self.counters["complete"] += 1
        if self._replay_reward is not None:
            self._replay_reward.joint_episode_ended(event.episode, joint, joint.reward.sum(dim=0).numpy())

    def _own_part(self, episode: Episode) -> MemberPart:
        features = self._features[self._own]
        seen = features.encode(episode.histories(features.history))
        return MemberPart(seen, episode.action, episode.reward, episode.terminated, episode.substituted, episode.extras)

    def _part(self, name: str, steps: EpisodeSteps) -> MemberPart:
        features = self._features[name]
        return MemberPart(features.encode(histories(steps.observation, features.history)), steps.action, steps.reward, steps.terminated)

    # --- snapshots ------------------------------------------------------------------------------------------------------------------

    def _exchange_snapshots(self, now: float) -> None:
        updates = self._progress.updates
        for name, snapshot in self.machine.snapshots().items():
            try:
                self._learner.load_peer_policy(self._team.names.index(name), snapshot)
            except ValueError:
                self.counters["snapshot_refused"] += 1
                continue
            self._loaded[name] = updates
            self.counters["snapshots"] += 1
        for name, loaded in self._loaded.items():
            if loaded != NEVER and updates - loaded > self._settings.max_policy_age:
                self._learner.load_peer_policy(self._team.names.index(name), None)
                self._loaded[name] = NEVER
                self.counters["snapshots_withdrawn"] += 1
        if self._sent == NEVER or updates - self._sent >= self._settings.snapshot_every:
            self._sent = updates
            self.machine.share_snapshot(updates, self._learner.policy_snapshot(), now)

    def metrics(self) -> Metrics:
        """`joint.complete`, `joint.incomplete`, `joint.peer_lost`: episodes of which all, or not all steps arrived, or that ended by the
        loss of a member; `joint.snapshots` taken; `joint.REASON` of all that was refused. Since the start of the process."""
        counts = self.counters + self.machine.counters
        return {f"joint.{name}": float(counts[name]) for name in sorted({"complete", "incomplete", *counts})}

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Episodes whose exchange is not over are dropped, at all members."""
        self.counters["incomplete"] += len(self._mine)
        self._mine.clear()

    def state_dict(self) -> State:
        """Own updates at which the snapshots of the others arrived. The own one is sent again at the start."""
        return tensors({"loaded": np.array([self._loaded[name] for name in self._others], np.int64)})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for a team of another size."""
        loaded = state["loaded"].tolist()
        if len(loaded) != len(self._others):
            raise ValueError(f"joint experience: the checkpoint is of {len(loaded) + 1} members, and the team has {len(self._others) + 1}")
        self._loaded = dict(zip(self._others, loaded, strict=True))


def _limits(features: Features) -> SegmentLimits:
    layout = features.layout
    return SegmentLimits(features.size, features.dtype, tuple(layout.actions), features.action_size)
