"""`orchestrate` as it is, except that the nodes of the runs it starts are those of `tests.orchestrator.run_server.small_nodes`.

`SMALL_BEHAVIOUR` in the environment selects how they misbehave.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from orchestrator.cli.app import main
from orchestrator.run_server import run_start as detached


class Popen(subprocess.Popen[bytes]):
    """Starts `tests.orchestrator.run_server.lead DIR` instead of `orchestrator _serve DIR`."""

    def __init__(self, args: list[str], **options: Any) -> None:
        if args[1:4] == ["-m", "orchestrator", "_serve"]:
            if "SMALL_BEHAVIOUR" in os.environ:
                (Path(args[4]) / "behaviour.json").write_text(os.environ["SMALL_BEHAVIOUR"])
            args = [args[0], "-m", "tests.orchestrator.run_server.lead", args[4]]
        super().__init__(args, **options)


if __name__ == "__main__":
    detached.subprocess.Popen = Popen  # type: ignore[misc]
    main()
