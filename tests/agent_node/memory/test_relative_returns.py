"""Returns-to-go relative to the mean at the same step: by hand, after episodes have left the ring, and in checkpoints."""

import numpy as np
import pytest

from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.spaces.layout import Layout

FEATURES = Features(Layout(shape=[2], actions=[3]), 1)


def episode(number: int, steps: int) -> Episode:
    """The first component of its observations is its number, the second the number of the step."""
    random = np.random.default_rng(number)
    observation = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1).astype(np.float32)
    return Episode(number, observation, np.zeros((steps, 1), np.int32), random.normal(size=steps).astype(np.float32), False)


def expected(kept: list[Episode], discount: float) -> dict[tuple[int, int], float]:
    """By number and step."""
    returns = {(one.number, t): sum(discount**k * float(r) for k, r in enumerate(one.reward[t:])) for one in kept for t in range(one.steps)}
    mean = {t: np.mean([value for (_, at), value in returns.items() if at == t]) for _, t in returns}
    return {(number, t): value - mean[t] for (number, t), value in returns.items()}


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_samples_have_the_return_to_go_less_its_mean_at_that_step(discount: float) -> None:
    buffer, random = ReplayBuffer(100, FEATURES, returns_discount=discount), np.random.default_rng(0)
    episodes = [episode(number, 4 + number % 7) for number in range(60)]
    for one in episodes:
        buffer.add(one)
    kept = [one for one in episodes if one.number in buffer._places]
    assert 5 < len(kept) < 20, "most have left the ring"
    sample = buffer.sample(500, random)
    wanted = expected(kept, discount)
    keys = sample.observation[:, 0].astype(int).tolist()
    np.testing.assert_allclose(sample.extras["relative_return"], [wanted[number, t] for number, t in keys], atol=1e-5)


def test_checkpoints_keep_them_bit_for_bit() -> None:
    one, two = (ReplayBuffer(100, FEATURES, returns_discount=0.9) for _ in range(2))
    for number in range(40):
        one.add(episode(number, 4 + number % 7))
    two.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    for number in range(40, 50):
        one.add(episode(number, 5))
        two.add(episode(number, 5))
    samples = [buffer.sample(300, np.random.default_rng(1)).extras["relative_return"] for buffer in (one, two)]
    np.testing.assert_array_equal(*samples)
    without = ReplayBuffer(100, FEATURES)
    without.add(episode(0, 5))
    assert without.sample(3, np.random.default_rng(0)).extras == {}
    with pytest.raises(ValueError, match="return_counts is missing"):
        two.load_state_dict(without.state_dict())
