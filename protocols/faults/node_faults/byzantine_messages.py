"""A Byzantine agent: its own state is correct, and messages are falsified when they are sent, by the fault schedule.

Channel `avg`: the vector of an averaging round (of push-sum: the sum of all offers so far) is replaced by an attack of
`protocols.averaging.byzantine_attacks`. Channel `trace`: other features achieved, another reward. Channel `goal`: another goal pursued,
another message proposed. False traces and goals are well formed: only plausibility checks can detect them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from zlib import crc32

import numpy as np

from protocols.averaging.averaging_messages import ROUND_MESSAGES, Average, Compressed, Share
from protocols.averaging.byzantine_attacks import ATTACKS, AttackContext, apply_attack, draws
from protocols.conversations.conversation import Array, Send
from protocols.conversations.episode_exchange import Trace
from protocols.conversations.proposals import Propose
from protocols.faults.settings import ByzantineFault
from protocols.wire.message_registry import corruptions
from protocols.wire.messages import Message


class MessageCorruption(ABC):
    """Falsifies the messages of one conversation, which names this class when it registers. `name`: the sender; `seed`: of the faults.

    The same message must always be replaced by the same one: random draws are keyed by seed, sender, receiver and round.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    def observe(self, src: str, message: Message, arrays: Mapping[str, Array]) -> None:  # noqa: B027  optional
        """A message received from `src`: colluding and adaptive attacks depend on these."""

    @abstractmethod
    def corrupt(self, send: Send, attacks: Mapping[str, ByzantineFault]) -> Send:
        """What is sent in place of `send` while these faults (by id, maybe none) are active. `send` itself is not changed."""


class ByzantineSender:
    """Falsifies what `name` sends by the classes that the conversations register. `seed`: of the faults."""

    def __init__(self, name: str, seed: int) -> None:
        made: dict[str, MessageCorruption] = {}
        for place in corruptions().values():
            if place not in made:
                module, _, attribute = place.partition(":")
                made[place] = getattr(import_module(module), attribute)(name, seed)
        self._corruptions = {kind: made[place] for kind, place in corruptions().items()}

    def observe(self, src: str, message: Message, arrays: Mapping[str, Array]) -> None:
        """A message received from `src`."""
        corruption = self._corruptions.get(type(message))
        if corruption is not None:
            corruption.observe(src, message, arrays)

    def corrupt(self, send: Send, attacks: Mapping[str, ByzantineFault]) -> Send:
        """What is sent in place of `send` while `attacks` are active."""
        corruption = self._corruptions.get(type(send.message))
        return send if corruption is None else corruption.corrupt(send, attacks)


REMEMBERED = 8
"""own rounds that `stale_replay` can send again"""


class VectorCorruption(MessageCorruption):
    """Falsifies the vectors of averaging rounds."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self._known: dict[str, Array] = {}
        self._past: deque[tuple[int, Array]] = deque(maxlen=REMEMBERED)

    def observe(self, src: str, message: Message, arrays: Mapping[str, Array]) -> None:
        """Keep the newest vector of each neighbour."""
        vector = _vector(arrays)
        if isinstance(message, ROUND_MESSAGES) and vector is not None:
            self._known[src] = arrays[vector]

    def corrupt(self, send: Send, attacks: Mapping[str, ByzantineFault]) -> Send:
        """Replace the vector."""
        message, name = send.message, _vector(send.arrays)
        if not isinstance(message, Average | Share | Compressed) or name is None:
            return send
        own = send.arrays[name]
        if not self._past or self._past[-1][0] < message.round:
            self._past.append((message.round, np.array(own)))
        for fault, attack in attacks.items():
            if attack.channel == "avg" and attack.attack in ATTACKS:
                random = draws(self.seed ^ crc32(fault.encode()), self.name, send.dst, message.round)
                known = {other: vector for other, vector in self._known.items() if vector.shape == own.shape}
                context = AttackContext(own, known, send.dst, message.round, attack.scale, random, self._past[0][1])
                send = send._replace(arrays={**send.arrays, name: apply_attack(attack.attack, context).astype(own.dtype)})
        return send


class GoalCorruption(MessageCorruption):
    """Falsifies proposals and traces. The false numbers are no larger than those of correct messages seen so far."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self._largest = {"goal": 0, "feature": 0, "message": 0}

    def observe(self, src: str, message: Message, arrays: Mapping[str, Array]) -> None:
        """Keep the largest numbers of correct messages."""
        if not isinstance(message, Trace | Propose):
            return
        columns = {"goal": arrays.get("goal"), "message": arrays.get("message")}
        touch = arrays.get("touch")
        if touch is not None and touch.ndim == 2 and touch.shape[1] == 4:
            columns["feature"] = touch[:, 3]
        for what, values in columns.items():
            if values is not None and values.size and values.dtype.kind == "i":
                self._largest[what] = max(self._largest[what], int(values.max()))

    def corrupt(self, send: Send, attacks: Mapping[str, ByzantineFault]) -> Send:
        """Replace features and rewards, or goals and messages."""
        if not isinstance(send.message, Trace | Propose):
            return send
        self.observe(self.name, send.message, send.arrays)
        for attack in attacks.values():
            if attack.channel in ("trace", "goal") or attack.attack in ("false_trace", "false_goal"):
                trace = attack.channel == "trace" or attack.attack == "false_trace"
                send = send._replace(arrays=self._trace(send.arrays) if trace else self._goal(send.arrays))
        return send

    def _trace(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        changed = dict(arrays)
        if "touch" in arrays:
            touch = np.array(arrays["touch"])
            touch[:, 3] = (touch[:, 3] + 1) % (self._largest["feature"] + 1)
            changed["touch"] = touch
        if "reward" in arrays:
            changed["reward"] = np.ones_like(arrays["reward"])
        return changed

    def _goal(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        changed = dict(arrays)
        if "goal" in arrays:
            changed["goal"] = (arrays["goal"] + 1) % np.int32(self._largest["goal"] + 1)
        elif "message" in arrays:
            changed["message"] = (arrays["message"] + 1) % np.int32(self._largest["message"] + 1)
        return changed


def _vector(arrays: Mapping[str, Array]) -> str | None:
    """The name of the frame that holds parameters: the largest one of floating point."""
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f" and array.ndim == 1]
    return max(floats, key=lambda name: arrays[name].size, default=None)
