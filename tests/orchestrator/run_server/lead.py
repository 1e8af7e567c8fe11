"""A run server whose nodes are those of `small_nodes`: `python -m tests.orchestrator.run_server.lead DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.run_server.run_server import serve
from protocols.runtime import logs

NODES = "tests.orchestrator.run_server.small_nodes"

if __name__ == "__main__":
    logs.configure()
    sys.exit(serve(Path(sys.argv[1]), 30.0, {"agent": f"{NODES}:main", "env": f"{NODES}:main"}, (NODES, "no_such_module")))
