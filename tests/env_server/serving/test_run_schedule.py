"""Under the logical clock the environment server decides by ticks: who takes part, when training ends, when there is a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from env_server.serving.run_schedule import RunSchedule
from protocols.runtime.settings_types import parse_duration

AGENTS = ["agent-0", "agent-1", "agent-2"]


def run_schedule(events: list[dict[str, Any]] | None = None, heal: float = 0.0, **until: Any) -> RunSchedule:
    configuration = {
        "tick": "10ms",
        "until": until or {"steps": 10_000},
        "supervision": {"checkpoint_interval": "500ms", "restart_delay": "200ms"},
        "faults": {"events": events, "heal_before_end": heal} if events else None,
    }
    return RunSchedule(configuration, AGENTS)


def decide(run_schedule: RunSchedule, tick: int, playing: list[str] = AGENTS, busy: bool = False, finished: bool = False) -> Any:
    return run_schedule.decide(tick, 10 * tick, tick // 5, playing, busy, finished)


def test_checkpoints_come_at_their_period_but_not_while_the_server_is_busy() -> None:
    run = run_schedule()
    due = []
    for tick in range(1, 200):
        decide(run, tick, busy=40 <= tick < 60)
        if run.checkpoint_due:
            assert run.phase == "checkpoint"
            due.append(tick)
            run.begin(tick)
    assert due == [60, 110, 160]


def test_training_ends_by_steps_episodes_or_ticks() -> None:
    limits: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"steps": 500}, (50, "500 steps")),
        ({"episodes": 7}, (35, "7 episodes")),
        ({"time": "300ms"}, (30, "30 ticks")),
    ]
    for until, expected in limits:
        run = run_schedule(**until)
        over = next((tick, decision.over) for tick in range(1, 100) if (decision := decide(run, tick)).over)
        assert over == expected
        assert not run.training and run.phase in ("evaluation", "checkpoint")


def test_who_dies_is_away_until_the_schedule_has_it_back_and_no_checkpoint_is_made_meanwhile() -> None:
    kill = {"id": "k", "at": {"step": 450}, "process": {"target": "agent-1", "action": "kill", "restart_after": "100ms"}}
    run = run_schedule([kill])
    playing = list(AGENTS)
    due, incarnations = [], []
    for tick in range(1, 100):
        if tick == 60:
            playing = list(AGENTS)  # it has joined: it plays from the tick after that which waited for it
        decision = decide(run, tick, playing)
        if decision.gone:
            assert tick == 45 and decision.gone == {"agent-1"}
            playing = ["agent-0", "agent-2"]
        incarnations.append(run.incarnations(playing).tolist())
        if run.checkpoint_due:
            due.append(tick)
            run.begin(tick)
    assert (
        incarnations[43] == [1, 1, 1] and incarnations[44] == [1, 0, 1] and incarnations[58] == [1, 0, 1] and incarnations[59] == [1, 2, 1]
    )
    assert run.membership.present == set(AGENTS) and due == [60]


@pytest.mark.parametrize(
    "absence",
    [
        {"process": {"target": "agent-1", "action": "kill", "restart_after": "1h"}},
        {"membership": {"leave": "agent-1", "return_after": {"episodes": 1000}}},
    ],
)
def test_who_is_to_return_later_does_when_all_is_healed(absence: dict[str, Any]) -> None:
    away = {"id": "away", "at": {"step": 450}, **absence}
    gone = {"id": "gone", "at": {"step": 500}, "membership": {"leave": "agent-2"}}
    run, playing, incarnations = run_schedule([away, gone], heal=0.2, steps=1000), list(AGENTS), {}
    for tick in range(1, 130):
        dead = decide(run, tick, playing, busy=tick < 110, finished=tick >= 110).gone
        incarnations[tick] = run.incarnations(playing).tolist()
        playing = [agent for agent in AGENTS if agent in {*playing, *run.membership.present} - dead]
        if run.checkpoint_due:
            break
    assert incarnations[44] == [1, 1, 1] and incarnations[45] == [1, 0, 1] and incarnations[79] == [1, 0, 0]
    assert not run.membership.awaited and run.membership.present == {"agent-0", "agent-1"}
    assert incarnations[80] == [1, 0, 0] and incarnations[81] == [1, 2, 0], "it plays from the tick after that which waits for it"
    assert tick == 110, "the last checkpoint does not wait"


@pytest.mark.parametrize(
    "absence",
    [
        {"membership": {"leave": "agent-2"}},
        {"process": {"target": "agent-2", "action": "term"}},
        {"process": {"target": "agent-2", "action": "exit", "code": 0}},
        {"process": {"target": "agent-2", "action": "exit", "code": 3}},
    ],
)
def test_who_never_returns_holds_nobody_up(absence: dict[str, Any]) -> None:
    run = run_schedule([{"id": "bye", "at": {"step": 100}, **absence}])
    for tick in range(1, 51):
        decide(run, tick, ["agent-0", "agent-1"] if tick >= 10 else AGENTS)
    assert run.checkpoint_due and run.membership.present == {"agent-0", "agent-1"}


@pytest.mark.parametrize("ending", [{"action": "term"}, {"action": "exit", "code": 0}, {"action": "exit", "code": 3}])
def test_who_left_in_order_returns_where_the_fault_says_when(ending: dict[str, Any]) -> None:
    run = run_schedule([{"id": "bye", "at": {"step": 100}, "process": {"target": "agent-2", "restart_after": "100ms", **ending}}])
    for tick in range(1, 21):
        decide(run, tick, ["agent-0", "agent-1"] if tick >= 10 else AGENTS)
        assert ("agent-2" in run.membership.present) == (not 10 <= tick < 20)


def test_a_restored_course_goes_on_as_the_first() -> None:
    kills = [
        {"id": f"k{step}", "at": {"step": step}, "process": {"target": "agent-1", "action": "kill", "restart_after": "30ms"}}
        for step in (120, 300, 700)
    ]
    whole, incarnations = run_schedule(kills), []
    part: RunSchedule | None = None
    for tick in range(1, 120):
        decision = decide(whole, tick)
        incarnations.append((whole.incarnations(AGENTS).tolist(), whole.checkpoint_due, decision.gone))
        if part is not None:
            again = decide(part, tick)
            assert (part.incarnations(AGENTS).tolist(), part.checkpoint_due, again.gone) == incarnations[-1], tick
        if whole.checkpoint_due:
            part = run_schedule(kills)
            part.restore(whole.state(), tick, over=False)
            whole.begin(tick)
            part.begin(tick)
    assert part is not None and whole.membership.incarnations["agent-1"] == 4


def test_what_was_over_stays_at_rest_or_goes_on_by_the_limits_of_now() -> None:
    run = run_schedule(steps=500)
    for tick in range(1, 60):
        decide(run, tick, finished=tick == 59)
    assert run.checkpoint_due
    run.at_rest = True
    checkpoint = {"course": run.state(), "numbers": {"steps": 590, "episodes": 11}}
    for until, words in (
        ({"steps": 500}, "500 steps"),
        ({"steps": 400}, "500 steps"),
        ({"steps": 501}, None),
        ({"time": "500ms"}, "50 ticks"),
    ):
        later = run_schedule(**until)
        over = later.limits.still_over(checkpoint, 59)
        assert over == words
        later.restore(checkpoint["course"], 59, over is not None)
        assert (later.training, later.at_rest) == (words is None, words is not None)
        if words is None:
            assert later.phase == "training" and decide(later, 60).over == "600 steps"


def test_what_was_not_over_goes_on_whatever_the_limits_are() -> None:
    """The next tick ends it in order, with a last evaluation."""
    run = run_schedule(steps=500)
    for tick in range(1, 51):
        decide(run, tick - 1)
    checkpoint = {"course": run.state(), "numbers": {"steps": 490, "episodes": 9}}
    later = run_schedule(steps=100)
    assert later.limits.still_over(checkpoint, 49) is None
    later.restore(checkpoint["course"], 49, over=False)
    assert later.training and not later.at_rest and decide(later, 50).over == "500 steps"


def test_durations_are_whole_ticks() -> None:
    assert run_schedule(time="25ms").decide(2, 0, 0, AGENTS, True, False).over is None
    assert run_schedule(time="25ms").decide(3, 0, 0, AGENTS, True, False).over == "3 ticks"
    assert parse_duration("25ms") == 0.025
