"""Distributions over actions, against torch.distributions."""

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from agent_node.contracts import PolicySpec
from agent_node.learners.library.action_distributions import Categoricals, Gaussian, head_of
from protocols.runtime.errors import ConfigurationError


def rows(width: int, seed: int) -> torch.Tensor:
    return torch.randn(50, width, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("factors", [[3, 3], [2, 5, 3], [4]])
def test_categorical_factors(factors: list[int]) -> None:
    head = Categoricals(factors)
    outputs, others = rows(sum(factors), 0), rows(sum(factors), 1)
    ours, theirs = head.parameters(outputs), [Categorical(logits=part) for part in torch.split(outputs, factors, dim=1)]
    old = [Categorical(logits=part) for part in torch.split(others, factors, dim=1)]
    actions = head.sample(ours, torch.Generator().manual_seed(2))
    expected = sum(one.log_prob(action) for one, action in zip(theirs, actions.unbind(1), strict=True))
    torch.testing.assert_close(head.log_probability(ours, actions), expected)
    torch.testing.assert_close(head.entropy(ours), sum(one.entropy() for one in theirs))
    torch.testing.assert_close(
        head.divergence(head.parameters(others), ours), sum(kl_divergence(a, b) for a, b in zip(old, theirs, strict=True))
    )
    torch.testing.assert_close(head.mode(ours), torch.stack([one.probs.argmax(1) for one in theirs], dim=1))


def test_categorical_samples_have_their_probabilities() -> None:
    head = Categoricals([3, 2])
    parameters = head.parameters(torch.tensor([[0.0, 1.0, -1.0, 0.5, 0.0]]).expand(40_000, 5))
    actions = head.sample(parameters, torch.Generator().manual_seed(0))
    for column, probabilities in enumerate(torch.split(parameters[0].exp(), [3, 2])):
        shares = torch.bincount(actions[:, column], minlength=len(probabilities)) / len(actions)
        torch.testing.assert_close(shares, probabilities, atol=0.01, rtol=0)


def test_normal_components() -> None:
    head = Gaussian(3)
    ours, theirs = head.parameters(rows(6, 0)), head.parameters(rows(6, 1))

    def reference(parameters: torch.Tensor) -> Independent:
        return Independent(Normal(parameters[:, :3], parameters[:, 3:].exp()), 1)

    actions = head.sample(ours, torch.Generator().manual_seed(2))
    torch.testing.assert_close(head.log_probability(ours, actions), reference(ours).log_prob(actions), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head.entropy(ours), reference(ours).entropy())
    torch.testing.assert_close(head.divergence(theirs, ours), kl_divergence(reference(theirs), reference(ours)), rtol=1e-4, atol=1e-4)
    assert ours[:, 3:].min() >= Gaussian.LEAST
    assert ours[:, 3:].max() <= Gaussian.MOST


def test_an_environment_has_its_head() -> None:
    assert isinstance(head_of(PolicySpec((1,), 0, (3, 3))), Categoricals)
    assert isinstance(head_of(PolicySpec((1,), 0, (), (-1.0,), (1.0,))), Gaussian)
    with pytest.raises(ConfigurationError, match="neither discrete nor continuous"):
        head_of(PolicySpec((1,), 0, ()))
