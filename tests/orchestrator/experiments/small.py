"""Experiments that last seconds, and `orchestrate experiment` from the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"

PLAYED: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "base": str(CONFIG),
    "set": {
        "clock": "logical",
        "until": {"steps": 400},
        "agents.count": 2,
        "agents.learner.learning_starts": 100,
        "agents.learner.replay_ratio": 0.25,
        "agents.learner.batch_size": 16,
        "agents.learner.hidden": [8],
        "agents.world_model": None,
        "environment.copies": 4,
        "environment.options.horizon": 10,
        "evaluation": {"every": 1000, "episodes": 4, "final_episodes": 4},
        "supervision.checkpoint_interval": "300ms",
        "metrics.every": "200ms",
        "metrics.sinks": [],
        "exchange.consensus": {"mode": "mh", "groups": ["critic"], "every": {"updates": 5}},
    },
    "factors": {"averaging": {"key": "exchange.consensus.every", "values": {"often": {"updates": 5}, "seldom": {"updates": 20}}}},
    "seeds": 0,
    "measure": [
        {"metric": "return", "over": "all"},
        {"metric": "learner.loss", "node": "agent-*", "over": "final 50%", "higher": "worse"},
        {"metric": "nodes.agent-0.metrics.updates.last", "name": "updates", "node": "summary"},
    ],
}
"""runs of two agents under the logical clock"""

SIMULATED: dict[str, Any] = {
    "version": 1,
    "name": "simulated",
    "base": str(CONFIG),
    "with": "simulate",
    "simulate": {"dimension": 4, "episodes": 0, "tolerance": 1e-3},
    "factors": {
        "topology": {"key": "network.topology", "values": {"ring": {"kind": "ring"}, "complete": {"kind": "complete"}}},
        "agents": {"key": "simulate.agents", "values": [4, 12]},
    },
    "seeds": "0..1",
    "measure": [{"metric": "rounds", "higher": "worse"}, {"metric": "disagreement", "scale": "log", "higher": "worse"}],
    "expect": [
        {"metric": "rounds", "where": {"topology": "complete"}, "relative_to": {"topology": "ring"}, "op": "<", "value": 1},
    ],
}
"""simulations of averaging"""


def written(directory: Path, design: dict[str, Any], **changes: Any) -> Path:
    """An experiment file; JSON is YAML."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "experiment.yaml"
    path.write_text(json.dumps({**design, **changes}, indent=1))
    return path


def environment(home: Path) -> dict[str, str]:
    names = ("PATH", "HOME", "TMPDIR", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "ORCHESTRATE_EXPERIMENTS": str(home / "experiments"), "COLUMNS": "160", "PYTHONPATH": str(REPOSITORY)}


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """`orchestrate ARGUMENTS` in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=home,
        env=environment(home),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def orchestrate(home: Path, *arguments: str, timeout: float = 100.0) -> subprocess.CompletedProcess[str]:
    """The same to its end."""
    with start(home, *arguments) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, "")
