"""A learner and an exchange that stand still on demand."""

from __future__ import annotations

from agent_node.contracts import Batch, Metrics
from agent_node.contracts.component import Component, State
from agent_node.learners.double_dqn import DoubleDQN
from benchmarks.planted.hangs import plant


class PlantedLearner(DoubleDQN):
    """Double DQN whose updates may stand still."""

    def learn(self, batch: Batch) -> Metrics:
        """As Double DQN."""
        plant("learn")
        return super().learn(batch)


class Planted(Component):
    """An exchange whose ticks and checkpoints may stand still."""

    def __init__(self, settings: object) -> None:
        self.settings = settings

    def tick(self, now: float) -> None:
        """Nothing."""
        plant("tick")

    def state_dict(self) -> State:
        """Nothing."""
        plant("checkpoint")
        return {}
