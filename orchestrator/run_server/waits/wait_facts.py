"""What the run server has about the waits of its processes, as one JSON object: the answer to `WhyRequest`.

    {"phase": text, "beat": seconds between heartbeats,
     "nodes": {NAME: {"role", "state", "host", "detail", "silent": seconds, "age": of the heartbeat or null, "waits": [...], "stack": [...],
                      "depth": messages in its inbox, "process": {"state", "cpu"} or null}},          (hosts and the run server too)
     "faults": [{"id", "kind", "targets", "seconds": that it has lasted}]}

Waits are those of `protocols.runtime.waits.CurrentWait`, in seconds at the time of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from orchestrator.run_server.hosts.run_hosts import RunHosts
from orchestrator.run_server.hosts.run_nodes import RunNodes
from orchestrator.run_server.lead.status_snapshot import RunView
from protocols.conversations.control.control_messages import ProcessField
from protocols.conversations.membership.membership import MemberNode
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.waits import CurrentWait, PendingWait

Facts = dict[str, Any]


def wait_facts(view: RunView, nodes: RunNodes, hosts: RunHosts, own: Sequence[PendingWait], now: float) -> Facts:
    """See the module. `own`: the waits of the run server itself; `now` in monotonic seconds."""
    states = {field.node: field for _, beat in view.heartbeats.values() for field in beat.processes}
    found = {RUN_SERVER: _run_server(view, own, now)}
    for member in hosts.membership.members.values():
        found[member.name] = _member(view, member, now)
    for name, member in view.membership.members.items():
        found[name] = _member(view, member, now) | {"host": nodes.processes[name].host, "process": _process(states.get(name))}
        found[name]["detail"] = view.troubles.get(name, "")
    reached = view.progress.seconds(now)
    faults = [
        {key: fault[key] for key in ("id", "kind", "targets")} | {"seconds": max(0.0, reached - fault["since"]["time"])}
        for fault in view.faults.get("on", ())
    ]
    return {"phase": view.phase, "beat": view.configuration.supervision.heartbeat, "nodes": found, "faults": faults}


def _run_server(view: RunView, own: Sequence[PendingWait], now: float) -> Facts:
    waits = [
        CurrentWait(
            wait.operation, wait.peers, now - (now if wait.since is None else wait.since),
            None if wait.deadline is None else wait.deadline - now,
        )
        for wait in own
    ]  # fmt: skip
    return {"role": "run", "state": "alive", "silent": 0.0, "age": 0.0, "waits": [asdict(wait) for wait in waits]}


def _member(view: RunView, member: MemberNode, now: float) -> Facts:
    found: Facts = {"role": member.role, "state": member.state.value, "silent": now - member.last_message, "age": None, "waits": []}
    came, beat = view.heartbeats.get(member.name, (0.0, None))
    if beat is None or beat.inc != member.incarnation:
        return found
    age = now - came
    waits = [msgspec.to_builtins(wait) for wait in beat.waits]
    for wait in waits:
        wait["seconds"] += age
        wait["left"] = None if wait["left"] is None else wait["left"] - age
    return found | {"age": age, "waits": waits, "stack": beat.stack, "depth": beat.depth}


def _process(field: ProcessField | None) -> Facts | None:
    return None if field is None else {"state": field.state, "cpu": field.cpu}
