"""Admission of messages: checks every received message before any other code processes it. No socket, no clock, no thread.

A refused message is counted and changes nothing else. A *source* is where messages come from: a route of a bound ROUTER, or the node at the
other end of a socket that we connected (known by its name); telemetry (PULL) has no routes, there a source is the name that is claimed.
Rules, in this order:

1. a source in quarantine is not read (`rx.quarantined`), one beyond its rate is dropped (`E_RATE`): two token buckets, messages and bytes;
2. the bytes must be a message (`protocols.wire.codec`);
3. of this run (`E_RUN`), for this node (`dst`, `E_UNKNOWN_NODE`), from a node of the run (`E_UNKNOWN_NODE`, `peer` and `env`);
4. a route belongs to one name, and a name of the run uses one route: another route may take over when the old one was silent for
   `silence` seconds, when the node is a newer incarnation, or with the run's token in a `Hello` (`E_AUTH`);
5. not of an earlier incarnation than the newest known, over all channels (`rx.stale`), nor of one that the roster does not name yet
   (`E_AHEAD`), so that a false message cannot make another node stale;
6. of a type that a node of the sender's role may send here (`protocols.wire.message_registry`, `E_AUTH`);
7. not seen before: each sequence number counts once, in any order (`rx.dup`), those below the first that arrived too.

Where connections are encrypted, every message comes with the public key of its sender (`protocols.wire.keyring`). Then a source
is a key, over any number of connections (for command lines, which share a key, a connection); the key identifies the sender, and replaces
the token in rule 4. A key used under another name is `E_KEY`, the third time a minute of quarantine; a key that is not valid any more,
since its node is dead or has a successor, is `E_REVOKED`: libzmq checks a key only when a connection is made.

Ten messages that break rule 2, 3, 4 or 6 within ten seconds, and no fewer than a tenth of all in that time, put their source into
quarantine: a minute, doubled each time up to ten. (A share, since a busy link that now and then corrupts a message is no enemy.) Where
the run's own fault schedule damages messages (`damage_expected`), messages of correct nodes break rule 2: it is only counted.

Without encryption rule 4 protects from mix-ups and stray processes, not from an attacker that sends before the node does.
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter
from collections.abc import Iterable

from protocols.conversations.membership.membership_messages import Hello, RosterEntry
from protocols.runtime.errors import BadMessage
from protocols.wire.guard_sources import GuardOptions, MessageSender, MessageSource
from protocols.wire.keyring import KeyOwner, Keyring
from protocols.wire.message_registry import accepted
from protocols.wire.messages import Channel, Message, Role

logger = logging.getLogger(__name__)

_SOURCES = 4096
"""sources that are stored; the oldest of more are dropped"""
_HARMLESS = frozenset(("E_STALE_INC", "E_AHEAD", "E_RATE", "E_SHARED"))
"""codes that correct nodes cause: a node declared dead that has not received the verdict, one that is ahead of the roster, or one that was
killed while its frames in shared memory were not copied out yet"""


class _PossibleReconnect(BadMessage):
    """Perhaps a node whose connection broke a moment ago: no offence."""


class Guard:
    """Admission of one process. `counters` are `rx.bad.CODE`, `rx.stale`, `rx.dup`, `rx.quarantined`, `rx.quarantines`."""

    def __init__(
        self,
        run: str,
        name: str,
        role: Role | None,
        counters: Counter[str],
        options: GuardOptions = GuardOptions(),
        keyring: Keyring | None = None,
    ) -> None:
        self.options = options
        self.keyring = keyring
        """the keys that may connect, where connections are encrypted; change them by the calls here"""
        self.takes_news = False
        """whether messages of an incarnation newer than the roster are admitted: under the logical clock nothing is repeated, so that
        messages of a process must be admitted that arrive before its announcement"""
        self.token = ""
        """by which a `Hello` proves whose it is (run server)"""
        self.damage_expected = False
        """whether links of this run damage messages on their way: bytes that are no message are not counted against their sender"""
        self.counters = counters
        self._run = run
        self._name = name
        self._role = role
        self._message_cost, self._byte_cost, self._burst = 1.0 / options.messages, 1.0 / options.bytes, options.burst
        self._expected: frozenset[str] = frozenset()
        self._roster: dict[str, RosterEntry] = {}
        self._version = -1
        self._epoch = 0
        self._incarnations: dict[str, int] = {}
        self._sources: dict[tuple[Channel, bytes | str], MessageSource] = {}
        self._speakers: dict[tuple[Channel, str], MessageSender] = {}
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    # --- what is known ------------------------------------------------------------------------------------------------------------

    def expect(self, names: Iterable[str]) -> None:
        """Names of the run's configuration: known even before a roster names them."""
        self._expected |= frozenset(names)
        self._epoch += 1

    def follow(self, version: int, entries: Iterable[RosterEntry]) -> None:
        """The roster of the run server; only a newer version counts."""
        if version > self._version:
            self._version = version
            self._roster = {entry.name: entry for entry in entries}
            if self.keyring is not None:
                self.keyring.follow(self._roster.values())
            self._epoch += 1

    def admit(self, key: str, name: str, role: Role) -> None:
        """Let a public key in that no roster names; "" for `name`: command lines. Nothing where nothing is encrypted."""
        if self.keyring is not None:
            self.keyring.admit(key, name, role)
            self._epoch += 1

    def revoke(self, key: str) -> None:
        """From now on nothing counts that comes with that key."""
        if self.keyring is not None and key:
            self.keyring.revoke(key)
            self._epoch += 1

    def only(self, names: Iterable[str] | None) -> None:
        """Of the roster's nodes let in these alone, where connections are encrypted."""
        if self.keyring is not None:
            self.keyring.only(names)
            self._epoch += 1

    def knows(self, name: str) -> bool:
        """Whether the run's configuration or roster has that name."""
        return name in self._roster or name in self._expected

    def incarnation(self, channel: Channel, name: str) -> int:
        """The incarnation of that name whose messages are admitted on that channel; 0 before the first."""
        speaker = self._speakers.get((channel, name))
        return speaker.incarnation if speaker is not None else 0

    # --- before decoding ----------------------------------------------------------------------------------------------------------

    def source(self, channel: Channel, key: bytes | str, fixed: bool = False) -> MessageSource:
        """The source of that key: a route, or the name of the other end."""
        source = self._sources.get((channel, key))
        if source is None:
            if len(self._sources) >= _SOURCES:
                self._drop_oldest()
            source = self._sources[channel, key] = MessageSource(channel, key, fixed)
        return source

    def authenticated(self, channel: Channel, route: bytes | None, user: str) -> MessageSource:
        """The source of messages that come with that key."""
        keyring = self.keyring
        owner = keyring.owner(user) if keyring is not None else None
        shared = route is not None and owner is not None and not owner.name
        source = self.source(channel, user + (route or b"").hex() if shared else user)
        source.user = user
        return source

    def open(self, source: MessageSource, size: int, now: float) -> bool:
        """Whether a message of `size` bytes from there is worth reading; counts it if not."""
        if source.quarantined_until > now:
            self.counters["rx.quarantined"] += 1
            return False
        source.total += 1
        if source.total == 1:
            source.opened = now
        # Plain comparisons: `min` and `max` would cost as much as all the rest, for every message.
        of_messages, of_bytes = source.message_time, source.byte_time
        of_messages = (of_messages if of_messages > now else now) + self._message_cost
        of_bytes = (of_bytes if of_bytes > now else now) + size * self._byte_cost
        latest = now + self._burst
        if of_messages > latest or of_bytes > latest:
            options = self.options
            self.refuse(source, BadMessage("E_RATE", f"more than {options.messages:g} messages or {options.bytes:g} bytes a second"), now)
            return False
        source.message_time, source.byte_time = of_messages, of_bytes
        return True

    def unreadable(self, source: MessageSource, error: BadMessage, now: float) -> None:
        """Count bytes that are no message (rule 2)."""
        if self.damage_expected:
            self._count(source, error, now)
        else:
            self.refuse(source, error, now)

    # --- after decoding -----------------------------------------------------------------------------------------------------------

    def judge(self, source: MessageSource, message: Message, now: float) -> str | None:
        """The code with which a message is refused, or None. Refused messages are counted, and change nothing but the quarantine."""
        speaker = source.speaker
        if (
            speaker is None
            or source.epoch != self._epoch
            or message.src != speaker.name
            or message.inc != speaker.incarnation
            or (speaker.owner is not source and not source.fixed)
            or (source.types is not None and type(message) not in source.types)
            or message.run != self._run
            or message.dst != self._name
        ):
            try:
                speaker = self._look_closely(source, message, now)
            except _PossibleReconnect as error:
                return self._count(source, error, now)
            except BadMessage as error:
                return self.refuse(source, error, now)
        sequence = message.seq
        if sequence == speaker.highest + 1:
            speaker.highest = sequence
        elif not speaker.fresh(sequence):
            self.counters["rx.dup"] += 1
            return "dup"
        source.last_received = now
        return None

    def refuse(self, source: MessageSource, error: BadMessage, now: float) -> str:
        """Count a bad message, log it at most once in a while, and put its source into quarantine when there are too many. Returns its
        code."""
        code, options = self._count(source, error, now), self.options
        if code == "E_KEY":
            source.foreign += 1
            if source.foreign >= options.foreign:
                source.foreign = 0
                self._quarantine(source, f"{options.foreign} messages in others' names, the last one {error}", now)
            return code
        if code in _HARMLESS or (source.channel == "tele" and not source.user):
            # Without routes the true sender of telemetry is unknown: quarantine could affect the wrong node.
            return code
        bad = source.bad
        bad.append((now, source.total))
        if len(bad) < options.bad:
            return code
        since, total = bad.popleft()
        if now - since <= options.window and options.bad >= options.share * (source.total - total + 1):
            bad.clear()
            self._quarantine(source, f"{options.bad} bad messages, the last one {error}", now)
        return code

    def _quarantine(self, source: MessageSource, why: str, now: float) -> None:
        source.quarantine = min(self.options.longest, 2 * source.quarantine or self.options.quarantine)
        source.quarantined_until = now + source.quarantine
        self.counters["rx.quarantines"] += 1
        who = source.speaker.name if source.speaker is not None else "an unknown sender"
        self._say(now, "quarantine", source.channel, f"{who} on {source.channel} is ignored for {source.quarantine:g} s: {why}")

    def blame(self, channel: Channel, name: str, error: BadMessage, now: float) -> None:
        """As `refuse`, for a message that only its conversation can recognise as bad."""
        speaker = self._speakers.get((channel, name))
        source = speaker.owner if speaker is not None else None
        self.refuse(source or self.source(channel, name, fixed=True), error, now)

    def note(self, channel: Channel, name: str, error: BadMessage, now: float) -> None:
        """Count and log a message that a conversation has refused, without consequences for its sender."""
        self.counters[f"rx.bad.{error.code}"] += 1
        self._say(now, error.code, channel, f"dropped a message from {name} on {channel}: {error}")

    def _count(self, source: MessageSource, error: BadMessage, now: float) -> str:
        self.counters["rx.stale" if error.code == "E_STALE_INC" else f"rx.bad.{error.code}"] += 1
        sender = f" from {source.speaker.name}" if source.speaker is not None else ""
        self._say(now, error.code, source.channel, f"dropped a message{sender} on {source.channel}: {error}")
        return error.code

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _look_closely(self, source: MessageSource, message: Message, now: float) -> MessageSender:
        """All that need not be asked again while a source goes on as it began. Changes nothing when it raises."""
        name, channel = message.src, source.channel
        if message.run != self._run:
            raise BadMessage("E_RUN", f"message of run {message.run!r}")
        if message.dst != self._name:
            raise BadMessage("E_UNKNOWN_NODE", f"message for {message.dst!r}")
        if not name or name == self._name:
            raise BadMessage("E_UNKNOWN_NODE", f"message from {name!r}")
        if source.fixed and name != source.key:
            raise BadMessage("E_AUTH", f"{name} sends in place of {source.key!r}")
        owner = self._owner(source, name)
        if channel != "ctl" and (self._roster or self._expected) and not source.fixed and not self.knows(name):
            raise BadMessage("E_UNKNOWN_NODE", f"the run has no node {name}")
        if source.speaker is not None and source.speaker.name != name:
            raise BadMessage("E_AUTH", f"{source.speaker.name} sends as {name}")
        entry, vouched = self._roster.get(name), owner is not None or self._vouched(message)
        self._check_incarnation(entry, message)
        known = self._speakers.get((channel, name))
        if known is not None and message.inc == known.incarnation and (self.knows(name) or source.fixed or known.owner in (None, source)):
            speaker = known
            self._check_owner(speaker, source, vouched, now)
        else:
            # A later process of that name; or a process outside the run (a command line), which may be another one every time.
            speaker = MessageSender(name, message.inc)
        role: Role | None = speaker.role
        if entry is not None:
            role = entry.role
        elif owner is not None:
            role = owner.role
        elif vouched and isinstance(message, Hello):
            role = message.role
        types: frozenset[type[Message]] | None = None  # what a node of that role (None: unknown) may send here; None: all
        if self._role is not None:
            types = frozenset(kind for kind, senders in accepted(self._role, channel).items() if role is None or role in senders)
        if types is not None and type(message) not in types:
            kind = type(message).__name__
            raise BadMessage("E_AUTH", f"a {self._role} takes no {kind} from {role or 'whom'} {name} on {channel}: see docs/messages.md")
        speaker.role = role
        if not source.fixed:
            speaker.owner = source
        if known is not None and known is not speaker:
            known.incarnation = -1
        if message.inc != self._incarnations.get(name, message.inc):
            self._epoch += 1  # what other channels know of that name is out of date
        self._speakers[channel, name], self._incarnations[name] = speaker, message.inc
        source.speaker, source.types, source.epoch, source.vouched = speaker, types, self._epoch, source.vouched or vouched
        return speaker

    def _owner(self, source: MessageSource, name: str) -> KeyOwner | None:
        """Whose key the message came with, where connections are encrypted; it must be that of the sender. A connection made by
        this process is bound to the key for which it was made."""
        if self.keyring is None or source.fixed:
            return None
        owner = self.keyring.owner(source.user)
        if owner is None:
            was = self.keyring.retired(source.user)
            text = f"a key of {was} that does not count any more" if was is not None else "a key that may not be used here"
            raise BadMessage("E_REVOKED", f"{name} uses {text}")
        if not owner.speaks_as(name):
            raise BadMessage("E_KEY", f"{owner.name or 'a command line'} sends as {name}")
        return owner

    def _check_incarnation(self, entry: RosterEntry | None, message: Message) -> None:
        if entry is None:
            least, most = self._incarnations.get(message.src, 0), 2**32
        else:
            # At the run server the membership itself handles messages of dead nodes, and answers them.
            over = entry.state in ("dead", "lost") and self._role != "run"
            least, most = entry.inc + over, entry.inc + over
        if message.inc < least:
            raise BadMessage("E_STALE_INC", f"{message.src} sends as incarnation {message.inc}, {least} is the oldest that counts")
        if message.inc > most and not self.takes_news:
            raise BadMessage("E_AHEAD", f"{message.src} sends as incarnation {message.inc}, the roster has {most}")

    def _check_owner(self, speaker: MessageSender, source: MessageSource, vouched: bool, now: float) -> None:
        owner = speaker.owner
        if source.fixed or owner is None or owner is source or vouched or (source.vouched and not owner.vouched):
            return
        if now - owner.last_received < self.options.silence:
            # A node that lost its connection sends nothing over it again; a node that uses another's name sends beside it.
            kind = BadMessage if owner.last_received > source.opened else _PossibleReconnect
            raise kind("E_AUTH", f"{speaker.name} sends over another connection")

    def _vouched(self, message: Message) -> bool:
        return bool(self.token) and isinstance(message, Hello) and hmac.compare_digest(message.token.encode(), self.token.encode())

    def _drop_oldest(self) -> None:
        """Drop the oldest source, preferably one that belongs to no node of the run."""
        strangers = (k for k, s in self._sources.items() if s.speaker is None or not self.knows(s.speaker.name))
        key = next(strangers, None) or next(iter(self._sources))
        source = self._sources.pop(key)
        if source.speaker is not None and not self.knows(source.speaker.name):
            self._speakers.pop((source.channel, source.speaker.name), None)
            self._incarnations.pop(source.speaker.name, None)

    def _say(self, now: float, code: str, channel: str, text: str) -> None:
        """A line in the log, unless there was one of its kind a moment ago: then it is only counted."""
        last, kept = self._said.get((code, channel), (-1e9, 0))
        if now - last < self.options.log_every:
            self._said[code, channel] = (last, kept + 1)
            return
        self._said[code, channel] = (now, 0)
        logger.warning("%s%s", text, f" (and {kept} more since the last such line)" if kept else "")
