"""Where a run takes place makes no difference: under the logical clock it ends with the same bytes on machines of every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.under_test import ENGINES, SshByNames
from tests.runs.system import SMALL, orchestrate
from tests.runs.test_logical_clock import CONFIG, results

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

FAULTS = {
    "seed": 77,
    "links": [
        {"id": "wan", "from": "agent-*", "to": "agent-*", "delay": {"dist": "lognormal", "mean": "15ms", "jitter": "8ms"}, "loss": 0.1}
    ],
    "events": [{"id": "crash", "at": {"step": 250}, "process": {"target": "agent-2", "action": "kill", "restart_after": "300ms"}}],
}
RUN = [
    *(change for change in SMALL if not change.startswith(("until", "supervision"))),
    "until={steps: 400}",
    "supervision.checkpoint_interval=1s",
    f"faults={json.dumps(FAULTS)}",
]


def up(runs: Path, name: str, *more: str) -> Path:
    done = orchestrate(runs, "up", str(CONFIG), "--name", name, *RUN, *more, "--plain", timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / name


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run on one host of this machine."""
    yield up(tmp_path_factory.mktemp("same") / "runs", "here")


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "local"])
def test_a_run_on_two_machines_ends_with_the_bytes_of_one_on_this_machine(name: str, here: Path) -> None:
    if reason := ENGINES[name].why_not():
        pytest.skip(f"engine {name}: {reason}")
    with ENGINES[name]() as engine:
        there = up(here.parent, name, f"launch={json.dumps(engine.launch())}")
        assert not any(engine.processes(machine) for machine in engine.machines)
    assert set(json.loads((there / "placement.json").read_text()).values()) == set(engine.machines)
    expected = results(here)
    assert len(expected) > 10 and any("agent-2/faults.jsonl" in name for name in expected)
    assert results(there) == expected


def test_machines_may_know_each_other_by_names_and_addresses_of_their_own(here: Path) -> None:
    if reason := SshByNames.why_not():
        pytest.skip(reason)
    with SshByNames() as engine:
        network = ["network.bind=0.0.0.0", "network.advertise=head.example"]
        there = up(here.parent, "names", f"launch={json.dumps(engine.launch())}", *network)
        for name, host in engine.hosts.items():
            log = (there / "hosts" / f"{name}.log").read_text()
            assert "joins the run server at tcp://head.example:" in log and f"bound to {host.address}, known as {name}.example" in log
    assert results(there) == results(here)
