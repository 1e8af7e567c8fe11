"""The coordination game without an environment: conventions grow from reward alone (dec_imsap, sections 2.6 and 5.1)."""

import numpy as np
import pytest

from agent_node.contracts import arrays, tensors
from agent_node.exchange.goal_negotiation import CoordinationGame
from agent_node.exchange.settings import CoordinationGameSettings
from agent_node.goals.goal_sources import UniformGoals
from agent_node.goals.settings import UniformGoalSettings
from protocols.conversations.signalling_convention import accuracy, leading_choices, reading_choices
from protocols.spaces.feature_sets import FeatureSets


def play(
    space: FeatureSets, seed: int, batches: int, size: int, update: str = "inhibition", deaf: bool = False, skill: float = 1.0
) -> tuple[float, float, CoordinationGame]:
    """Perfect skills (or success with probability `skill`): individual goals always pay, cooperative ones when both hold them.
    Returns alignment and return of the last batch, the latter as a share of what its leaders' goals can pay both."""
    random = np.random.default_rng(seed)
    settings = CoordinationGameSettings(update=update, batch=size)  # type: ignore[arg-type]
    agents = [CoordinationGame(settings, space.count, seed) for _ in range(2)]
    for _ in range(batches):
        aligned: list[bool] = []
        earned = possible = 0.0
        for _ in range(size):
            leader, follower = agents if random.random() < 0.5 else agents[::-1]
            goal = int(random.integers(space.count))
            message = leader.lead(goal, random)
            heard = int(random.integers(settings.messages)) if deaf else message
            taken = follower.follow(heard, random)
            luck = random.random() < skill
            rewards = [float(space.rewards[g]) * luck if not space.cooperative[g] or goal == taken else 0.0 for g in (goal, taken)]
            leader.update([(goal, message, rewards[0])])
            follower.update([(taken, heard, rewards[1])])
            earned += sum(rewards)
            possible += 2 * float(space.rewards[goal])
            if space.cooperative[[goal, taken]].any():
                aligned.append(goal == taken)
    return float(np.mean(aligned)), earned / possible, agents[0]


@pytest.mark.parametrize("seed", range(5))
def test_inhibition_aligns_in_every_seed(seed: int) -> None:
    alignment, returned, game = play(FeatureSets(3), seed, 60, 240)
    assert alignment >= 0.95
    assert returned >= 0.98
    assert game.metrics()["negotiation.self_consistency"] == 1.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("landmarks", "size", "least"), [(3, 240, 0.85), (6, 120, 0.80)])
def test_forgetting_aligns_in_every_seed(landmarks: int, size: int, least: float, seed: int) -> None:
    assert play(FeatureSets(landmarks), seed, 60, size, "forgetting")[0] >= least


def test_inhibition_aligns_with_six_landmarks() -> None:
    played = [play(FeatureSets(6), seed, 100, 120) for seed in range(5)]
    assert min(alignment for alignment, _, _ in played) >= 0.95 and min(returned for _, returned, _ in played) >= 0.98


def test_without_forgetting_or_inhibition_synonyms_stay() -> None:
    assert np.mean([play(FeatureSets(6), seed, 100, 120, "visited_cell")[0] for seed in range(5)]) < 0.6


def test_forgetting_by_hand() -> None:
    settings = CoordinationGameSettings(messages=2, step_size=0.5, update="forgetting", batch=3, epochs=2, parts=1)
    game = CoordinationGame(settings, 2)
    game.table[:] = [[0.0, 0.8], [0.0, 0.0]]
    game.update([(0, 0, 1.0), (0, 0, 0.0)])
    assert game.table[0, 1] == 0.8, "nothing is learnt before the batch is full"
    other = CoordinationGame(settings, 2)
    other.load_state_dict(game.state_dict())
    for one in (game, other):
        one.update([(1, 1, 1.0), (0, 1, 1.0)])
        np.testing.assert_allclose(one.table, [[0.375, 0.2], [0.0, 0.75]])
        assert one.state_dict()["batch"].tolist() == [[0.0, 1.0, 1.0]] and one.state_dict()["batches"].tolist() == [1.0]


def test_inhibition_aligns_with_unreliable_skills() -> None:
    assert play(FeatureSets(3), 0, 80, 240, skill=0.5)[0] >= 0.9


def test_without_the_message_there_is_no_alignment() -> None:
    alignment, returned, _ = play(FeatureSets(3), 0, 60, 240, deaf=True)
    assert alignment < 0.2
    assert returned < 0.6


def test_rules_by_hand() -> None:
    game = CoordinationGame(CoordinationGameSettings(messages=3, step_size=0.5), 2)
    game.table[:] = [[0.4, 0.8, 0.2], [0.6, 0.0, 1.0]]
    game.update([(0, 0, 1.0)])
    np.testing.assert_allclose(game.table, [[0.7, 0.4, 0.1], [0.3, 0.0, 1.0]])
    game.update([(0, 0, 0.0)])
    np.testing.assert_allclose(game.table, [[0.35, 0.4, 0.1], [0.3, 0.0, 1.0]], err_msg="failure moves only its cell")
    plain = CoordinationGame(CoordinationGameSettings(messages=3, step_size=0.5, update="visited_cell"), 2)
    plain.table[:] = [[0.4, 0.8, 0.2], [0.6, 0.0, 1.0]]
    plain.update([(0, 0, 1.0)])
    np.testing.assert_allclose(plain.table, [[0.7, 0.8, 0.2], [0.6, 0.0, 1.0]])


def test_choices_follow_the_softmax() -> None:
    game = CoordinationGame(CoordinationGameSettings(messages=2, inverse_temperature=2.0), 3)
    game.table[:] = [[0.0, 0.5], [1.0, 0.0], [0.0, 0.0]]
    random = np.random.default_rng(0)
    sent = np.bincount([game.lead(0, random) for _ in range(5000)], minlength=2) / 5000
    np.testing.assert_allclose(sent, np.exp([0, 1]) / np.exp([0, 1]).sum(), atol=0.03)
    taken = np.bincount([game.follow(0, random) for _ in range(5000)], minlength=3) / 5000
    np.testing.assert_allclose(taken, np.exp([0, 2, 0]) / np.exp([0, 2, 0]).sum(), atol=0.03)
    assert {game.follow(0, random, greedy=True) for _ in range(20)} == {1}
    assert {game.lead(2, random, greedy=True) for _ in range(50)} == {0, 1}, "ties are broken at random"
    with pytest.raises(ValueError, match=r"negotiation\.messages"):
        game.follow(2, random)


def test_accuracy_of_a_pair_and_state() -> None:
    leader, follower = np.eye(3), np.eye(3)[[0, 2, 1]]
    assert accuracy(leading_choices(leader), reading_choices(leader)) == 1.0
    assert accuracy(leading_choices(leader), reading_choices(follower)) == pytest.approx(1 / 3)
    game, other = (CoordinationGame(CoordinationGameSettings(messages=3), 3) for _ in range(2))
    game.table[:] = leader
    other.load_state_dict(game.state_dict())
    np.testing.assert_array_equal(other.table, leader)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"table": None}, "the checkpoint has no table"),
        ({"batch": None}, "the checkpoint has no batch"),
        ({"batches": None}, "the checkpoint has no batches"),
        ({"table": np.zeros((2, 3))}, r"table has shape \[2, 3\] in the checkpoint and \[3, 3\] here"),
        ({"batch": np.zeros((4, 2))}, r"batch has shape \[4, 2\] in the checkpoint and \[n, 3\] here"),
        ({"batches": np.zeros(0)}, r"batches has shape \[0\] in the checkpoint and \[1\] here"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name_and_changes_nothing(changes: dict[str, np.ndarray | None], says: str) -> None:
    game = CoordinationGame(CoordinationGameSettings(messages=3), 3)
    game.update([(0, 1, 1.0)])
    before = game.table.copy()
    state = {name: array for name, array in {**arrays(game.state_dict()), **changes}.items() if array is not None}
    with pytest.raises(ValueError, match=says):
        game.load_state_dict(tensors(state))
    np.testing.assert_array_equal(game.table, before)


def test_uniform_goals() -> None:
    goals = UniformGoals(UniformGoalSettings(), 4)
    random = np.random.default_rng(0)
    counts = np.bincount([goals.propose(random) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, goals.probabilities(), atol=0.03)
