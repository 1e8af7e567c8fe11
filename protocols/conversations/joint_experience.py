"""Joint experience: what each member of a team observed and did in an episode, for learners that learn from all members' steps at once.

After a training episode each agent sends its own steps to all other members, who acknowledge them (`EpisodeExchange`). The episode is
complete at a member when it has the steps of all; it is incomplete when the deadline passes, or at once when a member is dead. Long
episodes travel in pieces of `STEPS_PER_MESSAGE` steps at fixed places, so that a repeated piece changes nothing; an episode is acknowledged
when all of its pieces are there.

Snapshots of policies go to all members too. Only the newest counts; it is repeated until it is acknowledged, or replaced by a newer one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, EdgeConversation, Send, column, columns, frame, pack_rows, require
from protocols.conversations.episode_exchange import EpisodeExchange, EpisodeExchanged, EpisodePayload
from protocols.conversations.retries import RetryAttempt
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.runtime.errors import BadMessage
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class MemberSteps(Message):
    """Member -> other members, after a training episode: its own steps, for learners that need those of all. EO by (episode, src).

    Frames, of n pieces of episodes: `episode[n] i8`, `first[n] i4` (the piece's first step), `steps[n] i4` (of the piece), `total[n] i4`
    (of the member in the episode), `terminated[n] u1` (its part ended by its own outcome), and of all pieces one after the other
    `observation[m + n, D] f4 or u1` (raw; one more than steps), `action[m, A] i4 or f4`, `reward[m] f4`.
    """


class MemberStepsAck(Message):
    """Receiver -> sender: `episode[n] i8`, of which all pieces are there, and with stored episodes `complete[1] i8`, the number of those
    of which the steps of all members are there."""


class PolicySnapshot(Message):
    """Member -> other members: `parameters[P] f4`, from which they compute its part of their targets. LW by `version`, its number of
    updates."""

    version: Count


class PolicySnapshotAck(Message):
    """Receiver -> sender: a snapshot of this version is there."""

    version: Count


register_conversation(
    "joint_experience",
    route("peer", "agent", "agent", MemberSteps, MemberStepsAck, PolicySnapshot, PolicySnapshotAck),
)

STEPS_PER_MESSAGE = 512
MOST_PARAMETERS = 2**24
_COLUMNS = {"episode": "i8", "first": "i4", "steps": "i4", "total": "i4", "terminated": "u1"}
_ARRAYS = ("observation", "action", "reward")


@dataclass(frozen=True, eq=False)
class EpisodeSteps(EpisodePayload):
    """The T steps of one member in an episode."""

    observation: Array
    """`[T + 1, D]` raw"""
    action: Array
    """`[T, A]`"""
    reward: NDArray[np.float32]
    """`[T]`"""
    terminated: bool
    """its part ended by its own outcome, so that no value follows"""

    @property
    def steps(self) -> int:
        """T"""
        return len(self.reward)


@dataclass(frozen=True, eq=False)
class StepsPiece:
    """Steps `first` to `first + n - 1` of the `total` ones of an episode."""

    first: int
    total: int
    steps: EpisodeSteps


def pieces_of(payload: EpisodeSteps) -> list[StepsPiece]:
    """An episode in pieces of `STEPS_PER_MESSAGE` steps."""
    pieces = []
    for first in range(0, payload.steps, STEPS_PER_MESSAGE):
        end = min(first + STEPS_PER_MESSAGE, payload.steps)
        part = replace(
            payload, observation=payload.observation[first : end + 1], action=payload.action[first:end], reward=payload.reward[first:end]
        )
        pieces.append(StepsPiece(first, payload.steps, part))
    return pieces


def encode_pieces(pieces: Sequence[StepsPiece]) -> dict[str, Array]:
    """Frames of a `MemberSteps` message, of at least one piece."""
    rows = [(one.steps.episode, one.first, one.steps.steps, one.total, one.steps.terminated) for one in pieces]
    return pack_rows(rows, _COLUMNS) | {name: np.concatenate([getattr(one.steps, name) for one in pieces]) for name in _ARRAYS}


def decode_pieces(arrays: Mapping[str, Array], limits: SegmentLimits) -> list[StepsPiece]:
    """Pieces of the frames of a `MemberSteps` message; `BadMessage` for whatever breaks the format, or `limits` of the sender."""
    episode, first, steps, total, terminated = columns(arrays, _COLUMNS)
    require(episode >= 0, "a negative episode")
    require((total > 0) & (total <= limits.longest), f"an episode without steps, or of more than {limits.longest}")
    require((first >= 0) & (first < total) & (first % STEPS_PER_MESSAGE == 0), "a piece that begins between two pieces")
    require(steps == np.minimum(STEPS_PER_MESSAGE, total - first), "a piece with too many or too few steps")
    require(terminated <= 1, "an end that is neither 0 nor 1")
    n, number = len(episode), int(steps.sum(dtype=np.int64))
    if n == 0 or number > STEPS_PER_MESSAGE:
        raise BadMessage("E_FRAME", f"{number} steps in one message, not 1 to {STEPS_PER_MESSAGE}")
    observation = frame(arrays, "observation", limits.dtype, (number + n, limits.size))
    action = frame(arrays, "action", limits.action_dtype, (number, len(limits.actions) or limits.width))
    reward = column(arrays, "reward", "f4", number)
    require(np.isfinite(reward), "a reward that is not finite")
    require(np.isfinite(observation), "an observation that is not finite")
    if limits.actions:
        require((action >= 0) & (action < np.array(limits.actions)), "an action out of range")
    require(np.isfinite(action), "an action that is not finite")
    ends = np.cumsum(steps)[:-1]
    parts = zip(np.split(observation, np.cumsum(steps + 1)[:-1]), np.split(action, ends), np.split(reward, ends), strict=True)
    heads = zip(episode.tolist(), first.tolist(), total.tolist(), terminated.tolist(), parts, strict=True)
    return [StepsPiece(start, whole, EpisodeSteps(number, *part, bool(end))) for number, start, whole, end, part in heads]


class JointExperience(EpisodeExchange[EpisodeSteps], EdgeConversation[EpisodeExchanged[EpisodeSteps]]):
    """One agent's side. `members`: what the steps of each other member may hold; the own name is not among them. `deadline` and `limit`: as
    in `EpisodeExchange`. `reward_range`: the least and the greatest reward of a step; pieces with others are dropped, not acknowledged, and
    counted as `reward_out_of_range`."""

    name = "steps"
    message_types = (MemberSteps, MemberStepsAck, PolicySnapshot, PolicySnapshotAck)
    message_type = MemberSteps
    acknowledgement_type = MemberStepsAck

    def __init__(
        self,
        members: Mapping[str, SegmentLimits],
        random: np.random.Generator,
        deadline: float = 5.0,
        limit: int = 1024,
        reward_range: tuple[float, float] = (-inf, inf),
    ) -> None:
        super().__init__(random, deadline, limit)
        self._members = dict(members)
        self.reward_range = reward_range
        self._dead: set[str] = set()
        self._pieces: OrderedDict[tuple[str, int], dict[int, StepsPiece]] = OrderedDict()
        """by sender and episode, the pieces of episodes of which some are missing, by their first steps"""
        self._snapshot: Send | None = None
        """the newest own one, without its receiver"""
        self._unacknowledged: dict[str, RetryAttempt] = {}
        """members that have not acknowledged it"""
        self._newest: dict[str, int] = {}
        self._snapshots: dict[str, NDArray[np.float32]] = {}

    # --- steps ----------------------------------------------------------------------------------------------------------------------

    def finished(self, payload: EpisodeSteps, others: Iterable[str], now: float) -> None:
        """As in `EpisodeExchange`; the episode is dropped at once where one of the `others` is dead."""
        others = tuple(others)
        super().finished(payload, others, now)
        if self._dead.intersection(others):
            self._give_up(payload.episode)

    def _give_up(self, episode: int) -> None:
        exchange = self._exchanges[episode]
        self._settle(exchange)
        self._stop(episode, exchange)
        self._progress(exchange)

    def _unpack(self, src: str, arrays: Mapping[str, Array]) -> list[EpisodeSteps]:
        """The episodes that are whole with the pieces in this message."""
        whole = []
        least, greatest = self.reward_range
        for piece in decode_pieces(arrays, self._members[src]):
            if piece.steps.reward.min() < least or piece.steps.reward.max() > greatest:
                self.counters["reward_out_of_range"] += 1
            elif piece.steps.steps == piece.total:
                whole.append(piece.steps)
            elif (assembled := self._assembled(src, piece)) is not None:
                whole.append(assembled)
        return whole

    def _assembled(self, src: str, piece: StepsPiece) -> EpisodeSteps | None:
        key = (src, piece.steps.episode)
        pieces = self._pieces.setdefault(key, {})
        if any((one.total, one.steps.terminated) != (piece.total, piece.steps.terminated) for one in pieces.values()):
            self.counters["length_differs"] += 1
            return None
        pieces.setdefault(piece.first, piece)
        if len(pieces) * STEPS_PER_MESSAGE < piece.total:
            if len(self._pieces) > self._limit:
                self._pieces.popitem(last=False)
                self.counters["pieces_overflow"] += 1
            return None
        ordered = [pieces[first].steps for first in sorted(pieces)]
        del self._pieces[key]
        return replace(
            piece.steps,
            observation=np.concatenate([one.observation[:-1] for one in ordered] + [ordered[-1].observation[-1:]]),
            action=np.concatenate([one.action for one in ordered]),
            reward=np.concatenate([one.reward for one in ordered]),
        )

    def _pack(self, payloads: Mapping[int, EpisodeSteps]) -> list[dict[str, Array]]:
        packs: list[list[StepsPiece]] = []
        room = 0
        for piece in (piece for payload in payloads.values() for piece in pieces_of(payload)):
            if piece.steps.steps > room:
                packs.append([])
                room = STEPS_PER_MESSAGE
            packs[-1].append(piece)
            room -= piece.steps.steps
        return [encode_pieces(pack) for pack in packs]

    def _mismatch(self, own: EpisodeSteps, other: EpisodeSteps) -> str:
        return ""  # the parts of members may end at different times

    def _remembered(self, payload: EpisodeSteps) -> EpisodeSteps:
        return replace(payload, observation=payload.observation[:0], action=payload.action[:0], reward=payload.reward[:0])

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if src not in self._members:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no member of the team")
        if isinstance(message, PolicySnapshot):
            self._receive_snapshot(src, message, arrays)
        elif isinstance(message, PolicySnapshotAck):
            if self._snapshot is not None and message.version == self._version and src in self._unacknowledged:
                self._timers[src].answered(self._unacknowledged.pop(src), now)
            else:
                self.counters["stray_acknowledgement"] += 1
        else:
            self._receive_steps(src, message, arrays, now)

    def _receive_steps(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        super()._receive(src, message, arrays, now)

    # --- snapshots ------------------------------------------------------------------------------------------------------------------

    @property
    def _version(self) -> int:
        message = None if self._snapshot is None else self._snapshot.message
        return message.version if isinstance(message, PolicySnapshot) else -1

    def share_snapshot(self, version: int, parameters: NDArray[np.float32], now: float) -> None:
        """The own policy's parameters `[P]` after `version` updates, from now on; `ValueError` for what no member would take."""
        if parameters.ndim != 1 or not 0 < len(parameters) <= MOST_PARAMETERS or not np.isfinite(parameters).all():
            raise ValueError(f"a snapshot is 1 to {MOST_PARAMETERS} finite numbers, not {parameters.dtype}{list(parameters.shape)}")
        self._snapshot = Send("", PolicySnapshot(version=version), {"parameters": parameters.astype(np.float32)})
        self._unacknowledged.clear()
        for peer in sorted(self._members.keys() - self._dead):
            self._send_snapshot(peer, now)

    def _send_snapshot(self, peer: str, now: float) -> None:
        if self._snapshot is not None:
            self._unacknowledged[peer] = self._timers[peer].start(now)
            self._sends.append(Send(peer, PolicySnapshot(version=self._version), self._snapshot.arrays))

    def _receive_snapshot(self, src: str, message: PolicySnapshot, arrays: Mapping[str, Array]) -> None:
        parameters = _parameters(arrays)
        self._sends.append(Send(src, PolicySnapshotAck(version=message.version)))
        if message.version <= self._newest.get(src, -1):
            self.counters["old_snapshot"] += 1
            return
        self._newest[src] = message.version
        self._snapshots[src] = parameters.copy()

    def snapshots(self) -> dict[str, NDArray[np.float32]]:
        """Remove and return the snapshots `[P]` that have arrived, by the names of their members."""
        found, self._snapshots = self._snapshots, {}
        return dict(sorted(found.items()))

    # --- time and membership --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Deadlines and repetitions of steps, and repetitions of the snapshot."""
        super().tick(now)
        for peer, attempt in self._unacknowledged.items():
            if now >= attempt.due and self._snapshot is not None:
                self._timers[peer].again(attempt, now)
                self._sends.append(Send(peer, PolicySnapshot(version=self._version), self._snapshot.arrays))
                self.counters["retry.snapshot"] += 1

    def wake(self) -> float:
        """Time in seconds of the next retry or deadline, or earlier; infinite when nothing is pending."""
        return min([super().wake(), *(attempt.due for attempt in self._unacknowledged.values())], default=inf)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """Send the newest snapshot to `peer`; a new incarnation counts its updates anew."""
        if peer in self._members:
            self._dead.discard(peer)
            self._newest.pop(peer, None)
            self._send_snapshot(peer, now)

    def peer_dead(self, peer: str, now: float) -> None:
        """Drop the episodes that wait for `peer`: they will not be complete."""
        if peer in self._members:
            self._dead.add(peer)
        self._unacknowledged.pop(peer, None)
        for key in [key for key in self._pieces if key[0] == peer]:
            del self._pieces[key]
        for episode in [number for number in self._active if peer in self._exchanges[number].awaited]:
            self._give_up(episode)
        super().peer_dead(peer, now)


def _parameters(arrays: Mapping[str, Array]) -> NDArray[np.float32]:
    """The frame `parameters[P] f4` of a `PolicySnapshot`; `BadMessage` unless it is there, and finite."""
    parameters = frame(arrays, "parameters", "f4", (None,))
    if not 0 < len(parameters) <= MOST_PARAMETERS:
        raise BadMessage("E_FRAME", f"{len(parameters)} parameters, not 1 to {MOST_PARAMETERS}")
    require(np.isfinite(parameters), "a parameter that is not finite")
    return parameters
