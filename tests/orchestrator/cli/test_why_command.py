"""`orchestrate why` about runs that have ended, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.run_server.run_client import Unreachable
from orchestrator.run_server.waits.run_questions import why
from tests.orchestrator.cli.conftest import Orchestrate
from tests.orchestrator.cli.test_runs import holder, make  # noqa: F401 - a fixture


def test_ended_lost_and_unknown_runs(runs: Path, orchestrate: Orchestrate) -> None:
    make(runs, "ended", state="FAILED", exit_code=20, reason="too few", started="2026-11-21T14:00:00Z", ended="2026-11-21T14:01:30Z")
    make(runs, "left", state="RUNNING", pid=1, started="2026-11-21T13:00:00.000Z")
    told = orchestrate("why", "ended")
    assert (told.returncode, told.stdout) == (0, "good ended has ended: FAILED, exit 20\n"), told.stderr
    left = json.loads(orchestrate("why", "left", "--json").stdout)
    assert left["state"] == "LOST" and left["chains"][0]["level"] == "bad" and left["nodes"] == {}
    unknown = orchestrate("why", "nothing")
    assert unknown.returncode == 2 and 'no run "nothing"' in unknown.stderr


@pytest.mark.usefixtures("holder")
def test_a_run_server_that_is_not_on_this_machine_is_unreachable(runs: Path) -> None:
    with pytest.raises(Unreachable, match="no control address"):
        why(runs / "live")
