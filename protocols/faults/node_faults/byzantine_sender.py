"""A lying node, seen from inside: its conversations are honest, and on its way out a message is replaced by what the schedule says.

`avg`: the vector of an averaging round (of push-sum: the sum of all offers so far) becomes an attack of
`protocols.averaging.byzantine_attacks`;
`trace`: it touched other landmarks than it did, and was rewarded for it; `goal`: it wanted another goal than it says, and proposes another
integer than its table does. Lies about traces and goals are well formed, so that only a plausibility check, or nobody, can notice them. The
same message is always replaced by the same lie.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from zlib import crc32

import numpy as np

from protocols.averaging.byzantine_attacks import ATTACKS, AttackContext, apply_attack, draws
from protocols.conversations.conversation import Array, Send
from protocols.faults.settings import ByzantineFault
from protocols.wire.messages import Average, Compressed, Message, Propose, Share, Trace

AVERAGING = (Average, Share, Compressed)
"""messages of a round, in the different modes"""
REMEMBERED = 8
"""rounds of its own that a liar can replay"""


class ByzantineSender:
    """Replaces what `name` sends. `seed`: that of the faults."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._known: dict[str, Array] = {}
        self._past: deque[tuple[int, Array]] = deque(maxlen=REMEMBERED)
        self._largest = {"goal": 0, "landmark": 0, "message": 0}

    def heard(self, src: str, message: Message, arrays: Mapping[str, Array]) -> None:
        """What others send: attacks that collude or adapt go by it."""
        vector = _vector(arrays)
        if isinstance(message, AVERAGING) and vector is not None:
            self._known[src] = arrays[vector]
        elif isinstance(message, Trace | Propose):
            self._learn(arrays)

    def tamper(self, send: Send, byzantine_attacks: Mapping[str, ByzantineFault]) -> Send:
        """What goes out instead of `send` while `byzantine_attacks` are told."""
        if isinstance(send.message, AVERAGING):
            return self._average(send, send.message, byzantine_attacks)
        if isinstance(send.message, Trace | Propose):
            self._learn(send.arrays)
            for told in byzantine_attacks.values():
                if told.channel in ("trace", "goal") or told.attack in ("false_trace", "false_goal"):
                    trace = told.channel == "trace" or told.attack == "false_trace"
                    send = send._replace(arrays=self._trace(send.arrays) if trace else self._goal(send.arrays))
        return send

    # --- models -------------------------------------------------------------------------------------------------------------------

    def _average(self, send: Send, message: Average | Share | Compressed, byzantine_attacks: Mapping[str, ByzantineFault]) -> Send:
        name = _vector(send.arrays)
        if name is None:
            return send
        own = send.arrays[name]
        if not self._past or self._past[-1][0] < message.round:
            self._past.append((message.round, np.array(own)))
        for fault, told in byzantine_attacks.items():
            if told.channel == "avg" and told.attack in ATTACKS:
                random = draws(self._seed ^ crc32(fault.encode()), self._name, send.dst, message.round)
                known = {other: vector for other, vector in self._known.items() if vector.shape == own.shape}
                situation = AttackContext(own, known, send.dst, message.round, told.scale, random, self._past[0][1])
                told_instead = apply_attack(told.attack, situation)
                send = send._replace(arrays={**send.arrays, name: told_instead.astype(own.dtype)})
        return send

    # --- traces and goals -----------------------------------------------------------------------------------------------------------

    def _learn(self, arrays: Mapping[str, Array]) -> None:
        """How large the numbers of an honest message are: a lie must not be larger."""
        columns = {"goal": arrays.get("goal"), "message": arrays.get("message")}
        touch = arrays.get("touch")
        if touch is not None and touch.ndim == 2 and touch.shape[1] == 4:
            columns["landmark"] = touch[:, 3]
        for what, values in columns.items():
            if values is not None and values.size and values.dtype.kind == "i":
                self._largest[what] = max(self._largest[what], int(values.max()))

    def _trace(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        changed = dict(arrays)
        if "touch" in arrays:
            touch = np.array(arrays["touch"])
            touch[:, 3] = (touch[:, 3] + 1) % (self._largest["landmark"] + 1)
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
