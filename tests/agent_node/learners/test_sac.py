"""Soft actor-critic: densities and targets by hand, a task learnt, optimism kept from the policy that is evaluated."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.sac import SAC
from agent_node.learners.settings import SACSettings
from protocols.runtime.errors import ConfigurationError

LOW, HIGH = (-1.0, 0.0), (1.0, 4.0)


def learner(seed: int = 0, hallucinated: int = 0, **changes: Any) -> SAC:
    settings = SACSettings(**({"hidden": [32, 32], "learning_rate": 3e-3, "random_steps": 0, "tau": 0.05} | changes))
    return SAC(settings, PolicySpec((2,), 0, (), LOW, HIGH, hallucinated), 4, seed)


def batch(rows: int = 64, seed: int = 0, **extras: torch.Tensor) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        observation=torch.randn(rows, 2, generator=generator),
        goal=torch.zeros(rows, 0),
        action=torch.rand(rows, 2, generator=generator) * torch.tensor([2.0, 4.0]) + torch.tensor(LOW),
        reward=torch.rand(rows, generator=generator),
        next_observation=torch.randn(rows, 2, generator=generator),
        terminated=torch.ones(rows),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
        extras=extras,
    )


def act(sac: SAC, rows: int, explore: bool) -> np.ndarray[Any, Any]:
    return sac.act(np.zeros((rows, 2), np.float32), np.zeros((rows, 0), np.float32), np.arange(rows), np.ones(rows, bool), explore).actions


def test_the_density_is_that_of_a_squashed_normal() -> None:
    pair = learner().explorer
    state = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    action, density = pair.draw(state)
    mean, logarithm = pair._moments(state)
    reference = TransformedDistribution(Independent(Normal(mean, logarithm.exp()), 1), [TanhTransform()])
    torch.testing.assert_close(density, reference.log_prob(action.clamp(-1 + 1e-6, 1 - 1e-6)), atol=2e-2, rtol=1e-3)


def test_the_first_steps_are_uniform_and_all_are_within_the_bounds() -> None:
    sac = learner(random_steps=2000)
    actions = act(sac, 2000, True)
    np.testing.assert_allclose(actions.mean(axis=0), [0.0, 2.0], atol=0.1)
    np.testing.assert_allclose(actions.std(axis=0), [2 / 12**0.5, 4 / 12**0.5], rtol=0.05)
    for explore in (True, False):
        later = act(sac, 100, explore)
        assert (later >= LOW).all() and (later <= HIGH).all()
    assert sac.acted == 2100
    assert np.ptp(act(sac, 10, False), axis=0).max() == 0, "evaluations take the best action"


def test_values_follow_the_target() -> None:
    """Terminal steps: Q(s, a) becomes the reward; others: one more discounted step of the target networks."""
    sac = learner(learn_temperature=False, temperature=1e-9)
    given = batch(8)
    for _ in range(1500):
        sac.learn(given)
    action = sac.bounds.inward(given.action)
    state = given.observation
    with torch.no_grad():
        values = sac.explorer.values(sac.explorer.critics, state, action)
    torch.testing.assert_close(values, given.reward.expand(2, -1), atol=0.05, rtol=0)


def reward(action: torch.Tensor, best: tuple[float, float]) -> torch.Tensor:
    return -((action - torch.tensor(best)) / torch.tensor([1.0, 2.0])).square().sum(dim=1)


def test_it_learns_and_the_exploiting_policy_hears_of_no_bonus() -> None:
    """The reward is best at (0.5, 3); the bonus draws the explorer to (-0.5, 1), four times as strongly."""
    sac = learner(exploit=True, learn_temperature=False, temperature=0.01)
    for step in range(500):
        given = batch(128, step)
        given.reward = reward(given.action, (0.5, 3.0))
        given.extras["bonus"] = 4 * reward(given.action, (-0.5, 1.0))
        sac.learn(given)
    np.testing.assert_allclose(act(sac, 1, False)[0], [0.5, 3.0], atol=0.2)
    explored = act(sac, 300, True).mean(axis=0)
    assert np.abs(explored - [-0.3, 1.4]).max() < 0.6, "between the two, nearer to the stronger one"


def test_the_exploiting_policy_learns_from_the_mean_and_the_explorer_from_what_was_imagined() -> None:
    """The optimistic reward is best at (-0.5, 1), and its next observations are elsewhere; the mean reward is best at (0.5, 3)."""
    sac = learner(exploit=True, learn_temperature=False, temperature=0.01)
    for step in range(500):
        given = batch(128, step)
        given.reward = reward(given.action, (-0.5, 1.0))
        given.extras |= {"mean_reward": reward(given.action, (0.5, 3.0)), "mean_next_observation": given.next_observation}
        sac.learn(given)
    np.testing.assert_allclose(act(sac, 1, False)[0], [0.5, 3.0], atol=0.2)
    assert np.abs(act(sac, 300, True).mean(axis=0) - [-0.5, 1.0]).max() < 0.5


def test_the_exploiting_policy_is_valued_at_the_mean_next_observation() -> None:
    """Of equal learners only those with other mean next observations learn other values; the explorer's are equal."""
    given = [batch(64, 0) for _ in range(3)]
    for one, shift in zip(given, (0.0, 0.0, 3.0), strict=True):
        one.terminated = torch.zeros(64)
        one.extras["mean_next_observation"] = one.observation + shift
    given[1].extras.pop("mean_next_observation")
    given[1].next_observation = given[0].observation
    plain, same, other = (learner(exploit=True) for _ in given)
    for sac, one in zip((plain, same, other), given, strict=True):
        sac.learn(one)
    exploiting = [sac.exploiter.critics.vector for sac in (plain, same, other) if sac.exploiter is not None]
    assert torch.equal(exploiting[0], exploiting[1]) and not torch.equal(exploiting[0], exploiting[2])
    assert torch.equal(plain.explorer.critics.vector, other.explorer.critics.vector)


@pytest.mark.parametrize("lucky", [1.0, -1.0])
def test_hallucinated_components_are_valued_and_chosen_but_not_executed(lucky: float) -> None:
    sac = learner(hallucinated=1, learn_temperature=False, temperature=0.01, exploit=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        eta = torch.rand(128, 1, generator=generator) * 2 - 1
        given = batch(128, step, hallucination=eta)
        given.reward = lucky * eta[:, 0]
        sac.learn(given)
    seen = np.zeros((50, 2), np.float32)
    choice = sac.act(seen, np.zeros((50, 0), np.float32), None, np.ones(50, bool), True)
    assert choice.actions.shape == (50, 2)
    assert choice.extras["hallucination"].shape == (50, 1)
    assert lucky * choice.extras["hallucination"].mean() > 0.8
    assert act(sac, 3, True).shape == (3, 2)


def test_the_temperature_seeks_the_wanted_entropy() -> None:
    sac = learner(temperature=0.05, learning_rate=1e-2)
    for step in range(400):
        given = batch(64, step)
        given.reward = reward(given.action, (0.5, 3.0))
        metrics = sac.learn(given)
    assert metrics["entropy"] == pytest.approx(-2.0, abs=0.7)


def test_a_checkpoint_goes_on_where_it_was() -> None:
    ours, restored = learner(exploit=True), learner(seed=1, exploit=True)
    act(ours, 5, True)
    ours.learn(batch())
    restored.load_state_dict(ours.state_dict())
    assert (restored.acted, restored.updates) == (5, 1)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(restored.state_dict()[name], tensor), name
    with pytest.raises(ValueError, match=r"exploit\.actor"):
        learner(exploit=True).load_state_dict(learner().state_dict())


def test_discrete_actions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="discrete_sac"):
        SAC(SACSettings(), PolicySpec((2,), 0, (3,)), 4, 0)


@pytest.mark.parametrize("hallucinated", [0, 1])
def test_the_gradients_are_those_of_the_losses(hallucinated: int) -> None:
    """What is written out by hand against autograd on the formulas of the module."""
    pair = learner(hallucinated=hallucinated, temperature=0.3).explorer
    pair.actor.vector.mul_(3.0)  # so that some deviations are beyond their bounds
    generator = torch.Generator().manual_seed(5)
    state = 4 * torch.randn(256, 2, generator=generator)
    alpha = pair.log_temperature.exp()
    pair._random.manual_seed(9)
    loss, density = pair._improve(state, alpha)
    by_hand = pair.actor.gradient.clone()
    assert not pair.critics.gradient.any(), "the critics only give the direction"
    pair.actor.gradient.zero_()
    pair._random.manual_seed(9)
    mean, unbounded = pair.actor(state).split(pair.chosen, dim=1)
    logarithm = unbounded.clamp(-20, 2)
    assert (unbounded > 2).any()
    noise = torch.randn(mean.shape, generator=pair._random)
    raw = mean + logarithm.exp() * noise
    normal = Normal(0.0, 1.0).log_prob(noise) - logarithm
    squashing = 2 * (np.log(2) - raw - torch.nn.functional.softplus(-2 * raw))
    wanted_density = (normal - squashing)[:, : pair.actions].sum(dim=1)
    torch.testing.assert_close(density, wanted_density.detach(), atol=1e-4, rtol=1e-4)
    wanted = (alpha * wanted_density - pair.values(pair.critics, state, torch.tanh(raw)).min(dim=0).values).mean()
    torch.testing.assert_close(loss, wanted.detach(), atol=1e-4, rtol=1e-4)
    wanted.backward()
    torch.testing.assert_close(by_hand, pair.actor.gradient, atol=1e-6, rtol=1e-3)


def test_a_stack_of_networks_goes_back_by_hand_as_by_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    network = StackedMLP(3, [4, 16, 16, 2], generator)
    inputs = torch.randn(50, 4, generator=generator)
    outputs, trace = network.run(inputs)
    leaf = inputs.clone().requires_grad_()
    wanted = network(leaf.expand(3, -1, -1))
    torch.testing.assert_close(outputs, wanted.detach())
    slope = torch.randn(outputs.shape, generator=generator)
    to_inputs = network.back(trace, slope, "inputs")
    assert not network.gradient.any()
    by_hand = network.back(trace, slope, "parameters").clone()
    network.gradient.zero_()
    wanted.backward(slope)
    torch.testing.assert_close(by_hand, network.gradient, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(to_inputs.sum(dim=0), leaf.grad, atol=1e-5, rtol=1e-4)
