from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.environment_contracts import OfferedEpisode
from env_server.goals.goal_assignment import PATIENCE, GoalOffers
from protocols.runtime.errors import BadMessage

AGENTS = ["agent-0", "agent-1", "agent-2"]


def goal_offers() -> GoalOffers:
    return GoalOffers(AGENTS, np.random.default_rng(0))


def goals(*rows: tuple[int, int, int]) -> dict[str, np.ndarray]:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return {"episode": columns[0], "goal": columns[1].astype(np.int32), "negotiated": columns[2].astype(np.uint8)}


def test_every_member_hears_of_its_episodes_and_nobody_else() -> None:
    offers = goal_offers()
    sent = offers.offer([OfferedEpisode(5, 2, ("agent-2", "agent-0"), True, 4), OfferedEpisode(6, 0, ("agent-0", "agent-1"))], 0.0)
    assert set(sent) == set(AGENTS)
    assert sent["agent-0"]["episode"].tolist() == [5, 6] and sent["agent-0"]["members"].tolist() == [[2, 0], [0, 1]]
    assert sent["agent-2"]["episode"].tolist() == [5] and sent["agent-2"]["goal"].tolist() == [4]
    assert sent["agent-1"]["copy"].tolist() == [0] and sent["agent-1"]["evaluation"].tolist() == [0]


def test_offers_are_repeated_until_answered() -> None:
    offers = goal_offers()
    offers.offer([OfferedEpisode(5, 0, ("agent-0", "agent-1"))], 0.0)
    assert offers.again(PATIENCE) == {}, "members may be negotiating"
    assert set(offers.again(PATIENCE + 1)) == {"agent-0", "agent-1"}
    assert offers.again(PATIENCE + 1) == {}, "not twice at once"
    assert offers.answered("agent-0", goals((5, 3, 1), (99, 0, 0))) == [(5, 3, True)]
    assert offers.answered("agent-0", goals((5, 1, 1))) == [], "the first value counts"
    assert set(offers.again(PATIENCE + 9)) == {"agent-1"}
    offers.forget("agent-1")
    assert offers.again(PATIENCE + 99) == {}


def test_who_keeps_a_copy_idle_for_too_long_is_not_asked_again() -> None:
    offers = goal_offers()
    offers.offer([OfferedEpisode(5, 0, ("agent-0", "agent-1"))], 0.0)
    waiting = [(5, "agent-1")]
    assert offers.overdue(waiting, 3.0, 10.0) == [] and offers.overdue(waiting, 3.0, 12.9) == []
    assert offers.overdue([], 3.0, 12.95) == [], "it came in between"
    assert offers.overdue(waiting, 3.0, 13.1) == [], "and waits anew"
    assert offers.overdue(waiting, 3.0, 16.2) == waiting
    assert set(offers.again(99.0)) == {"agent-0"}


@pytest.mark.parametrize(
    "change",
    [{"goal": None}, {"goal": np.zeros(2, np.int32)}, {"goal": np.zeros((1, 1), np.int32)}, {"episode": np.zeros(1, np.float64)}],
)
def test_malformed_answers_are_bad_messages(change: dict[str, np.ndarray | None]) -> None:
    offers = goal_offers()
    offers.offer([OfferedEpisode(0, 0, ("agent-0", "agent-1"))], 0.0)
    arrays = {name: array for name, array in (goals((0, 1, 0)) | change).items() if array is not None}  # type: ignore[operator]
    with pytest.raises(BadMessage):
        offers.answered("agent-0", arrays)
    assert offers.answered("stranger", goals((0, 1, 0))) == []
    assert offers.answered("agent-0", goals((0, 1, 0))) == [(0, 1, False)]
