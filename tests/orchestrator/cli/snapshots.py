"""Snapshots as a run server sends them, with numbers that are easy to recognise."""

from typing import Any


def agent(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"agent-{number}",
        "role": "agent",
        "state": "alive",
        "pid": 4000 + number,
        "incarnation": 1,
        "restarts": 0,
        "up_after": 1.9,
        "detail": "double_dqn + ensemble(5)",
        "metrics": {
            "episode": 1204.0,
            "steps_per_second": 412.0 + number,
            "return": 0.5 + number / 100,
            "success": 0.83,
            "aligned": 0.64,
            "consensus.disagreement": 3.1e-4,
            "messages_per_second": 38.0,
        },
        "history": {"return": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6 + number / 100]},
        "peers": [2, 2],
        **changes,
    }


def snapshot(agents: int = 4, **changes: Any) -> dict[str, Any]:
    server = {
        "name": "env-0",
        "role": "env",
        "state": "alive",
        "pid": 3999,
        "up_after": 0.4,
        "detail": "landmarks x64",
        "metrics": {"steps_per_second": 1640.0},
        "history": {},
    }
    return {
        "run": "ring-brave-otter-0001",
        "directory": "runs/ring-brave-otter-0001",
        "state": "RUNNING",
        "exit_code": None,
        "reason": "",
        "seed": 0,
        "engine": "local",
        "elapsed": 151.0,
        "left": 140.0,
        "progress": 0.52,
        "episodes": 1204,
        "steps": 20000,
        "phase": "training",
        "nodes": [agent(i) for i in range(agents)] + [server],
        "event_id": 1,
        "events": [],
        **changes,
    }


EVENT = {
    "id": 1,
    "t": "2026-11-21T14:00:02.000Z",
    "severity": "warning",
    "code": "node.restart",
    "node": "agent-2",
    "text": "killed by signal 9",
}
