"""The schedule, event by event: what is started when, and what never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.experiments.running.cell_schedule import Capacity, CellSchedule, CellTask

ROOM = Capacity(cores=2, memory=2**34)


def grid(seeds: int, combinations: int, **facts: float) -> list[CellTask]:
    """In the order of the file: by combination, then by seed."""
    return [
        CellTask(f"{number}/{seed}", (seed, number * seeds + seed), **facts)  # type: ignore[arg-type]
        for number in range(combinations)
        for seed in range(seeds)
    ]


def played(schedule: CellSchedule, fails: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    order = []
    while (task := schedule.next()) is not None:
        order.append(task.identity)
        if task.identity in fails:
            schedule.failure(task.identity)
        else:
            schedule.finished(task.identity)
    return order


def test_seeds_come_first_across_the_grid() -> None:
    assert played(CellSchedule(grid(2, 3), ROOM)) == ["0/0", "1/0", "2/0", "0/1", "1/1", "2/1"]


def test_one_that_failed_comes_again_after_the_others_and_no_more_often_than_allowed() -> None:
    schedule = CellSchedule(grid(1, 3), ROOM, retries=2)
    assert played(schedule, {"0/0"}) == ["0/0", "1/0", "2/0", "0/0", "0/0"]
    assert schedule.failed == {"0/0"} and schedule.over


def test_failures_of_former_calls_count() -> None:
    task = CellTask("a", (0, 0), failures=1)
    schedule = CellSchedule([task], ROOM, retries=1)
    assert played(schedule, {"a"}) == ["a"]


def test_it_gives_up_when_too_many_have_failed() -> None:
    schedule = CellSchedule(grid(1, 9), ROOM, retries=0, stop_after_failures=3)
    assert len(played(schedule, {f"{n}/0" for n in range(9)})) == 3
    assert schedule.gave_up and schedule.over and schedule.waiting == 6


def test_cores_memory_and_jobs() -> None:
    def side_by_side(capacity: Capacity, **facts: float) -> int:
        return CellSchedule(grid(1, 20, **facts), capacity).side_by_side()

    assert side_by_side(Capacity(2, 2**40), cores=2.0, nodes=5) == 1
    assert side_by_side(Capacity(2, 2**40), cores=0.8, nodes=2) == 1  # several processes: never beside another on two cores
    assert side_by_side(Capacity(2, 2**40), cores=1.0, nodes=1) == 2
    assert side_by_side(Capacity(16, 2**40), cores=2.0, nodes=5) == 8
    assert side_by_side(Capacity(1, 2**40), cores=9.0, nodes=5) == 1  # one always runs
    assert side_by_side(Capacity(1, 2**40, jobs=4), cores=9.0, nodes=5) == 4
    assert side_by_side(Capacity(64, 2**32, jobs=40), cores=1.0, memory=2**30) == 4


def test_measured_memory_takes_the_place_of_what_was_configured() -> None:
    schedule = CellSchedule(grid(1, 9, memory=2**30), Capacity(64, 2**32), measured_memory=2**28)
    assert schedule.side_by_side() == 9


def test_what_is_held_is_not_started_again() -> None:
    schedule = CellSchedule(grid(1, 2), ROOM)
    first = schedule.next()
    assert first is not None
    schedule.hold(first.identity)
    assert played(schedule) == ["1/0"]
    assert schedule.held == {"0/0"} and schedule.over


@given(st.data())
def test_whatever_happens_nothing_is_started_twice_at_once_or_after_it_is_done(data: st.DataObject) -> None:
    capacity = Capacity(data.draw(st.integers(1, 8)), 2**34, data.draw(st.none() | st.integers(1, 4)))
    retries = data.draw(st.integers(0, 2))
    schedule = CellSchedule(grid(2, 4, cores=data.draw(st.sampled_from([0.5, 1.0, 3.0])), nodes=2), capacity, retries, 3)
    begun: dict[str, int] = {}
    running: set[str] = set()
    for _ in range(200):
        if schedule.over:
            break
        task = schedule.next()
        if task is not None:
            assert task.identity not in running | schedule.done | schedule.failed | schedule.held
            running.add(task.identity)
            begun[task.identity] = begun.get(task.identity, 0) + 1
            assert capacity.jobs is None or len(running) <= capacity.jobs
        elif running:
            identity = data.draw(st.sampled_from(sorted(running)))
            running.remove(identity)
            getattr(schedule, data.draw(st.sampled_from(["finished", "failure", "hold"])))(identity)
    assert schedule.over
    assert all(count <= retries + 1 for count in begun.values())
    assert len(schedule.done | schedule.failed | schedule.held) + schedule.waiting == 8
