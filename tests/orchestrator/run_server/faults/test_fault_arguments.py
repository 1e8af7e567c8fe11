"""From the words of the command line to an entry of `faults.events`, by the rules of a configuration, to an order for a node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.run_server.faults.fault_words import KINDS, FaultOptions, fault_of
from orchestrator.run_server.faults.manual_faults import read_event
from protocols.faults.fault_schedule import LINK_KINDS, RunMoment, RunPosition, compile_schedule
from protocols.faults.fault_timeline import FaultTimeline
from protocols.faults.link_effects.run_links import ManualLinkFault
from protocols.runtime.errors import ConfigurationError, UsageError

BASE: dict[str, Any] = {"version": 2, "until": {"time": "60s"}, "environment": {"id": "landmarks"}, "agents": {"count": 4}}
CONFIGURATION = Configuration.model_validate(BASE)
HERE = RunPosition(12.5, 400, 20, 7)

GOOD = [
    ("kill agent-2", FaultOptions(restart_after="5s"), {"process": {"target": "agent-2", "action": "kill", "restart_after": "5s"}}),
    ("term agent-2", FaultOptions(), {"process": {"target": "agent-2", "action": "term"}}),
    ("pause agent-1", FaultOptions(lasts="8s"), {"process": {"target": "agent-1", "action": "pause"}, "for": "8s"}),
    ("hang env-0", FaultOptions(lasts="1s"), {"process": {"target": "env-0", "action": "hang"}, "for": "1s"}),
    ("cut agent-0:agent-1", FaultOptions(lasts="10s"), {"partition": {"groups": [["agent-0"], ["agent-1"]]}, "for": "10s"}),
    (
        "partition agent-0,agent-1|agent-[23]",
        FaultOptions(lasts="20 episodes", channels=("peer", "env")),
        {"partition": {"groups": [["agent-0", "agent-1"], ["agent-[23]"]], "channels": ["peer", "env"]}, "for": {"episodes": 20}},
    ),
    ("partition halves", FaultOptions(), {"partition": {"shape": "halves"}}),
    ("delay * 50ms", FaultOptions(), {"link": {"from": ["*"], "to": ["*"], "delay": "50ms"}}),
    ("loss agent-0:agent-1 0.2", FaultOptions(), {"link": {"from": ["agent-0"], "to": ["agent-1"], "loss": 0.2}}),
    ("slow agent-3 5", FaultOptions(where="comm"), {"straggler": {"target": "agent-3", "factor": 5.0, "where": "comm"}}),
    ("lie agent-3 sign_flip", FaultOptions(scale=4.0), {"byzantine": {"target": "agent-3", "attack": "sign_flip", "scale": 4.0}}),
    (
        "event {storage: {target: agent-0, action: full}}",
        FaultOptions(lasts="5s"),
        {"storage": {"target": "agent-0", "action": "full"}, "for": "5s"},
    ),
]


@pytest.mark.parametrize(("line", "extras", "expected"), GOOD, ids=[line for line, _, _ in GOOD])
def test_words_make_an_event_that_the_rules_of_a_configuration_take(line: str, extras: FaultOptions, expected: dict[str, Any]) -> None:
    kind, *words = line.split(" ", 1 if line.startswith("event") else -1)
    made = fault_of(kind, words, extras)
    assert made == expected
    event = read_event(json.dumps(made), "by-hand-1", HERE, CONFIGURATION)
    assert (event.id, event.at.time) == ("by-hand-1", 12.5)
    in_file = Configuration.model_validate({**BASE, "faults": {"events": [{"id": "by-hand-1", "at": {"time": "12500ms"}, **made}]}})
    assert in_file.faults is not None and in_file.faults.events == [event], "the same as if it stood in the file"


def test_a_fault_by_hand_never_begins_after_the_moment_it_was_asked_for() -> None:
    for time in (0.7448916879984608, 0.0004, 59.9999, 12.5):
        begins = read_event('{"partition": {"shape": "halves"}}', "by-hand-1", RunPosition(time, 40, 2, 1), CONFIGURATION).at.time
        assert begins is not None and time - 0.001 < begins <= time


def test_every_kind_is_tried() -> None:
    assert {line.split()[0] for line, _, _ in GOOD} == {*KINDS, "event"}


@pytest.mark.parametrize(
    ("kind", "words", "extras", "says"),
    [
        ("kil", ["agent-0"], FaultOptions(), 'did you mean "kill"'),
        ("explode", [], FaultOptions(), "it is one of kill, term"),
        ("kill", [], FaultOptions(), "takes NODE, not nothing"),
        ("kill", ["agent-0", "agent-1"], FaultOptions(), "several nodes are one pattern"),
        ("cut", ["agent-0"], FaultOptions(), "does not name two sides"),
        ("loss", ["*", "often"], FaultOptions(), '"often" is not a number'),
        ("pause", ["agent-0"], FaultOptions(restart_after="5s"), "has no --restart-after; that is for kill, term"),
        ("kill", ["agent-0"], FaultOptions(channels=("env",)), "has no --channel"),
        ("event", ["3"], FaultOptions(), "takes an entry of faults.events"),
        ("event", ["{storage: "], FaultOptions(), "fault event:"),
    ],
)
def test_words_that_make_no_event_are_refused_with_the_cure(kind: str, words: list[str], extras: FaultOptions, says: str) -> None:
    with pytest.raises(UsageError, match="(?i)" + says.replace("[", r"\[")):
        fault_of(kind, words, extras)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"process": {"target": "agent-9", "action": "kill"}}, '"agent-9" matches no node: they are agent-0 ... agent-3, env-0'),
        ({"process": {"target": "agent-1", "action": "kil"}}, 'did you mean "kill"'),
        ({"process": {"target": "agent-1", "action": "kill"}, "for": "5s"}, "restart_after"),
        ({"process": {"target": "agent-1", "action": "pause"}, "for": "5"}, '"5" has no unit; write 5ms or 5s'),
        ({"partition": {"groups": [["agent-*"], ["agent-1"]]}}, "agent-1 would be on two sides at once"),
        ({"partition": {"shape": "halfs"}}, 'did you mean "halves"'),
        ({"link": {"from": "agent-0", "loss": 1.5}}, "1.5 is more than 1"),
        ({"link": {"from": "agent-0"}}, "does nothing"),
        ({"straggler": {"target": "env-0", "factor": 2}}, "matches no node"),
        ({"byzantine": {"target": "agent-1", "attack": "sign_flop"}}, 'did you mean "sign_flip"'),
        ({"link": {"delay": "5ms"}, "process": {"target": "agent-0", "action": "kill"}}, "one of"),
        ({"at": {"time": "5s"}, "link": {"delay": "5ms"}}, "it begins now"),
        ({}, "one of"),
    ],
)
def test_what_a_configuration_would_refuse_is_refused(event: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_event(json.dumps(event), "by-hand-1", HERE, CONFIGURATION)
    assert says in str(error.value)


def test_an_order_survives_the_way_to_its_node_and_holds_as_long_as_it_should() -> None:
    event = read_event(json.dumps(fault_of("cut", ["agent-0:agent-1"], FaultOptions(lasts="10s"))), "by-hand-1", HERE, CONFIGURATION)
    order = ManualLinkFault.from_json(ManualLinkFault(event, HERE).to_json())
    assert order == ManualLinkFault(event, HERE)
    assert ManualLinkFault.from_json('{"id": "x", "lasts": null}') is None
    schedule = compile_schedule(None, [], CONFIGURATION.agent_names())
    timeline = FaultTimeline(schedule, LINK_KINDS)
    timeline.reach(time=12.7, step=400, episode=20)
    (change,) = timeline.begin(schedule.compiled(order.event))
    assert (
        change.until == RunMoment("time", 22.5) and change.event.cut is not None and change.event.cut.severs("agent-0", "agent-1", "peer")
    )
    assert timeline.begin(schedule.compiled(order.event)) == [], "an order may come twice"
    assert timeline.reach(time=22.4) == []
    assert [(change.what, change.event.id) for change in timeline.reach(time=22.5)] == [("end", "by-hand-1")]


def test_what_was_ended_by_hand_does_not_begin_again() -> None:
    faults = {"events": [{"id": "split", "at": {"time": "20s"}, "partition": {"shape": "halves"}}]}
    configuration = Configuration.model_validate({**BASE, "faults": faults})
    timeline = FaultTimeline(compile_schedule(configuration.faults, [], configuration.agent_names()), LINK_KINDS)
    assert timeline.end("split") == []
    assert timeline.reach(time=30.0) == [] and timeline.active == []
    event = timeline_event(configuration)
    assert [change.what for change in timeline.begin(event)] == ["begin"]
    assert [change.what for change in timeline.heal()] == ["end"]
    again = read_event(json.dumps({"partition": {"shape": "halves"}}), "by-hand-2", HERE, configuration)
    compiled = compile_schedule(configuration.faults, [], configuration.agent_names()).compiled(again)
    assert [change.what for change in timeline.begin(compiled)] == ["begin"], "after all was healed by hand, new ones may come"
    assert [change.what for change in timeline.end("by-hand-2")] == ["end"]
    assert timeline.begin(compiled) == []


def timeline_event(configuration: Configuration) -> Any:
    event = read_event(json.dumps({"partition": {"shape": "halves"}}), "by-hand-1", HERE, configuration)
    return compile_schedule(configuration.faults, [], configuration.agent_names()).compiled(event)
