"""Ranked episodes: scores against values computed by hand, what is kept, and that a policy repeats it."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.intrinsic.ranked_episodes import RankedEpisodes
from agent_node.intrinsic.settings import RankedEpisodesSettings
from agent_node.learners.ppo import PPO
from agent_node.learners.settings import PPOSettings
from agent_node.memory.episode import Episode
from agent_node.session.observation_features import Features
from tests.agent_node.grid_worlds import grid, layout, observation, policy_spec

A, B, C = (observation(grid(place)) for place in ((1, 1), (2, 1), (3, 2)))
FEATURES = Features(layout(), 1)


def ranked(**changes: Any) -> RankedEpisodes:
    return RankedEpisodes(RankedEpisodesSettings(**changes), FEATURES, 0)


def episode(*path: NDArray[np.uint8], total: float = 0.0, action: int = 0, **changes: Any) -> Episode:
    """An episode along a path of observations; the last one is what its last step led to."""
    steps = len(path) - 1
    reward = np.zeros(steps, np.float32)
    reward[-1] = total
    return Episode(0, np.stack(path), np.full((steps, 1), action, np.int32), reward, True, **changes)


def learner() -> PPO:
    return PPO(PPOSettings(network="mlp", hidden=[32], learning_rate=1e-2), policy_spec(), 1, 0)


def test_scores_are_those_computed_by_hand() -> None:
    """First episode: states A, B, A; second: C, B, both with return 0.5. N: A 2, B 2, C 1."""
    imitation = ranked(return_weight=2.0, local_weight=0.1, global_weight=0.01)
    imitation.episode_ended(episode(A, B, A, C, total=0.5))
    alone = 2 * 0.5 + 0.1 * 2 / 3 + 0.01 * (2 * 2**-0.5 + 1) / 3
    assert imitation.metrics() == pytest.approx(
        {"ranked.pairs": 3, "ranked.score": alone, "ranked.return": 0.5, "ranked.episodes": 1, "ranked.states": 2}
    )
    imitation.episode_ended(episode(C, B, A, total=0.5))
    first = 2 * 0.5 + 0.1 * 2 / 3 + 0.01 * 2**-0.5
    second = 2 * 0.5 + 0.1 + 0.01 * (1 + 2**-0.5) / 2
    found = imitation.metrics()
    assert found["ranked.score"] == pytest.approx((3 * first + 2 * second) / 5), "the visits of the second changed the first"
    assert (found["ranked.pairs"], found["ranked.episodes"], found["ranked.states"]) == (5, 2, 3)


def test_the_pairs_of_the_highest_scores_are_kept() -> None:
    imitation = ranked(pairs=4, local_weight=0, global_weight=0)
    for total in (0.5, 0.9, 0.1):
        imitation.episode_ended(episode(A, B, C, A, total=total))
    found = imitation.metrics()
    assert found["ranked.pairs"] == 4 and found["ranked.episodes"] == 2
    assert found["ranked.return"] == pytest.approx((3 * 0.9 + 0.5) / 4)


def test_evaluations_and_steps_of_a_stand_in_are_left_out() -> None:
    imitation = ranked()
    imitation.episode_ended(episode(A, B, C, total=1.0, evaluation=True))
    imitation.episode_ended(episode(A, B, C, total=1.0, peer_lost=True))
    imitation.episode_ended(episode(A, B, C, total=1.0, substituted=np.array([False, True])))
    assert imitation.metrics() == {} and imitation.learn(learner()) == {}


def test_a_policy_repeats_the_best_episode() -> None:
    """The one action of the best episode, in states in which another episode took another action."""
    imitation, policy = ranked(pairs=3, updates=100, batch_size=16), learner()
    imitation.episode_ended(episode(A, B, C, A, total=0.9, action=3))
    imitation.episode_ended(episode(A, B, C, A, total=0.2, action=5))
    found = imitation.learn(policy)
    assert found["updates"] == 200 and found["loss"] < np.log(7)
    seen = FEATURES.encode(np.stack([A, B, C])[:, None])
    actions = policy.act(seen, np.zeros((3, 0), np.float32), None, np.zeros(3, bool), explore=True).actions
    assert (actions == 3).all()
    assert imitation.learn(policy) == {}, "no episode has ended since"


def test_updates_are_those_of_the_ended_episodes_and_fall_to_zero() -> None:
    imitation, policy = ranked(updates=4, batch_size=2, decay_steps=12), learner()
    wanted = []
    for number in range(1, 7):
        imitation.episode_ended(episode(A, B, C))
        wanted.append(float(round(4 * (1 - 2 * number / 12))))
    assert imitation.learn(policy) == {}, "12 steps are over"
    steps = ranked(updates=4, batch_size=2, decay_steps=12)
    found = []
    for _ in wanted:
        steps.episode_ended(episode(A, B, C))
        found.append(steps.learn(policy).get("updates", 0.0))
    assert found == wanted and wanted[0] > wanted[-2] > 0


def test_a_checkpoint_restores_all_but_the_draws_of_batches_which_follow_from_the_seed() -> None:
    """Checkpoints have no state of random numbers: who continues from one is given the seed of another stream."""
    imitation = ranked()
    imitation.episode_ended(episode(A, B, C, A, total=0.9))
    imitation.learn(learner())
    state = {name: tensor.clone() for name, tensor in imitation.state_dict().items()}
    imitation.episode_ended(episode(B, C, A, total=0.5, action=2))
    learnt = []
    for seed in (7, 7, 8):
        other, policy = RankedEpisodes(RankedEpisodesSettings(), FEATURES, seed), learner()
        other.load_state_dict(state)
        other.episode_ended(episode(B, C, A, total=0.5, action=2))
        assert other.metrics() == imitation.metrics()
        other.learn(policy)
        learnt.append(torch.cat([tensor.flatten() for tensor in policy.state_dict().values() if tensor.is_floating_point()]))
    assert torch.equal(learnt[0], learnt[1]) and not torch.equal(learnt[0], learnt[2])
    with pytest.raises(ValueError, match="observation has shape"):
        RankedEpisodes(RankedEpisodesSettings(), Features(layout(width=6), 1), 0).load_state_dict(imitation.state_dict())
    with pytest.raises(ValueError, match="action is missing"):
        other.load_state_dict({name: tensor for name, tensor in imitation.state_dict().items() if name != "action"})
