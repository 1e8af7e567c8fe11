"""Faults that are ordered on the page: the same orders as those of `orchestrate fault`, and the YAML that would schedule them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from orchestrator.page.history.run_history import RunHistory
from orchestrator.page.state.edge_states import STILL, fault_edges, fault_nodes
from orchestrator.results.metric_series import training_time
from orchestrator.results.run_files import read_lines
from orchestrator.run_server.faults.fault_words import FaultOptions, fault_of
from orchestrator.run_server.run_client import RunClient
from protocols.runtime.clock import unix_time
from protocols.runtime.errors import MurmurationError, UsageError
from protocols.runtime.suggestions import hint

ACTIONS = ("kill", "pause", "resume", "cut", "delay", "loss", "heal")
_MOST = 64
"""faults of one order"""

Order = Mapping[str, Any]


def events_of(order: Order, history: RunHistory) -> list[dict[str, Any]]:
    """The faults that an order begins, as entries of `faults.events` without `id` and `at`; none for `resume` and `heal`. `UsageError`
    names what is wrong with it."""
    action, nodes, edges, value, lasts = _read(order, history)
    extras = FaultOptions(restart_after=lasts) if action == "kill" else FaultOptions(lasts=lasts)
    if action in ("resume", "heal"):
        return []
    if action in ("kill", "pause"):
        if not nodes or edges:
            raise UsageError(f"{action} is a fault of nodes; name them in nodes, and no edges")
        return [fault_of(action, [node], extras) for node in nodes]
    if action == "cut":
        alone = [{"partition": {"groups": [[node], [name for name in history.agents if name != node]]}} for node in nodes]
        made = [fault_of("cut", [f"{a}:{b}"], extras) for a, b in edges]
        isolating = fault_of("cut", ["x:y"], extras)
        made += [{**isolating, **one} for one in alone]
    else:
        ends = [f"{a}:{b}" for a, b in edges] + nodes
        made = [fault_of(action, [end, value], extras) for end in ends]
        for one in made:
            one["link"]["symmetric"] = True
    if not made:
        raise UsageError(f"{action} needs edges, or nodes all of whose edges are meant")
    return made


def _read(order: Order, history: RunHistory) -> tuple[str, list[str], list[tuple[str, str]], str, str | None]:
    action = str(order.get("action"))
    if action not in ACTIONS:
        raise UsageError(f'action: "{action}" is not one of {", ".join(ACTIONS)}; {hint(action, ACTIONS, "see orchestrate fault --help")}')
    known = {*history.agents, "env-0"}
    given, pairs = order.get("nodes") or [], order.get("edges") or []
    if not isinstance(given, list) or not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise UsageError("nodes is a list of names, edges a list of pairs of names")
    nodes, edges = [str(node) for node in given], [(str(a), str(b)) for a, b in pairs]
    if len(nodes) + len(edges) > _MOST:
        raise UsageError(f"one order has at most {_MOST} nodes and edges")
    for name in [*nodes, *(end for edge in edges for end in edge)]:
        if name not in known:
            raise UsageError(f'there is no node "{name[:60]}" in this run')
    value, lasts = order.get("value"), order.get("for")
    if action in ("delay", "loss") and value is None:
        raise UsageError(f"{action} needs a value, for example {'50ms' if action == 'delay' else '0.2'}")
    return action, nodes, edges, str(value), str(lasts) if lasts else None


def scheduled_yaml(events: list[dict[str, Any]], at: float) -> str:
    """The section `faults` that begins these faults at `at` seconds of training; empty without any."""
    if not events:
        return ""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    entries = []
    for number, event in enumerate(events, 1):
        entry = CommentedMap({"id": f"page-{number}", "at": {"time": f"{at:.1f}s"}, **event})
        entry.fa.set_flow_style()
        entries.append(entry)
    yaml, text = YAML(), io.StringIO()
    yaml.width = 4096
    yaml.dump({"faults": {"events": entries}}, text)
    return text.getvalue()


def training_seconds(history: RunHistory) -> float:
    """How long the run has trained by now."""
    return max(0.0, training_time(read_lines(history.directory / "events.jsonl")).of(unix_time()))


def carry_out(order: Order, history: RunHistory, dry: bool = False) -> dict[str, Any]:
    """Do what is ordered, through the run server: `{ok, message, yaml}`. `dry`: only the YAML. A refusal of the run server is the message,
    with `ok` false."""
    events = events_of(order, history)
    answer = {"ok": True, "message": "", "yaml": scheduled_yaml(events, training_seconds(history))}
    if dry:
        return answer
    done: list[str] = []
    try:
        with RunClient(history.directory) as client:
            for event in events:
                done.append(str(client.fault(event).get("text")))
            if not events:
                done += _ended(client, order, history)
    except MurmurationError as error:
        return {**answer, "ok": False, "message": "; ".join([*done, str(error)])}
    return {**answer, "message": "; ".join(done) or "nothing was broken"}


def _ended(client: RunClient, order: Order, history: RunHistory) -> list[str]:
    """End the faults that are meant: of paused nodes, at some nodes and edges, or all."""
    action, nodes, edges, _, _ = _read(order, history)
    if action == "heal" and not nodes and not edges:
        return [f"healed: {name}" for name in client.heal().get("ended", [])]
    here = {fault.id: fault for fault in history.faults}
    ended: list[str] = []
    for lasting in (client.status().get("faults") or {}).get("on") or ():
        fault = here.get(str(lasting["id"]))
        if fault is None or (action == "resume" and fault.kind not in STILL):
            continue
        at_edges = {tuple(edge) for edge in fault_edges(fault, history.edges)}
        if {*nodes} & {*fault_nodes(fault, [*history.agents, "env-0"])} or at_edges & {*edges, *((b, a) for a, b in edges)}:
            ended += [f"healed: {name}" for name in client.heal(fault.id).get("ended", [])]
    return ended
