"""Outcomes depend on nothing but their message and their link; the progress of the run switches rules on and off."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.faults.fault_schedule import LINK_KINDS, RunPosition, compile_schedule
from protocols.faults.link_effects import run_links as build
from protocols.faults.link_effects.faulty_links import UNTOUCHED, FaultyLinks, LinkOutcome, ReplayedLinks
from protocols.faults.link_effects.link_trace import LinkTraceWriter, read_past, recorded_changes
from protocols.faults.node_faults.fault_log import read
from protocols.faults.settings import FaultsSettings, LinkRule
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.node_start import NodeStart

AGENTS = [f"agent-{i}" for i in range(4)]
ROUGH = {
    "loss": {"model": "gilbert_elliott", "p_gb": 0.1, "p_bg": 0.3, "loss_bad": 0.8},
    "delay": {"dist": "lognormal", "mean": "50ms", "jitter": "20ms", "corr": 0.5},
    "duplicate": {"p": 0.1},
    "reorder": {"p": 0.1},
    "corrupt": {"p": 0.05},
}


def model(own: str = "agent-0", seed: int = 1, epoch: int = 1, **section: Any) -> FaultyLinks:
    return FaultyLinks(compile_schedule(FaultsSettings.model_validate(section), [], AGENTS), seed, own, epoch)


def rough(**more: Any) -> dict[str, Any]:
    return {"links": [{"id": "rough", "to": "agent-*", **ROUGH}], **more}


def fates(links: FaultyLinks, seqs: range, dst: str = "agent-1", kind: str = "average", now: float = 0.0) -> list[LinkOutcome]:
    return [links.link_outcome(dst, "peer", kind, seq, 1000, now) for seq in seqs]


def test_two_processes_draw_the_same() -> None:
    assert fates(model(**rough()), range(1, 2000)) == fates(model(**rough()), range(1, 2000))


@given(order=st.lists(st.sampled_from(["agent-1", "agent-2", "agent-3"]), max_size=200), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=30, deadline=None)
def test_other_links_and_times_change_nothing(order: list[str], seed: int) -> None:
    """However messages to different peers are interleaved, and whenever they are sent, each link has the same outcomes."""
    interleaved = model(seed=seed, **rough())
    found: dict[str, list[LinkOutcome]] = {name: [] for name in AGENTS}
    clock = random.Random(seed)
    for dst in order:
        found[dst].append(
            interleaved.link_outcome(dst, "peer", "average", len(found[dst]) + 1, clock.randrange(10**6), clock.random() * 1e6)
        )
    for dst, life in found.items():
        assert life == fates(model(seed=seed, **rough()), range(1, len(life) + 1), dst)


def test_adding_a_rule_or_an_effect_changes_no_draw_of_another() -> None:
    alone = fates(model(links=[{"id": "a", "loss": 0.3}]), range(1, 1000))
    more = fates(model(links=[{"id": "b", "delay": "10ms"}, {"id": "a", "loss": 0.3, "duplicate": {"p": 0.5}}]), range(1, 1000))
    assert [bool(link_outcome.copies) for link_outcome in alone] == [bool(link_outcome.copies) for link_outcome in more]


def test_skipped_numbers_leave_memoryless_fates_as_they_are() -> None:
    rule = {"links": [{"id": "a", "loss": 0.3, "delay": {"dist": "exponential", "mean": "10ms"}}]}
    every = fates(model(**rule), range(1, 1000))
    assert fates(model(**rule), range(5, 1000, 7)) == every[4::7]


def test_seeds_rules_epochs_and_directions_have_draws_of_their_own() -> None:
    lives = [
        fates(links, range(1, 200), dst)
        for links, dst in (
            (model(**rough()), "agent-1"),
            (model(**rough()), "agent-2"),
            (model(seed=2, **rough()), "agent-1"),
            (model(epoch=2, **rough()), "agent-1"),
            (model("agent-1", **rough()), "agent-0"),
            (model(links=[{"id": "other", **ROUGH}]), "agent-1"),
        )
    ]
    for i, life in enumerate(lives):
        assert all(life != other for other in lives[:i])


def test_links_begin_anew() -> None:
    links = model(**rough())
    first = fates(links, range(1, 300))
    fates(links, range(300, 437))
    links.reset()
    assert fates(links, range(1, 300)) == first
    links.reset(epoch=9)
    assert fates(links, range(1, 300)) == fates(model(epoch=9, **rough()), range(1, 300)) != first


def test_all_matching_rules_act_and_delays_add() -> None:
    links = model(
        links=[
            {"id": "a", "delay": "10ms"},
            {"id": "b", "from": "agent-0", "to": ["agent-1"], "delay": "5ms"},
            {"id": "c", "from": "agent-1", "to": "agent-0", "symmetric": True, "delay": "1ms", "duplicate": {"p": 1, "gap": "2ms"}},
            {"id": "d", "types": ["trace"], "loss": 1.0},
            {"id": "e", "channels": ["env"], "delay": "1s"},
        ]
    )
    assert links.link_outcome("agent-1", "peer", "average", 1, 10, 0.0).copies == pytest.approx((0.016, 0.018))
    assert links.link_outcome("agent-2", "peer", "average", 1, 10, 0.0).copies == (0.01,)
    assert links.link_outcome("agent-2", "peer", "trace", 1, 10, 0.0) == LinkOutcome((), None, "d")
    assert links.link_outcome("env-0", "env", "act", 1, 10, 0.0).copies == (1.0,)
    assert links.link_outcome("run", "ctl", "heartbeat", 1, 10, 0.0) is UNTOUCHED


def test_progress_switches_rules() -> None:
    links = model(
        links=[{"id": "early", "during": {"stop": {"step": 10}}, "delay": "1ms"}],
        events=[
            {"id": "storm", "at": {"round": 3}, "for": {"rounds": 2}, "link": {"loss": 1.0}},
            {"id": "split", "at": {"time": "5s"}, "for": "1s", "partition": {"groups": ["agent-0", "agent-[1-3]"]}},
        ],
    )
    life = []
    for moment in ({}, {"step": 10}, {"round": 3}, {"round": 5}, {"time": 5.0}, {"time": 6.0}):
        links.progress(**moment)
        link_outcome = links.link_outcome("agent-1", "peer", "average", 1, 10, 0.0)
        life.append((link_outcome.copies, link_outcome.cause))
    assert life == [((0.001,), ""), ((0.0,), ""), ((), "storm"), ((0.0,), ""), ((), "split"), ((0.0,), "")]


def test_the_network_is_not_healed() -> None:
    network = [LinkRule.model_validate({"id": "wan", "delay": "10ms"})]
    section = FaultsSettings.model_validate({"links": [{"id": "bad", "loss": 1.0}]})
    links = FaultyLinks(compile_schedule(section, network, AGENTS), 0, "agent-0")
    assert links.link_outcome("agent-1", "peer", "average", 1, 10, 0.0).copies == ()
    links.heal()
    assert links.link_outcome("agent-1", "peer", "average", 2, 10, 0.0).copies == (0.01,)
    assert links.active == ["wan"]


# --- traces --------------------------------------------------------------------------------------------------------------------------

SECTION = rough(events=[{"id": "split", "at": {"time": "2s"}, "for": "3s", "partition": {"shape": "isolate_one", "target": "agent-0"}}])


def live(directory: Path, links: FaultyLinks, pace: float, full: bool = True, messages: int = 1000) -> list[LinkOutcome]:
    """A run of one node in which a message leaves every `pace` seconds."""
    recorder = LinkTraceWriter(directory, "agent-0", full=full)
    recorder.changed(links.progress(), links.reached)
    found = []
    for seq in range(1, messages + 1):
        now = seq * pace
        recorder.changed(links.progress(time=now), links.reached)
        recorder.tick(int(now))
        link_outcome = links.link_outcome("agent-1", "peer", "average", seq, 100 + seq, now)
        recorder.decided("peer", "agent-1", "average", seq, 100 + seq, link_outcome)
        found.append(link_outcome)
    recorder.close()
    return found


def test_a_replay_takes_effect_at_the_recorded_messages(tmp_path: Path) -> None:
    """Two runs at different speeds: the partition falls on other messages, except in the one that replays."""
    first = live(tmp_path / "1" / "nodes" / "agent-0", model(**SECTION), 0.01)
    assert any(link_outcome.cause == "split" for link_outcome in first)
    assert live(tmp_path / "2", model(**SECTION), 0.017) != first
    schedule = compile_schedule(FaultsSettings.model_validate(SECTION), [], AGENTS)
    replayed = ReplayedLinks(schedule, 1, "agent-0", recorded_changes(tmp_path / "1", "agent-0", 1, LINK_KINDS))
    assert live(tmp_path / "3", replayed, 0.017) == first


def test_a_replay_repeats_the_nemesis(tmp_path: Path) -> None:
    section = {"random": {"every": "1s", "duration": "500ms", "weights": {"kill": 0, "pause": 0, "slow": 0}}}
    first = live(tmp_path / "1" / "nodes" / "agent-0", model(**section), 0.05)
    assert len({link_outcome.cause for link_outcome in first}) > 5
    schedule = compile_schedule(FaultsSettings.model_validate(section), [], AGENTS)
    replayed = ReplayedLinks(schedule, 1, "agent-0", recorded_changes(tmp_path / "1", "agent-0", 1, LINK_KINDS))
    assert live(tmp_path / "2", replayed, 0.013) == first


def test_a_replay_keeps_what_the_network_itself_is_like(tmp_path: Path) -> None:
    """`network.links` are in no trace: they hold from the first message on, under the events that are repeated."""
    wan = [LinkRule.model_validate({"id": "wan", "delay": {"dist": "uniform", "min": "1ms", "max": "9ms"}})]
    schedule = compile_schedule(FaultsSettings.model_validate(SECTION), wan, AGENTS)
    first = live(tmp_path / "1" / "nodes" / "agent-0", FaultyLinks(schedule, 1, "agent-0"), 0.01)
    assert all(link_outcome.copies[0] >= 0.001 for link_outcome in first if link_outcome.copies) and any(
        link_outcome.cause == "split" for link_outcome in first
    )
    replayed = ReplayedLinks(schedule, 1, "agent-0", recorded_changes(tmp_path / "1", "agent-0", 1, LINK_KINDS))
    assert live(tmp_path / "2", replayed, 0.017) == first


def test_without_a_trace_there_is_no_replay(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"faults\.trace: .*agent-0.*is missing"):
        recorded_changes(tmp_path, "agent-0", 1, LINK_KINDS)


def test_a_trace_without_a_clock_is_the_same_to_the_byte(tmp_path: Path) -> None:
    live(tmp_path / "a", model(**SECTION), 0.01)
    live(tmp_path / "b", model(**SECTION), 0.01)
    content = (tmp_path / "a" / "faults.jsonl").read_bytes()
    assert content == (tmp_path / "b" / "faults.jsonl").read_bytes()
    assert all("t" not in json.loads(line) for line in content.splitlines())


def test_a_trace_counts_what_happened(tmp_path: Path) -> None:
    found = live(tmp_path, model(**SECTION), 0.01)
    lines = read(tmp_path / "faults.jsonl")
    rows = [line["links"]["peer agent-1"] for line in lines if line["what"] == "links"]
    assert [line["period"] for line in lines if line["what"] == "links"] == list(range(11))
    assert sum(row["sent"] for row in rows) == 1000
    assert sum(row["lost"] for row in rows) == sum(not link_outcome.copies for link_outcome in found)
    assert sum(row["delivered"] for row in rows) == sum(len(link_outcome.copies) for link_outcome in found)
    assert sum(row["duplicated"] for row in rows) == sum(len(link_outcome.copies) > 1 for link_outcome in found)
    assert sum(row["corrupted"] for row in rows) == sum(bool(link_outcome.corrupt) and bool(link_outcome.copies) for link_outcome in found)
    assert sum(row["bytes"] for row in rows) == sum(range(101, 1101))
    messages = [line for line in lines if line["what"] == "message"]
    assert [(tuple(line["copies"]), line["cause"]) for line in messages] == [
        (tuple(round(delay, 9) for delay in link_outcome.copies), link_outcome.cause) for link_outcome in found
    ]
    switched = [(line["what"], line["id"], line["seqs"]) for line in lines if line["what"] in ("on", "off")]
    assert switched == [("on", "rough", {}), ("on", "split", {"peer agent-1": 199}), ("off", "split", {"peer agent-1": 499})]


def test_a_restarted_process_knows_what_was(tmp_path: Path) -> None:
    recorder = LinkTraceWriter(tmp_path, "agent-0", clock=lambda: 1000.0)
    links = model(**SECTION)
    recorder.start()
    recorder.changed(links.progress(time=2.5), links.reached)
    with (tmp_path / "faults.jsonl").open("a") as file:
        file.write('{"what": "off", "id": "rou')  # it dies in the middle of a line
    past = read_past(tmp_path, LINK_KINDS)
    assert past.begun["split"].time == 2.5
    assert past.ended == []


DURING_EPISODES = {"id": "split", "at": {"time": "10s"}, "for": {"episodes": 20}, "partition": {"shape": "halves"}}
CONFIGURATION: dict[str, Any] = {
    "clock": "wall",
    "network": {},
    "until": {"time": "600s"},
    "agents": {"count": 4},
    "faults": {"events": [DURING_EPISODES]},
}


class Taking:
    """Stands for a transport: keeps the links that it is given."""

    def inject(self, links: FaultyLinks, recorder: LinkTraceWriter, *_: float | None) -> FaultyLinks:
        self.recorder = recorder
        return links


def life(directory: Path, incarnation: int, configuration: dict[str, Any] = CONFIGURATION) -> tuple[FaultyLinks, LinkTraceWriter]:
    transport: Any = Taking()
    start = NodeStart("r", "agent-0", "agent", incarnation, str(directory), "", "", "")
    links: Any = build.inject(transport, start, configuration)
    return links, transport.recorder


def test_a_process_that_comes_back_into_an_event_ends_it_when_its_length_is_over_and_the_next_life_too(tmp_path: Path) -> None:
    """It receives time first and episodes only later: a length in episodes counts from there, in every further incarnation."""
    second, recorder = life(tmp_path, 2)
    recorder.changed(second.progress(time=50.0), second.reached)
    assert second.active == ["split"]
    (line,) = (line for line in read(tmp_path / "nodes" / "agent-0" / "faults.jsonl") if line["what"] == "on")
    assert line["time"] == 50.0 and "episode" not in line and "until" not in line
    past = read_past(tmp_path / "nodes" / "agent-0", LINK_KINDS)
    assert past.begun == {"split": RunPosition(50.0, -1, -1, -1)}
    recorder.changed(second.progress(time=51.0, step=8000, episode=200), second.reached)
    assert second.active == ["split"]
    past = read_past(tmp_path / "nodes" / "agent-0", LINK_KINDS)
    assert past.begun == {"split": RunPosition(50.0, 8000, 200, -1)} and past.ended == []

    third, _ = life(tmp_path, 3)
    third.progress(time=60.0)
    third.progress(time=61.0, step=9000, episode=219)
    assert third.active == ["split"]
    third.progress(episode=220)
    assert third.active == []


def test_a_first_life_knows_from_where_a_length_counts(tmp_path: Path) -> None:
    first, recorder = life(tmp_path, 1)
    recorder.changed(first.progress(time=10.0), first.reached)
    (line,) = (line for line in read(tmp_path / "nodes" / "agent-0" / "faults.jsonl") if line["what"] == "on")
    assert {name: line[name] for name in ("time", "step", "episode", "round", "until")} == {
        "time": 10.0, "step": 0, "episode": 0, "round": 0, "until": {"unit": "episode", "value": 20.0},
    }  # fmt: skip
    first.progress(episode=20)
    assert first.active == []


def test_links_that_get_their_first_fault_by_hand_do_not_know_yet_how_many_rounds_there_were(tmp_path: Path) -> None:
    transport: Any = Taking()
    start = NodeStart("r", "agent-0", "agent", 1, str(tmp_path), "", "", "")
    links: Any = build.inject_late(transport, start, {**CONFIGURATION, "faults": None}, 50.0)
    event = compile_schedule(FaultsSettings.model_validate({"events": [{**DURING_EPISODES, "for": {"rounds": 20}}]}), [], AGENTS).events[0]
    links.progress(50.0, 8000, 200)
    links.begin(event)
    links.progress(51.0, round=500)
    assert links.active == ["split"]
    links.progress(round=520)
    assert links.active == []
