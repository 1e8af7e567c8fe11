"""Streams of random numbers, all derived from the seed of the run.

A stream is `SeedSequence(seed, spawn_key=(crc32(node name), stream number))`: adding a node or a stream never changes the numbers of
another.
"""

from __future__ import annotations

from enum import IntEnum
from zlib import crc32

import numpy as np


class Stream(IntEnum):
    """Fixed table of streams; numbers are never reused or renumbered."""

    ENVIRONMENT = 0
    PAIRING = 1
    EXPLORATION = 2
    INITIAL_PARAMETERS = 3
    BUFFER = 4
    GOALS = 5
    MESSAGES = 6
    EVALUATION = 7
    IMAGINATION = 8
    WORLD_MODEL = 9
    RELABELLING = 10
    STAND_IN = 11
    TRANSPORT = 12
    COMPRESSION = 13
    RETRIES = 14
    TEACHER = 15
    CURIOSITY = 16
    TURNS = 17
    REPLAY_REWARD = 18
    IMITATION = 19


def sequence(seed: int, node: str, stream: Stream, epoch: int = 0) -> np.random.SeedSequence:
    """Seed sequence of one stream of one node. `epoch`: a number of the checkpoint from which the node continues, so that the draws after a
    restart do not repeat those before it (0: from the start)."""
    key = (crc32(node.encode()), int(stream))
    return np.random.SeedSequence(seed, spawn_key=(*key, epoch) if epoch else key)


def generator(seed: int, node: str, stream: Stream, epoch: int = 0) -> np.random.Generator:
    """NumPy generator of one stream of one node."""
    return np.random.default_rng(sequence(seed, node, stream, epoch))


def integer(seed: int, node: str, stream: Stream, epoch: int = 0) -> int:
    """A 63-bit integer of a stream, to seed a generator that takes one number (torch, PettingZoo)."""
    return int(sequence(seed, node, stream, epoch).generate_state(1, np.uint64)[0] >> np.uint64(1))


def named_generator(seed: int, node: str, name: str, epoch: int = 0) -> np.random.Generator:
    """NumPy generator of a stream that is not in the table, by any name: spawn key (crc32(node), 2^32 + crc32(name), epoch)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(crc32(node.encode()), 2**32 + crc32(name.encode()), epoch)))
