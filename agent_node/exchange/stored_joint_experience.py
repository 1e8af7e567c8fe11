"""Joint experience from a dataset on the side of one agent: the episodes of its own shard take the place of those that it plays.

The agents exchange them in the order of their numbers (`protocols.conversations.stored_experience`), and no agent learns before all have
all joint episodes. Where none has become complete for `PATIENCE` deadlines, learning begins with the complete ones; the others are added
when they come. The joint replay is part of checkpoints, and a restarted agent states how many episodes it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch

from agent_node.contracts import Metrics, State, tensors
from agent_node.exchange.joint_experience import JointExperience
from agent_node.memory.dataset_replay import check_digest, encode_digest, open_dataset, shard_episodes
from agent_node.memory.joint_replay import JointReplay
from agent_node.session.session_context import SessionContext
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.conversations.stored_experience import StoredExperience
from protocols.datasets.settings import DatasetSettings

PATIENCE = 4
"""deadlines without a complete episode after which learning begins"""


class StoredJointExperience(JointExperience):
    """`DatasetError` for a damaged shard; `ConfigurationError` for rewards outside of `reward_range`."""

    _begun = False
    """whether learning may begin"""
    _waited = 0.0
    """seconds since an episode was complete"""
    _now: float | None = None
    """of the tick before"""

    def _make_machine(self, limits: Mapping[str, SegmentLimits], context: SessionContext) -> StoredExperience:
        self._directory = Path(cast(DatasetSettings, context.components.dataset).path)
        dataset = open_dataset(self._directory, self._own, self._features[self._own])
        self._digest = dataset.manifest.digest
        own = sorted(shard_episodes(dataset, self._own, self._features[self._own]), key=lambda episode: episode.number)
        complete = len(cast(JointReplay, self.memory).episodes)
        self.counters["complete"] = complete
        self._mine = {episode.number: episode for episode in own[complete:]}
        return StoredExperience(limits, context.retries, list(map(self._own_steps, own)), complete, self._reward_range)

    def tick(self, now: float) -> None:
        """As in `JointExperience`; learning begins where all episodes are complete, or none has been for long."""
        missing = len(self._mine)
        super().tick(now)
        self._waited = 0.0 if len(self._mine) < missing or self._now is None else self._waited + now - self._now
        self._now = now
        self._begun = self._begun or not self._mine or self._waited >= PATIENCE * self._settings.deadline

    @property
    def pauses_learning(self) -> bool:
        """Whether joint episodes are still awaited."""
        return not self._begun

    def metrics(self) -> Metrics:
        """As in `JointExperience`; `joint.complete`: joint episodes in the memory, `joint.incomplete`: those without which learning has
        begun, as long as they are missing."""
        return super().metrics() | {"joint.incomplete": float(len(self._mine) if self._begun else 0)}

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Nothing is dropped: episodes that are not complete are exchanged again."""

    def state_dict(self) -> State:
        """Digest of the dataset, whether learning has begun, and the seconds since an episode was complete."""
        progress = np.array([self._begun, self._waited], np.float64)
        return super().state_dict() | tensors({"digest": encode_digest(self._digest).copy(), "progress": progress})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ResourceError` for another dataset."""
        super().load_state_dict(state)
        check_digest(self._directory, self._digest, state["digest"].numpy())
        begun, waited = state["progress"].tolist()
        self._begun, self._waited = bool(begun), waited
