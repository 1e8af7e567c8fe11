"""The schedule in a simulation: which link events the next incarnation has, which nodes die, and which return when."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.faults.fault_schedule import FaultSchedule, compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_trace import RecordedPast
from protocols.faults.settings import FaultsSettings
from protocols.simulation.simulated_faults import ScheduledLinks, SimulatedDeaths, left_out

AGENTS = ["agent-0", "agent-1"]
FIRST = 0.5
"""seconds until a restart without another time"""


def compiled(event: dict[str, Any], rounds: float | None = None) -> FaultSchedule:
    section = FaultsSettings.model_validate({"events": [{"id": "it", **event}]})
    return compile_schedule(section, [], AGENTS, {} if rounds is None else {"round": rounds})


# --- links of several incarnations ------------------------------------------------------------------------------------------------------


class Lives:
    """A node, and how far it and the run are."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.schedule = compiled(event, rounds=1000.0)
        self.past = RecordedPast()
        self.round: int | None = None
        self.episode = 0
        self.healed = False
        self.count = 0
        self.begin()

    def begin(self) -> None:
        self.count += 1
        links = FaultyLinks(self.schedule, 0, "agent-0", self.count, self.past.begun, self.past.ended, late=self.count > 1)
        self.links = ScheduledLinks(links, lambda: self.round, lambda: self.episode, lambda: self.healed, set(), self.past)

    def arrives(self, now: float) -> bool:
        return bool(self.links.link_outcome("agent-1", "peer", "average", 1, 10, now).copies)


CUT = {"partition": {"groups": AGENTS}}


def test_what_is_over_does_not_begin_again_in_the_next_life() -> None:
    lives = Lives({"at": {"time": "1s"}, "for": {"episodes": 5}, **CUT})
    assert not lives.arrives(1.0)
    lives.episode = 5
    assert lives.arrives(2.0)
    lives.begin()
    assert lives.arrives(3.0)


def test_what_goes_on_ends_where_it_would_have_ended_in_the_former_life() -> None:
    lives = Lives({"at": {"time": "1s"}, "for": {"episodes": 5}, **CUT})
    assert not lives.arrives(1.0)
    lives.episode = 3
    lives.begin()
    assert not lives.arrives(3.0)
    lives.episode = 5
    assert lives.arrives(4.0)


def test_a_life_that_does_not_know_its_round_yet_counts_a_length_in_rounds_from_the_first_that_it_knows() -> None:
    lives = Lives({"at": {"time": "1s"}, "for": {"rounds": 5}, **CUT})
    lives.begin()
    assert not lives.arrives(2.0)
    lives.round = 40
    assert not lives.arrives(3.0)
    lives.round = 45
    assert lives.arrives(4.0)


def test_all_is_healed_though_a_life_counts_its_rounds_anew() -> None:
    lives = Lives({"at": {"time": "1s"}, **CUT})
    lives.begin()
    lives.round = 3
    assert not lives.arrives(1.0)
    lives.healed = True
    assert lives.arrives(2.0)


# --- deaths and returns -----------------------------------------------------------------------------------------------------------------


def leaving(return_after: Any, who: str = "agent-0") -> dict[str, Any]:
    return {"at": {"time": "1s"}, "membership": {"leave": who, "return_after": return_after}}


def ending(action: str, **more: Any) -> dict[str, Any]:
    return {"at": {"time": "1s"}, "process": {"target": "agent-0", "action": action, **more}}


class Crowd:
    """The live agents, as text."""

    def __init__(self, event: dict[str, Any], rounds: float | None = None) -> None:
        self.schedule = compiled(event, rounds)
        self.said: list[str] = []
        self.deaths = SimulatedDeaths(
            self.schedule,
            AGENTS,
            lambda name: self.said.append(f"{name} dies"),
            lambda name: self.said.append(f"{name} is back"),
            FIRST,
            set(),
        )

    def reach(self, time: float, episode: int = 0, round: float = 0.0) -> list[str]:
        self.said.clear()
        self.deaths.reach(time, episode, round)
        return self.said


@pytest.mark.parametrize(
    ("length", "before", "then"), [("3s", (3.9, 9, 9.0), (4.0, 9, 9.0)), ({"episodes": 5}, (9.0, 6, 9.0), (9.0, 7, 9.0))]
)
def test_who_leaves_is_back_after_a_length_in_any_unit(length: Any, before: tuple[Any, ...], then: tuple[Any, ...]) -> None:
    crowd = Crowd(leaving(length))
    assert crowd.reach(1.0, 2) == ["agent-0 dies"]
    assert crowd.reach(*before) == []
    assert crowd.reach(*then) == ["agent-0 is back"]
    assert crowd.reach(100.0, 100, 100.0) == []


def test_who_waits_for_rounds_waits_for_those_of_the_population() -> None:
    crowd = Crowd(leaving({"rounds": 5}))
    crowd.reach(1.0, 2, 2.5)
    assert crowd.reach(2.0, 9, 7.25) == []
    assert crowd.reach(2.0, 9, 7.5) == ["agent-0 is back"]


def test_who_waits_for_steps_is_back_where_all_is_healed_and_named() -> None:
    crowd = Crowd(leaving({"steps": 5}), rounds=100.0)
    crowd.reach(1.0)
    assert crowd.reach(9.0, 9, 89.0) == []
    assert crowd.reach(9.0, 9, 90.0) == ["agent-0 is back"]
    assert left_out(crowd.schedule.events, {"it"}, crowd.deaths.away) == ["not ended, since a simulation makes no steps: it"]


def test_the_end_of_a_server_of_environments_is_named_for_there_is_none() -> None:
    killed = {"at": {"time": "1s"}, "process": {"target": "env-0", "action": "kill"}}
    crowd = Crowd(killed)
    assert crowd.reach(1.0) == []
    (note,) = left_out(crowd.schedule.events, {"it"}, crowd.deaths.away)
    assert note.startswith("not simulated") and note.endswith(": it")
    both = {"at": {"time": "1s"}, "process": {"target": "*", "action": "kill"}}
    assert left_out(Crowd(both).schedule.events, {"it"}, {}) == []


def test_who_was_still_away_for_episodes_is_named() -> None:
    crowd = Crowd(leaving({"episodes": 500}))
    crowd.reach(1.0)
    assert left_out(crowd.schedule.events, {"it"}, crowd.deaths.away) == ["no return, since the simulation ended before: it"]
    crowd.reach(1.0, 500)
    assert left_out(crowd.schedule.events, {"it"}, crowd.deaths.away) == []


@pytest.mark.parametrize(("length", "over"), [("3s", False), ({"episodes": 5}, True), ({"steps": 5}, True), ({"rounds": 5}, True)])
def test_it_is_over_when_nobody_lives_who_could_bring_the_others_back(length: Any, over: bool) -> None:
    crowd = Crowd(leaving(length, "agent-*"))
    assert not crowd.deaths.over
    crowd.reach(1.0)
    assert crowd.deaths.over == over
    assert (crowd.deaths.next == 4.0) == (not over)


def test_as_long_as_somebody_lives_it_is_not_over() -> None:
    crowd = Crowd(leaving(None))
    crowd.reach(1.0)
    assert not crowd.deaths.over


@pytest.mark.parametrize("event", [ending("kill"), ending("oom"), ending("exit"), ending("exit", code=1), ending("exit", code=9)])
def test_a_crash_is_followed_by_a_restart(event: dict[str, Any]) -> None:
    crowd = Crowd(event)
    assert crowd.reach(1.0) == ["agent-0 dies"]
    assert crowd.reach(1.0 + FIRST) == ["agent-0 is back"]


@pytest.mark.parametrize("event", [ending("term"), *(ending("exit", code=code) for code in (0, 2, 3, 4, 5, 6, 7))])
def test_who_leaves_in_order_or_can_not_be_helped_stays_away_as_under_the_wall_clock(event: dict[str, Any]) -> None:
    crowd = Crowd(event)
    assert crowd.reach(1.0) == ["agent-0 dies"]
    assert crowd.reach(1e6, 10**6, 1e6) == []


@pytest.mark.parametrize("event", [ending("term", restart_after="2s"), ending("exit", code=2, restart_after="2s")])
def test_who_is_told_to_come_back_does(event: dict[str, Any]) -> None:
    crowd = Crowd(event)
    crowd.reach(1.0)
    assert crowd.reach(2.9) == []
    assert crowd.reach(3.0) == ["agent-0 is back"]
