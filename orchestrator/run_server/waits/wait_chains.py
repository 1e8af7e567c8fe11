"""From the waits of all processes to sentences: who waits for whom, and what is wrong at the end of the chain.

Every long wait is followed over its peers, until a process with trouble, a cut link, or a process that waits for nothing.
Chains with the same end are one sentence, that of the longest wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.run_server.waits.wait_causes import LONG, NodeFacts, Trouble, is_long, trouble_of
from protocols.runtime.node_start import RUN_SERVER

Wait = Mapping[str, Any]
_Hop = tuple[str, Wait, str]
"""who waits, the wait, and the peer that it leads to"""
_EARLIER = 0.5
"""share of a wait's seconds that a wait of the peer must have to be its cause: the peer has made progress after shorter ones began"""
_LEVELS = ("bad", "warn", "good")


@dataclass(frozen=True)
class WaitChain:
    """One sentence: `level` is "bad" (a process or link stands), "warn" (something is slow) or "good"; `nodes`: those it is about."""

    level: str
    text: str
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Path:
    """Waits from process to process. `end`: the same for paths with the same cause."""

    hops: tuple[_Hop, ...]
    end: tuple[str, ...]
    cause: Trouble

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """A known cause counts more than none, then what the whole run waits for, then the longest first wait."""
        first, wait, _ = self.hops[0]
        return self.end[0] != "unknown", first == RUN_SERVER, wait["seconds"]


def wait_chains(nodes: Mapping[str, NodeFacts], faults: Sequence[Mapping[str, Any]], beat: float) -> list[WaitChain]:
    """The sentences, gravest first: at least one."""
    troubles = {name: found for name, node in nodes.items() if (found := trouble_of(node, faults, beat)) is not None}
    follow = _Follower(nodes, troubles, faults)
    groups: dict[tuple[str, ...], list[_Path]] = {}
    for name in nodes:
        path = None if name in troubles else follow.path(name)
        # A phase of the run may last: without a cause that is known it is no news.
        if path is not None and not (path.end[0] == "unknown" and RUN_SERVER in (hop[0] for hop in path.hops)):
            groups.setdefault(path.end, []).append(path)
    known = {end: paths for end, paths in groups.items() if end[0] != "unknown"}
    # What waits for no known reason beside a known one is mostly a consequence of it.
    longest = sorted((known or groups).values(), key=lambda paths: -max(path.hops[0][1]["seconds"] for path in paths))
    chains = [_sentence(paths) for paths in longest]
    for name, trouble in troubles.items():
        if ("node", name) not in groups:
            chains.append(WaitChain(trouble.level, f"{title(name)} {trouble.text}", frozenset({name})))
    for fault in faults:
        if not any(fault["id"] in chain.text for chain in chains):
            targets = ", ".join(fault["targets"]) or "links"
            what = f"cuts {targets}" if fault["kind"] == "partition" else f"({fault['kind']} {targets}) is active"
            text = f"the fault {fault['id']} {what}, for {fault['seconds']:.1f} s; no process waits for it"
            chains.append(WaitChain("warn", text, frozenset(name for name in nodes if name in targets.replace(",", " ").split())))
    chains.sort(key=lambda chain: _LEVELS.index(chain.level))
    return chains or [WaitChain("good", "no process waits longer than usual" + _longest(nodes))]


class _Follower:
    """Finds the path from a process to the cause of its waits."""

    def __init__(self, nodes: Mapping[str, NodeFacts], troubles: Mapping[str, Trouble], faults: Sequence[Mapping[str, Any]]) -> None:
        self._nodes, self._troubles, self._faults = nodes, troubles, faults

    def path(self, start: str) -> _Path | None:
        """The shortest path to a cause, the longest waits first; without a known cause to a process that does not wait. None where `start`
        does not wait for long. Every process is passed once."""
        queue: deque[tuple[tuple[_Hop, ...], str, float]] = deque([((), start, 0.0)])
        passed, unknown = {start}, None
        while queue:
            hops, name, least = queue.popleft()
            for wait, peer in self._long_waits(name, least):
                path = (*hops, (name, wait, peer))
                if not peer:
                    text = f"waits for {wait['operation']} for {wait['seconds']:.1f} s"
                    return _Path(path, ("node", name), Trouble("warn", text))
                if (found := self._cause(name, peer)) is not None:
                    return _Path(path, *found)
                # While the run server waits for the end of a phase, others begin and end waits.
                least_of_peer = 0.0 if RUN_SERVER in (name, peer) else _EARLIER * wait["seconds"]
                if peer in passed or not self._long_waits(peer, least_of_peer):
                    unknown = unknown or self._unknown(path, peer in passed)
                else:
                    queue.append((path, peer, least_of_peer))
                passed.add(peer)
        return unknown

    def _long_waits(self, name: str, least: float) -> list[tuple[Wait, str]]:
        """Waits and their peers, "" without any. Those below `least` seconds began after what they would explain; for a peer that stands, a
        wait counts that would be usual elsewhere."""
        waits = sorted(self._nodes[name].waits if name in self._nodes else (), key=lambda wait: -wait["seconds"])
        found = [(wait, peer) for wait in waits if wait["seconds"] >= least for peer in (*wait["peers"],) or ("",)]
        return [(wait, peer) for wait, peer in found if is_long(wait) or (wait["seconds"] > LONG and peer in self._troubles)]

    def _cause(self, name: str, peer: str) -> tuple[tuple[str, ...], Trouble] | None:
        if (trouble := self._troubles.get(peer)) is not None:
            return ("node", peer), trouble
        if (cut := self._cut(name, peer)) is not None:
            text = f"the link between {title(name)} and {title(peer)} is cut by the fault {cut}"
            return ("link", cut), Trouble("bad", text)
        return None

    def _unknown(self, path: tuple[_Hop, ...], waits_too: bool) -> _Path:
        name, _, peer = path[-1]
        pair = " and ".join(map(title, sorted({name, peer})))
        if (fault := next((fault["id"] for fault in self._faults if fault["kind"] == "link"), None)) is not None:
            text = f"a message between {pair} was lost or is delayed by the fault {fault} of the links"
            return _Path(path, ("link", name, peer), Trouble("bad", text))
        if waits_too:
            return _Path(
                path, ("unknown", pair), Trouble("warn", f"{title(peer)} waits too: a message between {pair} was lost or is delayed")
            )
        text = f"{title(peer)} answers and does not stand still: its message was not sent yet, was lost, or is delayed"
        return _Path(path, ("unknown", peer), Trouble("warn", text))

    def _cut(self, a: str, b: str) -> str | None:
        """The fault that separates two nodes."""
        for fault in self._faults:
            for target in fault["targets"] if fault["kind"] == "partition" else ():
                sides = [side.split() for side in target.split(" | ")]
                where = [next((i for i, side in enumerate(sides) if name in side), None) for name in (a, b)]
                if None not in where and where[0] != where[1]:
                    return str(fault["id"])
        return None


def title(name: str) -> str:
    """A process in a sentence."""
    return "the run server" if name == RUN_SERVER else name


def wait_text(wait: Wait, peer: str = "") -> str:
    """`the actions of tick 12 from agent-1 and 2 others (2.1 s of 5 s)`; `peer`: the one that is named first."""
    peers = sorted(wait["peers"], key=lambda name: (name != peer, name))
    others = f" and {len(peers) - 1} other{'s' if len(peers) > 2 else ''}" if len(peers) > 1 else ""
    source = f" from {title(peers[0])}{others}" if peers else ""
    limit = "" if wait["left"] is None else f" of {wait['seconds'] + wait['left']:.3g} s"
    return f"{wait['operation']}{source} ({wait['seconds']:.1f} s{limit})"


def _sentence(paths: Sequence[_Path]) -> WaitChain:
    path, waiting = max(paths, key=lambda path: path.rank), {path.hops[0][0] for path in paths}
    parts = [f"{title(name)} waits for {wait_text(wait, peer)}" for name, wait, peer in path.hops if peer]
    parts.append(f"{title(path.end[1])} {path.cause.text}" if path.end[0] == "node" else path.cause.text)
    on_path = {name for hop in path.hops for name in (hop[0], hop[2]) if name}
    if others := sorted(waiting - on_path):
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        parts.append(f"{', '.join(map(title, others[:4]))}{more} wait{'' if len(others) > 1 else 's'} for the same")
    return WaitChain(path.cause.level, "; ".join(parts), frozenset(on_path | waiting))


def _longest(nodes: Mapping[str, NodeFacts]) -> str:
    waits = [(wait["seconds"], name, wait) for name, node in nodes.items() for wait in node.waits]
    if not waits:
        return ""
    _, name, wait = max(waits, key=lambda entry: entry[:2])
    return f"; the longest wait is that of {title(name)} for {wait_text(wait)}"
