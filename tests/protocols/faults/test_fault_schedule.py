"""The schedule is a function of its settings and seed; its active faults are those of its triggers."""

from __future__ import annotations

from itertools import combinations, islice, pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.faults.fault_schedule import FaultSchedule, RunMoment, RunPosition, ScheduledEvent, compile_schedule, ends_of
from protocols.faults.fault_timeline import FaultChange, FaultTimeline
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.settings import FaultEvent, FaultsSettings, LinkRule

AGENTS = [f"agent-{i}" for i in range(6)]
UNITS = {"time": "time", "step": "steps", "episode": "episodes", "round": "rounds"}


def compiled(agents: list[str] | None = None, ends: dict[str, float] | None = None, **section: Any) -> FaultSchedule:
    return compile_schedule(FaultsSettings.model_validate(section), [], agents or AGENTS, ends)


def event(name: str, at: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"id": name, "at": at, **({"partition": {"shape": "halves"}} | rest if not {"process", "link"} & rest.keys() else rest)}


def names(changes: list[FaultChange]) -> list[str]:
    return [f"{change.what} {change.event.id}" for change in changes]


# --- triggers ------------------------------------------------------------------------------------------------------------------------


def test_an_event_begins_and_ends_in_the_unit_it_names() -> None:
    timeline = FaultTimeline(compiled(events=[event("split", {"episode": 20}, **{"for": {"episodes": 5}})]))
    assert timeline.settle() == []
    assert timeline.reach(time=1e6, step=1e6, episode=19) == []
    assert names(timeline.reach(episode=20)) == ["begin split"]
    assert [e.id for e in timeline.active] == ["split"]
    assert timeline.next("episode") == 25
    assert timeline.reach(episode=24) == []
    assert names(timeline.reach(episode=25)) == ["end split"]
    assert timeline.active == []


def test_a_length_in_another_unit_counts_from_where_it_begins() -> None:
    timeline = FaultTimeline(compiled(events=[event("split", {"episode": 20}, **{"for": "30s"})]))
    timeline.reach(time=100.0)
    assert names(timeline.reach(time=101.5, episode=21)) == ["begin split"]
    assert timeline.reach(time=131.4) == []
    assert names(timeline.reach(time=131.5)) == ["end split"]


def test_a_leap_over_an_event_says_both() -> None:
    timeline = FaultTimeline(compiled(events=[event("a", {"step": 10}, **{"for": {"steps": 5}}), event("b", {"step": 12})]))
    assert names(timeline.reach(step=64)) == ["begin a", "end a", "begin b"]


def test_progress_never_goes_back() -> None:
    timeline = FaultTimeline(compiled(events=[event("a", {"step": 10}, **{"for": {"steps": 5}})]))
    timeline.reach(step=12)
    assert timeline.reach(step=0) == []
    assert timeline.reached.step == 12


def test_all_is_healed_before_the_end_and_the_network_stays_as_it_is() -> None:
    network = [LinkRule.model_validate({"id": "wan", "delay": "10ms"})]
    section = {"links": [{"id": "loss", "loss": 0.1}], "events": [event("a", {"step": 10}), event("late", {"step": 95})]}
    timeline = FaultTimeline(
        compile_schedule(FaultsSettings.model_validate(section), network, AGENTS, ends_of({"steps": 100, "time": None}))
    )
    assert names(timeline.settle()) == ["begin wan", "begin loss"]
    assert names(timeline.reach(step=10)) == ["begin a"]
    assert names(timeline.reach(step=90)) == ["end loss", "end a"]
    assert timeline.reach(step=99) == []
    assert [e.id for e in timeline.active] == ["wan"]


def test_a_restarted_process_ends_what_began_before_it() -> None:
    schedule = compiled(events=[event("split", {"episode": 20}, **{"for": "30s"}), event("gone", {"episode": 1})])
    timeline = FaultTimeline(schedule, begun={"split": RunPosition(time=100.0, episode=20)}, ended=["gone"])
    assert names(timeline.reach(time=120.0, episode=30)) == ["begin split"]
    assert names(timeline.reach(time=130.0)) == ["end split"]


def test_a_late_process_counts_a_length_from_where_it_first_hears_of_its_unit() -> None:
    timeline = FaultTimeline(compiled(events=[event("split", {"time": "10s"}, **{"for": {"episodes": 20}})]), late=True)
    assert names(timeline.reach(time=50.0)) == ["begin split"]
    assert timeline.next("episode") == inf
    assert [(c.what, c.until) for c in timeline.reach(time=51.0, step=900, episode=200)] == [("until", RunMoment("episode", 220.0))]
    assert timeline.reach(episode=219) == []
    assert names(timeline.reach(episode=220)) == ["end split"]


def test_a_late_process_may_hear_that_the_run_is_at_its_beginning() -> None:
    timeline = FaultTimeline(compiled(events=[event("split", {"time": "10s"}, **{"for": {"episodes": 20}})]), late=True)
    timeline.reach(time=10.0)
    assert names(timeline.reach(episode=0)) == ["until split"]
    assert names(timeline.reach(episode=20)) == ["end split"]


def test_what_a_former_life_did_not_know_either_is_found_by_the_next_that_hears_of_it() -> None:
    schedule = compiled(events=[event("split", {"time": "10s"}, **{"for": {"episodes": 20}})])
    knew = FaultTimeline(schedule, begun={"split": RunPosition(time=50.0, episode=190)}, late=True)
    assert [c.until for c in knew.reach(time=60.0)] == [RunMoment("episode", 210.0)]
    knew_not = FaultTimeline(schedule, begun={"split": RunPosition(time=50.0, episode=-1)}, late=True)
    assert [c.until for c in knew_not.reach(time=60.0)] == [None]
    assert [c.until for c in knew_not.reach(episode=200)] == [RunMoment("episode", 220.0)]


def test_in_the_unit_of_the_beginning_a_late_process_has_nothing_to_wait_for() -> None:
    timeline = FaultTimeline(compiled(events=[event("split", {"time": "10s"}, **{"for": "30s"}), event("all", {"episode": 0})]), late=True)
    assert names(timeline.settle()) == ["begin all"], "what holds from the start on holds before anything is received"
    assert [c.until for c in timeline.reach(time=20.0)] == [RunMoment("time", 40.0)]
    assert names(timeline.reach(time=40.0, episode=7)) == ["end split"]


def test_a_random_moment_is_drawn_from_the_seed() -> None:
    at = {"random": {"dist": "uniform", "min": "20s", "max": "60s"}}
    starts = {compiled(seed=seed, events=[event("a", at)]).events[0].start.value for seed in range(20)}
    assert len(starts) == 20
    assert all(20 <= start <= 60 for start in starts)
    assert compiled(seed=3, events=[event("a", at)]) == compiled(seed=3, events=[event("a", at)])


@pytest.mark.parametrize("unit", UNITS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whether_looked_at_often_or_seldom_the_same_is_active(unit: str, data: st.DataObject) -> None:
    """Within one unit what is active is a pure function of the place: start <= place < start + length."""
    spans = data.draw(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), min_size=1, max_size=6))
    section = [
        event(f"e{i}", {unit: f"{start}s" if unit == "time" else start}, **{"for": {UNITS[unit]: f"{n}s" if unit == "time" else n}})
        for i, (start, n) in enumerate(spans)
    ]
    timeline = FaultTimeline(compiled(events=section))
    begun = {change.event.id for change in timeline.settle()}
    for place in sorted(data.draw(st.lists(st.integers(0, 160), min_size=1, max_size=20))):
        due = timeline.next(unit)
        changes = timeline.reach(**{unit: float(place)})
        assert bool(changes) == (place >= due)
        for change in changes:
            assert (change.event.id in begun) == (change.what == "end")
            begun.add(change.event.id)
        expected = {f"e{i}" for i, (start, n) in enumerate(spans) if start <= place < start + n}
        assert {e.id for e in timeline.active} == expected


# --- targets and partitions ----------------------------------------------------------------------------------------------------------


def test_targets_are_names() -> None:
    def target(pattern: str, seed: int = 0) -> tuple[str, ...]:
        process = {"target": pattern, "action": "kill"}
        return compiled(seed=seed, events=[{"id": "x", "at": {"step": 1}, "process": process}]).events[0].targets

    assert target("agent-3") == ("agent-3",)
    assert target("agent-[12]") == ("agent-1", "agent-2")
    assert target("env-0") == ("env-0",)
    assert {target("auto", seed)[0] for seed in range(60)} == set(AGENTS)


def test_a_timeline_may_follow_some_kinds() -> None:
    section = [
        {"id": "k", "at": {"step": 1}, "process": {"target": "agent-1", "action": "kill"}},
        {"id": "p", "at": {"step": 1}, "process": {"target": "agent-2", "action": "pause"}},
        event("split", {"step": 1}),
    ]
    schedule = compiled(events=section, random={"weights": {"partition": 1, "kill": 0, "pause": 0, "slow": 0, "link": 0}})
    timeline = FaultTimeline(schedule, kinds=("process",))
    assert names(timeline.reach(step=5, time=500.0)) == ["begin k", "begin p"]


def cut_pairs(partition: dict[str, Any], agents: list[str], seed: int = 0) -> set[tuple[str, str]]:
    found = compiled(agents, seed=seed, events=[{"id": "x", "at": {"step": 0}, "partition": partition}]).events[0].cut
    assert found is not None
    return {(a, b) for a in agents for b in agents if found.severs(a, b, "peer")}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("seed", range(5))
def test_shapes(count: int, seed: int) -> None:
    agents = [f"agent-{i}" for i in range(count)]

    def sides(shape: str, **more: Any) -> list[set[str]]:
        pairs = cut_pairs({"shape": shape, **more}, agents, seed)
        assert pairs == {(b, a) for a, b in pairs}
        first = {b for b in agents if (agents[0], b) not in pairs}
        second = set(agents) - first
        assert pairs == {(a, b) for a in agents for b in agents if (a in first) != (b in first)}
        return sorted((first, second), key=len)

    assert len(sides("isolate_one")[0]) == 1
    assert sides("isolate_one", target="agent-1")[0] == {"agent-1"} or count == 2
    assert len(sides("halves")[0]) == count // 2
    assert len(sides("majority_minority")[0]) == max(1, (count - 1) // 2)
    assert "agent-1" in sides("majority_minority", target="agent-1")[0] or count == 2
    assert len(sides("random")[0]) >= 1


@pytest.mark.parametrize("count", range(4, 12))
def test_in_an_overlapping_ring_each_hears_a_majority_and_no_two_the_same(count: int) -> None:
    agents = [f"agent-{i}" for i in range(count)]
    pairs = cut_pairs({"shape": "overlapping_ring"}, agents)
    heard = {a: frozenset(b for b in agents if (b, a) not in pairs) for a in agents}
    assert all(len(group) > count / 2 for group in heard.values())
    assert len(set(heard.values())) == count
    assert pairs == {(b, a) for a, b in pairs}


def test_groups_and_directions() -> None:
    groups = [["agent-0", "agent-1"], "agent-[23]"]
    across = {(a, b) for a in ("agent-0", "agent-1") for b in ("agent-2", "agent-3")}
    assert cut_pairs({"groups": groups}, AGENTS) == across | {(b, a) for a, b in across}
    assert cut_pairs({"groups": groups, "direction": "from_first"}, AGENTS) == across
    assert cut_pairs({"groups": groups, "direction": "to_first"}, AGENTS) == {(b, a) for a, b in across}
    three = cut_pairs({"groups": ["agent-0", "agent-1", "agent-2"]}, AGENTS)
    assert three == {(a, b) for a, b in combinations(AGENTS[:3], 2)} | {(b, a) for a, b in combinations(AGENTS[:3], 2)}


def test_both_ends_of_a_link_agree_on_a_partition() -> None:
    schedule = compiled(seed=5, events=[event("split", {"episode": 0}, partition={"shape": "random"})])
    models = {name: FaultyLinks(schedule, 5, name) for name in AGENTS}
    for a, b in combinations(AGENTS, 2):
        there = models[a].link_outcome(b, "peer", "average", 1, 10, 0.0)
        back = models[b].link_outcome(a, "peer", "average", 1, 10, 0.0)
        assert bool(there.copies) == bool(back.copies)
        assert there.cause == ("" if there.copies else "split")
    assert models["agent-0"].link_outcome("env-0", "env", "act", 1, 10, 0.0).copies == (0.0,)


# --- the nemesis ---------------------------------------------------------------------------------------------------------------------


def lasting(drawn: ScheduledEvent) -> tuple[float, float]:
    length = drawn.length.value if drawn.length is not None else float(getattr(drawn.node_fault, "restart_after"))  # noqa: B009
    return drawn.start.value, drawn.start.value + length


@given(seed=st.integers(0, 2**63 - 1), at_most=st.integers(1, 3), agents=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_the_nemesis_is_the_same_for_the_same_seed_and_keeps_its_bounds(seed: int, at_most: int, agents: int) -> None:
    crowd = [f"agent-{i}" for i in range(agents)]
    section = {"seed": seed, "random": {"max_concurrent": at_most, "every": {"dist": "exponential", "mean": "4s"}}}
    drawn = list(islice(compiled(crowd, **section).nemesis(), 40))
    assert drawn == list(islice(compiled(crowd, **section).nemesis(), 40))
    spans = [lasting(e) for e in drawn]
    assert all(a[0] <= b[0] for a, b in pairwise(spans))
    assert all(2 <= end - start <= 15 for start, end in spans)
    for start, _ in spans:
        assert sum(a <= start < b for a, b in spans) <= at_most
    assert len({e.id for e in drawn}) == len(drawn)
    for one in drawn:
        assert set(one.targets) <= set(crowd)


def test_the_nemesis_draws_kinds_by_their_weights() -> None:
    drawn = compiled(ends={"time": 200_000}, random={"every": "1s", "duration": "1ms"}).random_events(7000.0)
    assert 6990 <= len(drawn) <= 7000
    kinds = [e.kind if e.node_fault is None else type(e.node_fault).__name__ + getattr(e.node_fault, "action", "") for e in drawn]
    shares = {"partition": 2 / 7, "link": 2 / 7, "ProcessFaultkill": 1 / 7, "ProcessFaultpause": 1 / 7, "Straggler": 1 / 7}
    for kind, share in shares.items():
        assert abs(kinds.count(kind) / len(drawn) - share) < 3 * (share * (1 - share) / len(drawn)) ** 0.5
    deaths = {"partition": 0, "kill": 3, "pause": 0, "slow": 0, "link": 0, "kill_environment": 1}
    drawn = compiled(ends={"time": 200_000}, random={"every": "1s", "duration": "1ms", "weights": deaths}).random_events(4000.0)
    targets = [target for event in drawn for target in event.targets]
    assert abs(targets.count("env-0") / len(drawn) - 1 / 4) < 3 * (3 / 16 / len(drawn)) ** 0.5
    assert set(targets) == {"env-0", *AGENTS}


def test_the_nemesis_stops_when_all_is_healed() -> None:
    schedule = compiled(ends={"time": 100.0}, random={"every": "7s", "duration": "30s"})
    assert [e.start.value for e in schedule.nemesis()] == [7.0, 42.0, 77.0]
    timeline = FaultTimeline(schedule)
    assert len(timeline.reach(time=89.0)) >= 3
    timeline.reach(time=90.0)
    assert timeline.active == []
    assert timeline.reach(time=1000.0) == []


def test_other_agents_and_rules_change_no_draw() -> None:
    one = {"id": "x", "at": {"random": {"dist": "exponential", "mean": "5s"}}, "partition": {"shape": "random"}}
    alone, among = compiled(events=[one]).events[0], compiled(events=[event("y", {"step": 3}), one], links=[{"id": "l", "loss": 0.5}])
    assert alone in among.events


def test_a_random_event_can_be_written_down_and_read_again() -> None:
    from protocols.faults.fault_draws import drawn_events
    from protocols.faults.settings import Nemesis

    for drawn in islice(drawn_events(Nemesis(), 1, AGENTS), 30):
        assert FaultEvent.model_validate_json(drawn.model_dump_json()) == drawn
