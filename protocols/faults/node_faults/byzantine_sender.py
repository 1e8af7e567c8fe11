"""A Byzantine agent: its own state is correct, and messages are falsified when they are sent, by the fault schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module

from protocols.conversations.conversation import Array, Send
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
