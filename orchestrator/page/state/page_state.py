"""The state of a run at one time, as the page shows it: a function of the run's history, and of the newest status of its run server."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.page.history.run_history import NodeUsage, RunHistory
from orchestrator.page.state.edge_states import STILL, edge_states, fault_edges, fault_nodes
from orchestrator.page.state.run_answers import idle_answer, learning_answer, waits_answer
from orchestrator.results.run_directories import FINAL
from orchestrator.run_server.waits.run_questions import WhyReport

ENVIRONMENT, RUN_SERVER = "env-0", "run"
RETURN = ("return", "return.normalised", "eval.own.return")
SUCCESS = ("success", "success.individual")
DISAGREEMENT = ("models.disagreement", "consensus.disagreement", "statistics.disagreement")
MOST_EVENTS = 200
LOST = "the run server is gone; go on with: orchestrate up --resume"
_STATES = {
    "joining": "late",
    "alive": "up",
    "stuck": "late",
    "suspect": "suspect",
    "dead": "dead",
    "lost": "dead",
    "left": "done",
}


@dataclass
class LiveFacts:
    """What is known of a live run beside its files: the newest status of its run server, and the usage of its processes."""

    status: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, NodeUsage] = field(default_factory=dict)


def page_state(history: RunHistory, at: float | None = None, live: LiveFacts | None = None, why: WhyReport | None = None) -> dict[str, Any]:
    """The state at `at` seconds of the run; None: the newest, with the facts of a `live` run. Unknown values are None."""
    t = history.last if at is None else at
    now = live if at is None and live is not None else LiveFacts()
    status = now.status
    server = {str(node.get("name")): node for node in status.get("nodes") or ()}
    names = [ENVIRONMENT, *history.agents]
    still = {name for fault in history.faults if fault.kind in STILL and fault.lasts(t) for name in fault_nodes(fault, names)}
    nodes = {name: _node(history, name, t, server.get(name) or {}, now.usage.get(name), why) for name in names}
    for name in still & {name for name, node in nodes.items() if node["state"] in ("up", "late", "suspect")}:
        nodes[name] |= {"state": "paused", "reason": "paused by a fault"}
    nodes[RUN_SERVER] = _run_server(history, t, at is None, now.usage.get(RUN_SERVER))
    if at is None and history.state == "LOST":
        for node in nodes.values():
            if node["state"] != "done":
                node |= {"state": "suspect", "reason": LOST}
    faults = [fault for fault in history.faults if fault.t <= t]
    metrics, until = history.metrics, history.configuration.get("until") or {}
    step = status.get("steps") or metrics.value(("steps",), ENVIRONMENT, t)
    episode = status.get("episodes") or _episode(history, t)
    ended = at is None and history.state in FINAL
    return {
        "t": round(t, 3),
        "step": None if step is None else int(step),
        "total_steps": until.get("steps"),
        "episode": episode,
        "run_state": history.state if at is None else _state_at(history, t, history.state),
        "phase": "" if ended else str(status.get("phase") or _phase_at(history, t)),
        "nodes": nodes,
        "edges": edge_states(history, t),
        "answers": {
            "idle": idle_answer(history, t, nodes),
            "waits": waits_answer(why, ended),
            "learning": learning_answer(history, t),
        },
        "events": _events(history, t),
        "goals": {name: list(goals) for name in history.agents if (goals := history.goals.newest(name, t))},
        "goal_labels": history.goals.labels,
        "time": _time(history, t),
        "faults": [
            {
                "t": round(fault.t, 3),
                "until": round(fault.until, 3) if fault.until is not None and fault.until <= t else None,
                "kind": fault.kind,
                "text": fault.text,
                "nodes": fault_nodes(fault, history.agents),
                "edges": fault_edges(fault, history.edges),
            }
            for fault in faults
        ],
    }


def _events(history: RunHistory, t: float) -> list[dict[str, Any]]:
    end = bisect_right(history.events, t, key=lambda event: event["t"])
    return history.events[max(0, end - MOST_EVENTS) : end]


def _node(
    history: RunHistory, name: str, t: float, server: Mapping[str, Any], usage: NodeUsage | None, why: WhyReport | None
) -> dict[str, Any]:
    state, reason = _membership(history, name, t)
    if server:
        state = _STATES.get(str(server.get("state")), state)
    metrics, role = history.metrics, "environment" if name == ENVIRONMENT else "agent"
    used = usage or history.final_usage(name) or NodeUsage()
    waits = (why.nodes.get(name) or ()) if why is not None else ()
    return {
        "role": role,
        "state": state,
        "reason": reason,
        "cpu": None if used.cpu is None else round(used.cpu, 2),
        "memory": used.memory,
        "restarts": int(server["restarts"]) if server.get("restarts") is not None else _restarts(history, name, t),
        "waits": str(waits[0].text) if waits else None,
        "return": _rounded(metrics.value(RETURN, name, t)),
        "success": _rounded(metrics.value(SUCCESS, name, t)),
        "disagreement": _rounded(metrics.value(DISAGREEMENT, RUN_SERVER, t)) if role == "agent" else None,
        "goal": history.goals.text(goals[-1][1]) if (goals := history.goals.newest(name, t)) else None,
        "learner": history.components(name),
    }


def _run_server(history: RunHistory, t: float, newest: bool, usage: NodeUsage | None) -> dict[str, Any]:
    state = history.state
    over = newest and state in FINAL
    used = usage or NodeUsage()
    return {
        "role": "run server",
        "state": ("done" if state in ("DONE", "STOPPED") else "dead") if over else "up",
        "reason": str(history.record.get("reason") or "") if over else "",
        "cpu": None if used.cpu is None else round(used.cpu, 2),
        "memory": used.memory,
        "restarts": max(0, int(history.record.get("segment") or 1) - 1),
        "waits": None,
        "return": None,
        "success": None,
        "disagreement": _rounded(history.metrics.value(DISAGREEMENT, RUN_SERVER, t)),
        "goal": None,
        "learner": "",
    }


def _membership(history: RunHistory, name: str, t: float) -> tuple[str, str]:
    newest = next((change for change in reversed(history.changes.get(name, ())) if change.t <= t), None)
    if newest is None:
        return "late", "not started yet"
    return _STATES[newest.state], "" if newest.state == "alive" else newest.text


def _restarts(history: RunHistory, name: str, t: float) -> int:
    incarnations = {change.incarnation for change in history.changes.get(name, ()) if change.t <= t}
    resumed = sum(kind == "run.resumed" and time <= t for time, kind in history.milestones)
    return max(0, len(incarnations) - 1 - resumed)


def _episode(history: RunHistory, t: float) -> int | None:
    metric = history.metrics.get("steps", ENVIRONMENT)
    index = metric.index(t) if metric is not None else -1
    return int(metric.episode[index]) if metric is not None and index >= 0 else None


_PHASES = {"run.queued": "queued", "run.running": "training", "run.evaluation": "evaluation", "run.stopping": "closing", "run.ended": ""}


def _phase_at(history: RunHistory, t: float) -> str:
    found = [_PHASES[kind] for time, kind in history.milestones if time <= t and kind in _PHASES]
    return found[-1] if found else "starting"


def _state_at(history: RunHistory, t: float, final: str) -> str:
    kinds = [kind for time, kind in history.milestones if time <= t]
    if kinds and kinds[-1] == "run.ended":
        return final
    return "RUNNING" if "run.running" in kinds else "STARTING"


def _time(history: RunHistory, t: float) -> dict[str, dict[str, float]]:
    """Shares of each node's newest window of time, and of all agents in the mean."""
    found = {node: shares for node in history.metrics.nodes if (shares := history.time_shares(node, t))}
    agents = [found[node] for node in history.agents if node in found]
    if agents:
        total: dict[str, float] = {}
        for shares in agents:
            for part, share in shares.items():
                total[part] = total.get(part, 0.0) + share
        found["all"] = {part: round(share / len(agents), 3) for part, share in sorted(total.items())}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
