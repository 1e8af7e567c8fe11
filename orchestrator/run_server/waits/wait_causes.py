"""Why a process makes its peers wait: what is wrong with it, in words. Known are its heartbeat, the system's view of it, and the faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

LONG = 1.0
"""seconds from which on a wait may be longer than usual"""
_TIMES_USUAL = 3.0
_SILENT_BEATS = 2.5
_BUSY = 0.5
"""share of a core from which on a process works rather than waits"""
_FULL_INBOX = 1000
_ACTIVITIES = {
    "step": "a step of the environment",
    "learn": "an update of the learner",
    "model": "training of the world model",
    "act": "the choice of actions",
    "exchange": "the exchange with its peers",
    "sample": "sampling from its memory",
    "send": "sending observations",
    "checkpoint": "writing a checkpoint",
    "wait": "receiving messages",
}
_LIBRARIES = ("/lib/python3", "site-packages", "<frozen", "<string>")


@dataclass(frozen=True)
class NodeFacts:
    """One process, as it is known: its entry in the run server's facts, the system's letter for its state ("" unknown), its share of a core
    (None unknown), and its stack, innermost frame first."""

    name: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    cpu: float | None = None
    stack: Sequence[str] = ()

    @property
    def waits(self) -> list[Mapping[str, Any]]:
        """Its waits for peers."""
        return [wait for wait in self.entry.get("waits", ()) if not wait["own"]]

    @property
    def own(self) -> Mapping[str, Any] | None:
        """What its main thread is in, where that has not turned for long."""
        return next((wait for wait in self.entry.get("waits", ()) if wait["own"]), None)

    @property
    def busy(self) -> bool:
        """Whether it computes: it runs or is ready to run, or has used much of a core."""
        return self.state == "R" or (self.cpu is not None and self.cpu >= _BUSY)

    def silent(self, beat: float) -> bool:
        """Whether it does not answer: heartbeats are missing, or none has come yet."""
        age = self.entry.get("age")
        return age is None or age > max(LONG, _SILENT_BEATS * beat)


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a process: "bad", or "warn" where it works. `text` follows its name."""

    level: str
    text: str


def is_long(wait: Mapping[str, Any]) -> bool:
    """Whether a wait is longer than usual."""
    return bool(wait["seconds"] > max(LONG, _TIMES_USUAL * wait["usual"]))


def trouble_of(node: NodeFacts, faults: Sequence[Mapping[str, Any]], beat: float) -> Trouble | None:
    """What is wrong with a process, None where nothing is known to be."""
    entry, state = node.entry, node.entry.get("state")
    if node.state == "T":
        return Trouble("bad", "does not answer: stopped (SIGSTOP)" + _by_fault(node.name, "process.pause", faults))
    if node.state == "Z":
        return Trouble("bad", "does not answer: its process has ended")
    if state in ("dead", "lost"):
        return Trouble("bad", f"is {state}" + (f": {entry['detail']}" if entry.get("detail") else ""))
    if state == "left":
        return None
    if state == "joining":
        return Trouble("warn", f"has not registered for {entry['silent']:.1f} s{_process(node)}{_stack(node)}")
    if node.silent(beat):
        since = f" for {entry['silent']:.1f} s" if entry.get("silent") else ""
        return Trouble("bad", f"does not answer{since}{_process(node)}{_stack(node)}")
    if (own := node.own) is not None and is_long(own):
        return _busy(node, own, faults)
    if entry.get("depth", 0) >= _FULL_INBOX:
        return Trouble("warn", f"has {entry['depth']} messages in its inbox: it handles them more slowly than they arrive")
    return None


def activity(operation: str) -> str:
    """What a main thread does, in words."""
    return _ACTIVITIES.get(operation, operation or "its main loop")


def _busy(node: NodeFacts, own: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> Trouble:
    lasts, what, inbox = f"for {own['seconds']:.1f} s", activity(own["operation"]), ""
    if node.entry.get("depth", 0) >= _FULL_INBOX:
        inbox = f", and its inbox has {node.entry['depth']} messages"
    if any("Hang.hang" in frame for frame in node.stack):
        return Trouble("bad", f"stands still {lasts}" + _by_fault(node.name, "process.hang", faults) + inbox)
    if any("Disk." in frame and "/disk.py" in frame for frame in node.stack):
        return Trouble("bad", f"waits for its disk {lasts} ({what}){_stack(node)}")
    if node.state == "D":
        return Trouble("bad", f"waits for a disk or another device {lasts} ({what}){_stack(node)}")
    if node.busy:
        return Trouble("warn", f"has been in {what} {lasts} and computes{_share(node)}{inbox}{_stack(node)}")
    return Trouble("bad", f"stands still in {what} {lasts}{inbox}{_stack(node)}")


def _process(node: NodeFacts) -> str:
    """What the system has about a process that does not answer."""
    if node.state == "D":
        return ": it waits for a disk or another device (state D)"
    if node.busy:
        return f": it computes{_share(node)}, and no other thread of it runs"
    return ": its process runs" if node.state else ""


def _share(node: NodeFacts) -> str:
    return "" if node.cpu is None else f" ({100 * node.cpu:.0f} % of a core)"


def _stack(node: NodeFacts) -> str:
    return f"; its stack: {short_frame(node.stack)}" if node.stack else ""


def short_frame(stack: Sequence[str]) -> str:
    """The innermost frame outside of libraries, with the name of the file only: `step in my_env.py:31`."""
    own = [frame for frame in stack if not any(library in frame for library in _LIBRARIES)]
    function, _, place = (own or list(stack))[0].rpartition(" in ")
    return f"{function} in {PurePath(place).name}"


def _by_fault(name: str, kind: str, faults: Sequence[Mapping[str, Any]]) -> str:
    found = next((fault["id"] for fault in faults if fault["kind"] == kind and name in fault["targets"]), None)
    return "" if found is None else f" by the fault {found}"
