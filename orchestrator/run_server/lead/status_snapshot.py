"""The state of a run as one JSON object: carried by `Status`, shown by the live table. Keys: `docs/reference/run_directory.md`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import EventLog, RunFiles
from orchestrator.run_server.hosts.restart_supervision import Supervisor
from orchestrator.run_server.lead.run_progress import RunProgress
from orchestrator.run_server.metrics.metrics_collector import RUN_NODE, MetricsCollector
from protocols.conversations.control.control_messages import Heartbeat
from protocols.conversations.membership.membership import MemberNode, Membership, MemberState

logger = logging.getLogger(__name__)

_OF_ALL = ("consensus.disagreement", "statistics.disagreement")
"""metrics of the run that are shown with every agent"""
_SHOWN_HISTORY = ("return", "success", "aligned", "consensus.disagreement", "world_model.error")
_LARGEST = 900_000
_EVENTS_AT_LEAST = 50
NUMBERS_PER_SEGMENT = 2**32
"""numbers of commands and versions of the roster that one run server uses: nodes that it takes over have seen lower ones only"""
_UP = (MemberState.ALIVE, MemberState.STUCK, MemberState.SUSPECT)


@dataclass
class RunView:
    """The parts of a run server that a snapshot is taken of."""

    files: RunFiles
    configuration: Configuration
    graph: nx.Graph
    membership: Membership
    supervisor: Supervisor
    collector: MetricsCollector
    progress: RunProgress
    events: EventLog
    started: float
    """monotonic time of the start of the run server"""
    checkpoint: int = -1
    """under the logical clock: the tick from whose checkpoint all nodes go on"""
    phase: str = ""
    evaluation: tuple[int, int, float] = (0, 0, 0.0)
    """of the evaluation that is being played: episodes that ended, episodes in all (0: none is), seconds that are left (0: unknown)"""
    pids: dict[str, int] = field(default_factory=dict)
    heartbeats: dict[str, tuple[float, Heartbeat]] = field(default_factory=dict)
    """node or host to its newest heartbeat, and the monotonic time at which it came"""
    phases: dict[str, str] = field(default_factory=dict)
    up_after: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    """node to the averaging rounds of its newest heartbeat"""
    faults: dict[str, Any] = field(default_factory=dict)
    """`active`: faults that last, `next`: the one that is due next, in words; `on`: those that last, with when they began and will end"""
    troubles: dict[str, str] = field(default_factory=dict)
    """node to what happened to its last process, while it is away"""

    def event(self, severity: str, code: str, text: str, node: str = "run", **fields: object) -> None:
        """Write an event of the run, into the log of the run server too."""
        logger.log({"info": logging.INFO, "warning": logging.WARNING}.get(severity, logging.ERROR), "%s: %s: %s", node, code, text)
        self.events.record(severity, code, text, node, **fields)


def snapshot(view: RunView, now: float, after: int = 0) -> dict[str, Any]:
    """The run at monotonic time `now`, with the events that are newer than number `after`."""
    state, progress = view.files.state, view.progress
    done, episodes, seconds = view.evaluation
    left = seconds if seconds > 0 else None
    return {
        "run": view.files.directory.name,
        "directory": str(view.files.directory),
        "state": state.get("state", "STARTING"),
        "exit_code": state.get("exit_code"),
        "reason": state.get("reason", ""),
        "seed": view.configuration.seed,
        "engine": view.configuration.launch.engine,
        "elapsed": now - view.started,
        "left": left if view.phase == "evaluation" else progress.left(now),
        "progress": progress.share(now),
        "episodes": progress.episodes,
        "steps": progress.steps,
        "phase": view.phase,
        "evaluation": {"done": done, "episodes": episodes, "left": left} if episodes else None,
        "metrics": dict(view.collector.newest.get(RUN_NODE, {})),
        "nodes": [_node(view, member, now) for member in view.membership.members.values()],
        "faults": dict(view.faults),
        "event_id": view.events.last_id,
        "events": view.events.after(after),
    }


def snapshot_json(view: RunView, now: float, after: int = 0, answer: Mapping[str, Any] | None = None) -> bytes:
    """The snapshot as the frame of `Status`, with the `answer` to a request that has one.

    What would not fit into a message of the control channel (1 MiB) is sent without histories and older events: `events.jsonl` and the
    nodes' files have them.
    """
    contents = snapshot(view, now, after) | ({} if answer is None else {"answer": dict(answer)})
    text = json.dumps(contents).encode()
    if len(text) > _LARGEST:
        contents["events"] = contents["events"][-_EVENTS_AT_LEAST:]
        for node in contents["nodes"]:
            node["history"] = {}
        text = json.dumps(contents).encode()
    return text


def _node(view: RunView, member: MemberNode, now: float) -> dict[str, Any]:
    name = member.name
    metrics: dict[str, float] = dict(view.collector.newest.get(name, {}))
    history: Mapping[str, Any] = view.collector.history.get(name, {})
    if name in view.collector.episodes:
        metrics.setdefault("episode", view.collector.episodes[name])
    if member.role == "agent":
        of_all = view.collector.newest.get(RUN_NODE, {})
        metrics |= {name: of_all[name] for name in _OF_ALL if name in of_all and name not in metrics}
    result: dict[str, Any] = {
        "name": name,
        "role": member.role,
        "state": member.state.value,
        "phase": view.phases.get(name, ""),
        "pid": view.pids.get(name),
        "incarnation": member.incarnation,
        "restarts": view.supervisor.restarts(name),
        "up_after": view.up_after.get(name),
        "detail": _detail(view, member, now),
        "metrics": metrics,
        "history": {key: list(history[key]) for key in _SHOWN_HISTORY if key in history},
    }
    if member.role == "agent":
        neighbours = list(view.graph.neighbors(name)) if name in view.graph else []
        result["peers"] = [sum(view.membership[other].state in _UP for other in neighbours), len(neighbours)]
    return result


def _detail(view: RunView, member: MemberNode, now: float) -> str:
    """What the node is made of; while it is away, what happened and when it will be back."""
    if member.state in (MemberState.DEAD, MemberState.LOST) and member.name in view.troubles:
        back_in = view.supervisor.back_in(member.name, now)
        return view.troubles[member.name] + (f", back in {back_in:.1f} s" if back_in is not None else "")
    configuration = view.configuration
    if member.role == "env":
        return f"{configuration.environment.id} x{configuration.environment.copies}"
    overrides = configuration.agents.overrides.get(member.name, {})
    learner = overrides.get("learner") or {}
    kind = learner.get("kind", configuration.agents.learner.kind) if isinstance(learner, dict) else configuration.agents.learner.kind
    model = configuration.agents.world_model
    if model is None:
        return str(kind)
    members = getattr(model, "members", None)
    return f"{kind} + {model.kind}" + (f"({members})" if members else "")
