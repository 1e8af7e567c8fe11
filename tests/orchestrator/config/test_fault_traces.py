"""Fault traces: CSV files of nodes and links become events and rules of the configuration, and mistakes name their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import Loaded, load
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.resolved_configuration import canonical_json, recorded, resolved_yaml

LARGE = MachineResources(cores=1e6, memory=2**60)
MAIN = Path(__file__).parents[3] / "configs" / "4agents_ring.yaml"
CONFIG = Path(__file__).parents[3] / "configs" / "traces_4agents_ring.yaml"
NODES = "time,node,state\n0,agent-0,up\n\n# a comment\n2,agent-1,down\n3500ms,agent-1,up\n4,agent-2,down\n"
LINKS = """time,from,to,delay,loss,rate
1,agent-0,agent-1,0.02,,
2s,agent-0,agent-1,80ms,0.1,4mbit
3,agent-0,agent-1,,,
5,agent-2,agent-*,,1,
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)


def read(nodes: str = NODES, links: str = LINKS, *overrides: str) -> Loaded:
    Path("inside/nodes.csv").write_text(nodes)
    Path("inside/links.csv").write_text(links)
    faults = "faults:\n  traces: [nodes.csv, links.csv]\n  events: [{id: mine, at: {time: 1s}, process: {target: agent-3, action: kill}}]\n"
    Path("inside/x.yaml").write_text(f"extends: {MAIN}\n{faults}")
    return load(Path("inside/x.yaml"), overrides, machine=LARGE)


def message(nodes: str = NODES, links: str = LINKS) -> str:
    with pytest.raises(Problems) as caught:
        read(nodes, links)
    return str(caught.value)


@pytest.mark.parametrize("clock", ["wall", "logical"])
def test_rows_become_events_and_rules(clock: str) -> None:
    loaded = read(NODES, LINKS, f"clock={clock}")
    faults = loaded.configuration.faults
    assert faults is not None and faults.traces == []
    assert [event.id for event in faults.events] == ["mine", "trace1-line5", "trace1-line7"]
    dumped = faults.model_dump(mode="json", by_alias=True)
    assert dumped["events"][1]["at"] == {"time": "2s"}
    assert [event["process"] for event in dumped["events"][1:]] == [
        {"target": "agent-1", "action": "kill", "restart_after": "1.5s", "code": 10},
        {"target": "agent-2", "action": "term", "restart_after": None, "code": 10},
    ]
    first, second, third = dumped["links"]
    assert (first["id"], first["delay"]["mean"], first["during"]) == (
        "trace2-line2", "20ms", {"start": {"time": "1s"}, "stop": {"time": "2s"}},
    )  # fmt: skip
    assert (second["delay"]["mean"], second["loss"]["p"], second["bandwidth"]["rate"]) == ("80ms", 0.1, "4mbit")
    assert second["during"]["stop"] == {"time": "3s"}, "a row without effects ends the one before it"
    assert (third["to"], third["loss"]["p"]) == (["agent-*"], 1.0) and "stop" not in third["during"]


def test_the_run_holds_the_rows_and_not_the_names_of_files() -> None:
    loaded = read()
    again = recorded(canonical_json(loaded.configuration))
    assert again == loaded.configuration
    Path("whole.yaml").write_text(resolved_yaml(loaded.configuration))
    Path("inside/nodes.csv").unlink()
    assert load(Path("whole.yaml"), machine=LARGE).configuration == loaded.configuration


def test_a_name_in_an_argument_is_relative_to_the_working_directory() -> None:
    Path("nodes.csv").write_text(NODES)
    faults = load(MAIN, ["faults.traces=[nodes.csv]"], machine=LARGE).configuration.faults
    assert faults is not None and [event.id for event in faults.events] == ["trace1-line5", "trace1-line7"]


def test_the_shipped_traces_are_a_configuration() -> None:
    faults = load(CONFIG, machine=LARGE).configuration.faults
    assert faults is not None and len(faults.events) == 2 and len(faults.links) == 6


@pytest.mark.parametrize(
    ("nodes", "line", "says"),
    [
        ("node,when\nagent-0,1\n", 1, '"node,when" is no header of a trace; write time,node,state or time,from,to'),
        ("time,node,state\n1,agent-0\n", 2, "has 2 cells in place of 3; write time,node,state"),
        ("time,node,state\n1,agent-0,asleep\n", 2, 'state "asleep" is unknown; write up or down'),
        ("time,node,state\n1,agent-0,down\n2,agent-0,down\n", 3, "agent-0 is down since line 2; remove this row, or write an up row"),
        ("time,node,state\n1,agent-0,up\n", 2, "agent-0 is up already; remove this row, or write a down row before it"),
        ("time,node,state\n5,agent-0,down\n4,agent-0,up\n", 3, "4 s is not after the row before of agent-0 (5 s); sort the rows by time"),
        ("time,node,state\nsoon,agent-0,down\n", 2, 'time: "soon" is not a duration; write for example 250ms, 5s or 2min; a number alone'),
        ("time,node,state\n1y,agent-0,down\n", 2, "has the unknown unit y"),
        ("time,node,state\n-1,agent-0,down\n", 2, 'time: "-1" is not a duration'),
        ("time,node,state\n1,agent-9,down\n2,agent-9,up\n", 2, '"agent-9" matches no node'),
        ("time,node,state\n700,agent-1,down\n", 2, "time 700 is never reached: training ends at 600"),
    ],
)
def test_mistakes_name_the_file_the_line_and_the_cure(nodes: str, line: int, says: str) -> None:
    text = message(nodes)
    assert f"inside/nodes.csv:{line}:1" in text and says in text, text


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,agent-0,agent-1,,high,", 'loss: "high" is wrong; write a share from 0 to 1, for example 0.05'),
        ("1,agent-0,agent-1,,1.5,", "is more than 1.0, the most allowed"),
        ("1,agent-0,agent-1,,,10", '"10" has no unit; write 10kbit or 10mbit'),
        ("1,agent-0,agent-7,10ms,,", '"agent-7" matches no node'),
        ("1,agent-0,agent-1,10m,,", "has the unknown unit m"),
    ],
)
def test_mistakes_in_rows_of_links(row: str, says: str) -> None:
    text = message(links=f"time,from,to,delay,loss,rate\n{row}\n")
    assert "inside/links.csv:2:1" in text and says in text, text


def test_files_that_cannot_be_read_or_are_empty() -> None:
    assert "holds no rows; write the header time,node,state and a row such as" in message("time,node,state\n")
    Path("y.yaml").write_text(f"extends: {MAIN}\nfaults: {{traces: [none.csv]}}\n")
    with pytest.raises(Problems) as caught:
        load(Path("y.yaml"), machine=LARGE)
    assert "y.yaml:2" in str(caught.value) and "none.csv cannot be read" in str(caught.value)
