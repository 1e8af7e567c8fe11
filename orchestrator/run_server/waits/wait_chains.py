"""From the waits of all processes to sentences: who waits for whom, and what is wrong at the end of the chain.

Every long wait is followed over the peers that it waits for, until a process with trouble, a cut link, or a process that waits for nothing.
Chains with the same end are one sentence, that of the longest wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.run_server.waits.wait_causes import LONG, NodeFacts, Trouble, is_long, trouble_of
from protocols.runtime.node_start import RUN_SERVER

Wait = Mapping[str, Any]
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
    """Waits from process to process: each with the peer that it leads to. `end`: the same for paths with the same cause."""

    hops: tuple[tuple[str, Wait, str], ...]
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
        paths = [] if name in troubles else follow.paths(name)
        best = max(paths, key=lambda path: path.rank, default=None)
        # A phase of the run may last: without a cause that is known it is no news.
        if best is not None and not (best.end[0] == "unknown" and RUN_SERVER in (hop[0] for hop in best.hops)):
            groups.setdefault(best.end, []).append(best)
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
            text = f"the fault {fault['id']} ({fault['kind']} {targets}) has lasted for {fault['seconds']:.1f} s"
            chains.append(WaitChain("warn", text, frozenset(name for name in nodes if name in targets.replace(",", " ").split())))
    chains.sort(key=lambda chain: _LEVELS.index(chain.level))
    return chains or [WaitChain("good", "no process waits longer than usual" + _longest(nodes))]


class _Follower:
    """Finds the paths from a process to the causes of its waits."""

    def __init__(self, nodes: Mapping[str, NodeFacts], troubles: Mapping[str, Trouble], faults: Sequence[Mapping[str, Any]]) -> None:
        self._nodes, self._troubles, self._faults = nodes, troubles, faults

    def paths(self, name: str, seen: tuple[str, ...] = (), least: float = 0.0) -> list[_Path]:
        """One path for each peer that a long wait of `name` has. Waits below `least` seconds began after what they would explain."""
        found: list[_Path] = []
        node = self._nodes.get(name)
        for wait in [] if node is None else node.waits:
            if wait["seconds"] < least:
                continue
            long = is_long(wait)
            if long and not wait["peers"]:
                text = f"waits for {wait['operation']} for {wait['seconds']:.1f} s"
                found.append(_Path(((name, wait, ""),), ("own", name), Trouble("warn", text)))
            for peer in wait["peers"]:
                # With a peer that stands, a wait counts that would be usual elsewhere.
                if long or (wait["seconds"] > LONG and peer in self._troubles):
                    found += self._onward(name, wait, peer, (*seen, name))
        return found

    def _onward(self, name: str, wait: Wait, peer: str, seen: tuple[str, ...]) -> list[_Path]:
        hop = (name, wait, peer)
        if (trouble := self._troubles.get(peer)) is not None:
            return [_Path((hop,), ("node", peer), trouble)]
        if (cut := self._cut(name, peer)) is not None:
            text = f"the link between {title(name)} and {title(peer)} is cut by the fault {cut}"
            return [_Path((hop,), ("link", cut), Trouble("bad", text))]
        if peer not in seen:
            # While the run server waits for the end of a phase, others begin and end waits.
            onward = self.paths(peer, seen, 0.0 if RUN_SERVER in (name, peer) else _EARLIER * wait["seconds"])
            known = [path for path in onward if path.end[0] != "unknown"]
            if known or onward:
                best = max(known or onward, key=lambda path: path.rank)
                return [_Path((hop, *best.hops), best.end, best.cause)]
        if (fault := next((fault["id"] for fault in self._faults if fault["kind"] == "link"), None)) is not None:
            text = f"a message between {title(name)} and {title(peer)} was lost or is delayed by the fault {fault} of the links"
            return [_Path((hop,), ("link", name, peer), Trouble("bad", text))]
        if peer in seen:
            pair = sorted({name, peer})
            text = f"{title(peer)} waits too: a message between {' and '.join(map(title, pair))} was lost or is delayed"
            return [_Path((hop,), ("unknown", *pair), Trouble("warn", text))]
        text = f"{title(peer)} answers and does not stand still: its message was not sent yet, was lost, or is delayed"
        return [_Path((hop,), ("unknown", peer), Trouble("warn", text))]

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
    if path.end[0] == "own":
        return WaitChain(path.cause.level, f"{title(path.end[1])} {path.cause.text}", frozenset({path.end[1]}))
    parts = [f"{title(name)} waits for {wait_text(wait, peer)}" for name, wait, peer in path.hops]
    parts.append(f"{title(path.end[1])} {path.cause.text}" if path.end[0] == "node" else path.cause.text)
    on_path = {name for hop in path.hops for name in (hop[0], hop[2])}
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
