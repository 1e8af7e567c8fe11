"""The rules that every vector environment's flags obey."""

from __future__ import annotations

import numpy as np

from env_server.environments.environment_contracts import EpisodeRecord, TickResult, VectorEnvironment
from protocols.conversations.stepping.stepping_messages import Flag


class FlagRules:
    """Follows the outcomes of a vector environment and fails at the first one that breaks the contract."""

    def __init__(self, environment: VectorEnvironment) -> None:
        shape = (len(environment.agents), environment.copies)
        self.environment = environment
        self.state = np.full(shape, "out", dtype=object)
        self.total = np.zeros(shape)
        self.steps = np.zeros(shape, int)
        self.ends: dict[tuple[int, str], tuple[float, int]] = {}

    def check(self, outcome: TickResult) -> None:
        for i, agent in enumerate(self.environment.agents):
            batch = outcome.agents[agent]
            layout = self.environment.layout(agent)
            assert batch.observation.shape == (self.environment.copies, *layout.shape)
            assert batch.observation.dtype == (np.uint8 if layout.dtype == "u1" else np.float32)
            assert batch.reward.dtype == np.float32 and batch.flags.dtype == np.uint16
            for copy in range(self.environment.copies):
                self._row(i, agent, copy, Flag(int(batch.flags[copy])), float(batch.reward[copy]), int(outcome.episode[copy]))
        assert outcome.episode.dtype == np.int64

    def _row(self, i: int, agent: str, copy: int, flag: Flag, reward: float, episode: int) -> None:
        state = self.state[i, copy]
        if not flag & Flag.MEMBER:
            assert flag == 0
            self.state[i, copy] = "out"
            return
        ended = flag & (Flag.TERMINATED | Flag.TRUNCATED)
        if flag & Flag.FIRST:
            assert state in ("out", "over") and not ended and not flag & (Flag.OVER | Flag.PARKED)
            self.total[i, copy], self.steps[i, copy] = 0.0, 0
            self.state[i, copy] = "active"
            return
        assert state in ("active", "parked"), (state, flag)
        if state == "parked":
            assert flag & Flag.PARKED and not ended and reward == 0
        else:
            assert not flag & Flag.PARKED
            self.total[i, copy] += reward
            self.steps[i, copy] += 1
        if ended:
            self.state[i, copy] = "parked"
            self.ends[episode, agent] = self.total[i, copy], self.steps[i, copy]
        if flag & Flag.OVER:
            assert self.state[i, copy] == "parked", "an episode ends only after the parts of all"
            self.state[i, copy] = "over"

    def check_records(self, records: list[EpisodeRecord]) -> None:
        """Records agree with what the agents saw."""
        for record in records:
            assert record.episode >= 0
            for agent, reward, length in zip(record.members, record.rewards, record.lengths, strict=True):
                if (record.episode, agent) in self.ends:
                    total, steps = self.ends.pop((record.episode, agent))
                    assert np.isclose(total, reward, atol=1e-5) and steps == length
                else:
                    assert record.peer_lost
