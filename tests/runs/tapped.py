"""What crossed the wires of a tapped run (`tests.runs.tapping`), and whether a message reached a process that it is not for.

The rules, for every message at every process that it left or reached:

- the goal of a member of an episode is visible to it and to the environment server alone until the episode is over; then a
  `Trace` carries it to the other members alone;
- the integer of a negotiation is known to the members of its episode only;
- no other kind of message carries anything of the kind. All frames that there may be are listed: a new one is a breach until it is judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np

from orchestrator.launch.process_control import MARK
from protocols.conversations.control.control_messages import Event, Metrics
from protocols.conversations.episode_exchange import Trace, TraceAck
from protocols.conversations.proposals import Propose, ProposeAck
from protocols.conversations.stepping.stepping_messages import Flag, Goals, Joined, Observation, Offer
from protocols.spaces.feature_sets import FeatureSets
from protocols.wire import codec
from protocols.wire.messages import Message
from tests.runs.system import REPOSITORY, processes_of
from tests.runs.tapping import FILE

SERVER, RUN = "env-0", "run"
FRAMES: dict[str, set[str]] = {
    "Joined": {"layouts"},
    "Observation": {"observation", "reward", "flags", "episode", "applied", "achieved", "goal", "lives"},
    "Offer": {"episode", "copy", "members", "evaluation", "goal"},
    "Goals": {"episode", "goal", "negotiated"},
    "Propose": {"episode", "message"},
    "ProposeAck": {"episode", "message"},
    "Trace": {"episode", "goal", "message", "role", "reward", "stop", "length", "touch"},
    "TraceAck": {"episode"},
    "Act": {"action", "restart"},
    "Average": {"vector"},
    "Share": {"offer"},
    "LedgerDigest": {"version"},
    "LedgerEntry": {"payload"},
    # Best choices by goal and by message: the state of the agent's table, not its choice in any episode. Only the run server receives it.
    "Metrics": {"values", "sketch", "models", "leading", "reading"},
    "Welcome": {"config"},
    "Status": {"snapshot"},
}
"""frames that messages may have; those that are not here have none"""


@dataclass(frozen=True)
class Crossing:
    """One message at one process."""

    holder: str
    """the process that handed it to a socket, or took it from one"""
    way: str
    t: float
    channel: str
    peer: str
    """to whom (`out`), by whom according to the header (`in`)"""
    message: Message
    arrays: Mapping[str, Any]
    digest: int
    """checksum of its bytes"""

    @property
    def sender(self) -> str:
        return self.holder if self.way == "out" else self.peer

    @property
    def receiver(self) -> str:
        return self.peer if self.way == "out" else self.holder

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What distinguishes a message from all others (its header has a number)."""
        return self.sender, self.receiver, self.channel, self.digest

    def __str__(self) -> str:
        return f"{type(self.message).__name__} from {self.sender} to {self.receiver}"


class Tapped:
    """All crossings of a run, each process's in its own order."""

    def __init__(self, crossings: Iterable[Crossing]) -> None:
        self.crossings = list(crossings)

    @classmethod
    def read(cls, directory: Path) -> Tapped:
        """The taps of a run that is over."""
        files = {RUN: directory / FILE, **{file.parent.name: file for file in sorted(directory.glob(f"nodes/*/{FILE}"))}}
        return cls(crossing for holder, file in files.items() for crossing in _read(holder, file))

    def of(self, kind: type[Message], holder: str = "", way: str = "") -> Iterator[Crossing]:
        """Crossings of one type of message."""
        return (c for c in self.crossings if isinstance(c.message, kind) and holder in ("", c.holder) and way in ("", c.way))

    def count(self, kind: type[Message]) -> int:
        """Messages of a type that were received."""
        return sum(1 for _ in self.of(kind, way="in"))

    def lost(self) -> list[str]:
        """Messages that were received but not seen when sent: what the taps have missed."""
        left = Counter(c.key for c in self.crossings if c.way == "out")
        return [str(c) for c in self.crossings if c.way == "in" and c.peer in self._holders and not left[c.key]]

    def sent(self, holder: str) -> Counter[tuple[str, str]]:
        """Messages that left a process, by channel and receiver."""
        return Counter((c.channel, c.peer) for c in self.crossings if c.way == "out" and c.holder == holder)

    @cached_property
    def _holders(self) -> set[str]:
        return {c.holder for c in self.crossings}

    @cached_property
    def agents(self) -> list[str]:
        """Names by the numbers that offers use."""
        return list(next(self.of(Joined)).message.members)  # type: ignore[attr-defined]

    @cached_property
    def space(self) -> FeatureSets:
        """The goals of the run."""
        info = next(self.of(Joined)).message.layout.goals  # type: ignore[attr-defined]
        return FeatureSets.from_info(info)

    @cached_property
    def members(self) -> dict[int, tuple[str, ...]]:
        """Of every offered episode, its leader first, as the environment server sent it."""
        found = {}
        for crossing in self.of(Offer, SERVER, "out"):
            for episode, places in zip(crossing.arrays["episode"].tolist(), crossing.arrays["members"].tolist(), strict=True):
                found[episode] = tuple(self.agents[place] for place in places if place >= 0)
        return found

    @cached_property
    def evaluations(self) -> dict[int, int]:
        """Evaluation episodes, each with the goal that the environment server gave to all its members, or -1."""
        return {
            episode: goal
            for crossing in self.of(Offer, SERVER, "out")
            for episode, goal, evaluation in zip(
                *(crossing.arrays[name].tolist() for name in ("episode", "goal", "evaluation")), strict=True
            )
            if evaluation
        }

    @cached_property
    def assigned(self) -> dict[int, int]:
        """Goals that the environment server gave to all members of an evaluation of skill alone, by episode."""
        return {episode: goal for episode, goal in self.evaluations.items() if goal >= 0}

    @cached_property
    def goals(self) -> dict[tuple[int, str], tuple[int, bool]]:
        """(goal, whether it was agreed on) of a member in an episode, as sent to the environment server."""
        found: dict[tuple[int, str], tuple[int, bool]] = {}
        for crossing in self.of(Goals, way="out"):
            columns = (crossing.arrays[name].tolist() for name in ("episode", "goal", "negotiated"))
            for episode, goal, negotiated in zip(*columns, strict=True):
                found.setdefault((episode, crossing.holder), (goal, bool(negotiated)))
        return found

    @cached_property
    def messages(self) -> dict[int, int]:
        """The integer that the leader of an episode has sent."""
        found: dict[int, int] = {}
        for crossing in self.of(Propose, way="out"):
            found |= dict(zip(crossing.arrays["episode"].tolist(), crossing.arrays["message"].tolist(), strict=True))
        return found

    @cached_property
    def over(self) -> dict[int, float]:
        """When the environment server first sent that an episode was over."""
        found: dict[int, float] = {}
        for crossing in self.of(Observation, SERVER, "out"):
            flags, episodes = crossing.arrays["flags"], crossing.arrays["episode"]
            for episode in episodes[(flags & Flag.OVER) != 0].tolist():
                found[episode] = min(found.get(episode, crossing.t), crossing.t)
        return found

    def told(self) -> set[tuple[int, str, str]]:
        """(episode, receiver, whose trace) of all traces that came."""
        return {
            (episode, crossing.receiver, crossing.sender)
            for crossing in self.of(Trace, way="in")
            for episode in crossing.arrays["episode"].tolist()
        }

    def to_be_told(self) -> set[tuple[int, str, str]]:
        """The same of all that there should have been: every member's to every other, of the training episodes that are over."""
        return {
            (episode, one, other)
            for episode, members in self.members.items()
            for one, other in permutations(members, 2)
            if episode in self.over and episode not in self.evaluations
        }

    # --- the rules ----------------------------------------------------------------------------------------------------------------

    def breaches(self) -> list[str]:
        """Messages that reached a process that they are not for; none in a run that keeps to the rules."""
        return [f"{crossing}: {text}" for crossing in self.crossings for text in self.judge(crossing)]

    def judge(self, crossing: Crossing) -> Iterator[str]:
        """The breaches of one message."""
        message, arrays = crossing.message, crossing.arrays
        unknown = arrays.keys() - FRAMES.get(type(message).__name__, set())
        if unknown:
            yield f"it carries {', '.join(sorted(unknown))}"
        if isinstance(message, Observation):
            yield from self._observation(crossing)
        elif isinstance(message, Offer):
            yield from self._offer(crossing)
        elif isinstance(message, Metrics) and crossing.receiver != RUN:
            yield f"{crossing.receiver} receives metrics of {crossing.sender}"
        elif isinstance(message, Event) and "goal" in f"{message.text} {message.fields}".lower():
            yield f"it contains goals: {message.text}"
        elif isinstance(message, Goals | Propose | ProposeAck | Trace | TraceAck):
            for row, episode in enumerate(arrays["episode"].tolist()):
                for text in self._told(crossing, row, episode, self.members.get(episode, ())):
                    yield f"episode {episode}: {text}"

    def _told(self, crossing: Crossing, row: int, episode: int, members: tuple[str, ...]) -> Iterator[str]:
        """Of a message that an agent sends about an episode."""
        message, sender, receiver = crossing.message, crossing.sender, crossing.receiver
        if sender not in members:
            yield f"{sender} is no member"
        if isinstance(message, Goals):
            if receiver != SERVER:
                yield f"{receiver} receives a goal that is not its own"
            return
        if receiver not in members:
            yield f"{receiver} is no member"
        if isinstance(message, Propose) and sender != members[:1][0]:
            yield f"{sender} proposes, and does not lead"
        if isinstance(message, ProposeAck) and receiver != members[:1][0]:
            yield f"{receiver} is answered, and does not lead"
        if isinstance(message, Trace) and not crossing.t > self.over.get(episode, float("inf")):
            yield f"{receiver} receives a goal that is not its own before the end"
        if isinstance(message, Trace) and int(crossing.arrays["goal"][row]) != self._own(episode, sender):
            yield "the goal of the trace is not what its sender pursued"

    def _own(self, episode: int, agent: str) -> int:
        return self.assigned[episode] if episode in self.assigned else self.goals.get((episode, agent), (-1, False))[0]

    def _offer(self, crossing: Crossing) -> Iterator[str]:
        if crossing.sender != SERVER:
            yield "only the environment server offers episodes"
        for row, (episode, goal) in enumerate(zip(crossing.arrays["episode"].tolist(), crossing.arrays["goal"].tolist(), strict=True)):
            if crossing.receiver not in self.members.get(episode, ()):
                yield f"episode {episode}: {crossing.receiver} is no member"
            if goal >= 0 and not (crossing.arrays["evaluation"][row] and goal == self.assigned.get(episode)):
                yield f"episode {episode}: a goal where its members choose"

    def _observation(self, crossing: Crossing) -> Iterator[str]:
        """The agent sees the episodes that it plays, with its own goal, and nothing of any other."""
        arrays = crossing.arrays
        if crossing.sender != SERVER:
            yield "only the environment server has observations"
        member = (arrays["flags"] & Flag.MEMBER) != 0
        if (arrays["goal"][~member] != -1).any() or arrays["achieved"][~member].any() or arrays["observation"][~member].any():
            yield "it shows something of episodes that others play"
        for episode, goal in zip(arrays["episode"][member].tolist(), arrays["goal"][member].tolist(), strict=True):
            if crossing.receiver not in self.members.get(episode, ()):
                yield f"episode {episode}: {crossing.receiver} is no member"
            elif goal != self._own(episode, crossing.receiver):
                yield f"episode {episode}: the goal is not {crossing.receiver}'s own"


def _read(holder: str, file: Path) -> Iterator[Crossing]:
    with file.open("rb") as stream:
        for entry in msgpack.Unpacker(stream, max_buffer_size=0):
            message, arrays = codec.decode(entry["parts"])
            peer = entry["peer"] if entry["way"] == "out" else message.src
            digest = crc32(b"".join(entry["parts"]))
            yield Crossing(holder, entry["way"], entry["t"], entry["channel"], peer, message, arrays, digest)


def run_tapped(
    directory: Path, config: Path, changes: Sequence[str], order: Sequence[str] = (), site: Path | None = None, timeout: float = 90.0
) -> Tapped:
    """A run from its configuration to its end, every process tapped. `order`: in which nodes come up; `site`: other people's packages."""
    directory.mkdir(parents=True)
    (directory / "order.json").write_text(json.dumps(list(order)))
    path = os.pathsep.join(str(place) for place in (REPOSITORY, site) if place is not None)
    environment = {**os.environ, "PYTHONPATH": path, MARK: str(directory.resolve())}
    command = [sys.executable, "-m", "tests.runs.tapping", str(directory), str(config), *changes]
    with (directory / "server.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        assert server.wait(timeout) == 0, (directory / "server.log").read_text()[-3000:]
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(10)
    assert processes_of(directory) == []
    return Tapped.read(directory)


def joint_touch(tapped: Tapped) -> dict[int, np.ndarray]:
    """What all bodies touched in each finished episode, `[T + 1, L]`: measured by the environment server, sent to each member alone."""
    found: dict[int, dict[int, np.ndarray]] = {}
    for crossing in tapped.of(Observation, SERVER, "out"):
        arrays, tick = crossing.arrays, crossing.message.tick  # type: ignore[attr-defined]
        for copy in np.flatnonzero(arrays["flags"] & Flag.MEMBER):
            rows = found.setdefault(int(arrays["episode"][copy]), {})
            rows[tick] = np.maximum(rows.get(tick, 0), arrays["achieved"][copy])
    return {episode: np.stack([rows[tick] for tick in sorted(rows)]) for episode, rows in found.items() if episode in tapped.over}
