"""Networks for images: published sizes, the order of pixels, what stands behind them, and gradients."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch.nn import functional

from agent_node.contracts import PolicySpec
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.library.encoders import ImageEncoder
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.library.network_architectures import EncodedNetwork, encoder_of, network_of
from agent_node.learners.library.recurrent_networks import ActorCriticNetwork
from agent_node.learners.sac import SAC
from agent_node.learners.settings import DiscreteSACSettings, DoubleDQNSettings, IMPALASettings, PPOSettings, SACSettings, TD3Settings
from murmuration.testing import check_learner
from protocols.runtime.errors import ConfigurationError


def spec(*image: int, goal: int = 0, discrete: bool = True) -> PolicySpec:
    height, width, channels = image
    actions = {"actions": (3,)} if discrete else {"actions": (), "low": (-1.0, 0.0), "high": (1.0, 4.0)}
    return PolicySpec((prod(image),), goal, image=(height, width, channels), **actions)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_are_the_published_ones() -> None:
    nature = network_of("cnn", spec(84, 84, 4), [512], 18, generator(), 1.0)
    convolutions = 32 * (8 * 8 * 4 + 1) + 64 * (4 * 4 * 32 + 1) + 64 * (3 * 3 * 64 + 1)
    assert parameters(nature) == convolutions + (3136 + 1) * 512 + 513 * 18 == 1_693_362
    residual = ActorCriticNetwork("impala_cnn", spec(72, 96, 3), [256], None, 9, generator())
    layers = sum(9 * inputs * outputs + outputs + 4 * (9 * outputs**2 + outputs) for inputs, outputs in ((3, 16), (16, 32), (32, 32)))
    assert parameters(residual) == layers + (9 * 12 * 32 + 1) * 256 + 257 * 10


@pytest.mark.parametrize("side", [36, 40, 41, 64, 84, 97])
@pytest.mark.parametrize("network", ["cnn", "impala_cnn"])
def test_every_size_of_image_has_an_encoder(network: str, side: int) -> None:
    encoder = encoder_of(network, spec(side, side + 3, 2), generator())  # type: ignore[arg-type]
    assert isinstance(encoder, ImageEncoder)
    assert encoder(torch.rand(2, side * (side + 3) * 2)).shape == (2, encoder.outputs)


def test_learners_choose_by_what_is_seen() -> None:
    large, small = encoder_of("auto", spec(36, 40, 3), generator()), encoder_of("auto", spec(35, 40, 3), generator())
    assert isinstance(large, ImageEncoder) and isinstance(small, ImageEncoder)
    assert type(large.convolutions).__name__ == "ImageConvolutions" and type(small.convolutions).__name__ == "ResidualConvolutions"
    assert encoder_of("mlp", spec(36, 36, 3), generator()) is None
    with pytest.raises(ConfigurationError, match=r"at least 36 x 36 pixels, not 35 x 40; write impala_cnn"):
        encoder_of("cnn", spec(35, 40, 3), generator())
    with pytest.raises(ConfigurationError, match="shows no images; write auto"):
        encoder_of("impala_cnn", PolicySpec((4,), 0, (2,)), generator())
    assert isinstance(network_of("mlp", spec(36, 36, 3), [8], 2, generator(), 1.0, members=2), StackedMLP)


def test_pixels_are_in_the_order_of_the_wire() -> None:
    """The same as `torch.nn.functional.conv2d` of the image with its channels in front."""
    encoder = encoder_of("cnn", spec(36, 40, 3), generator())
    assert isinstance(encoder, ImageEncoder)
    image = torch.rand(2, 36, 40, 3, generator=generator(1))
    values = torch.stack([image[..., channel] for channel in range(3)], dim=1)
    parameters = list(encoder.parameters())
    for weight, bias, stride in zip(parameters[::2], parameters[1::2], (4, 2, 1), strict=True):
        values = functional.relu(functional.conv2d(values, weight, bias, stride))
    torch.testing.assert_close(encoder(image.flatten(1)), values.flatten(1))


def test_goals_join_the_outputs_of_the_convolutions() -> None:
    network = network_of("auto", spec(36, 36, 1, goal=2), [16], 3, generator(), 1.0)
    assert isinstance(network, EncodedNetwork)
    pixels = torch.rand(2, 36 * 36, generator=generator(1))
    first, second = (torch.cat([pixels, torch.eye(2)[[goal, goal]]], dim=1) for goal in (0, 1))
    assert not torch.equal(network(first), network(second))
    torch.testing.assert_close(network(first.view(2, 1, -1)), network(first).view(2, 1, 3))


def test_members_share_the_encoder_and_have_heads_of_their_own() -> None:
    network = network_of("auto", spec(36, 36, 1), [16], 3, generator(), 1.0, members=2)
    assert isinstance(network, EncodedNetwork) and len(network.heads) == 2
    pixels = torch.rand(5, 36 * 36, generator=generator(1))
    values = network(pixels.expand(2, -1, -1))
    assert values.shape == (2, 5, 3) and not torch.equal(values[0], values[1])
    assert network.vector.numel() == parameters(network)


def test_gradients_by_run_and_back_are_those_of_autograd() -> None:
    network = network_of("auto", spec(36, 36, 1), [16], 2, generator(), 1.0, members=2, behind=3)
    assert isinstance(network, EncodedNetwork)
    inputs, slope = torch.rand(4, 36 * 36 + 3, generator=generator(1)), torch.randn(2, 4, 2, generator=generator(2))
    wanted = inputs.clone().requires_grad_()
    (network(wanted.expand(2, -1, -1)) * slope).sum().backward()
    expected = network.gradient.clone()
    network.gradient.zero_()
    with torch.no_grad():
        values, trace = network.run(inputs)
        assert wanted.grad is not None
        torch.testing.assert_close(network.back(trace, slope, "inputs").sum(dim=0), wanted.grad[:, -3:])
        assert not network.gradient.any(), "gradients with respect to inputs leave those of parameters alone"
        values, trace = network.run(inputs)
        torch.testing.assert_close(network.back(trace, slope, "parameters"), expected)
    torch.testing.assert_close(values, network(inputs.expand(2, -1, -1)).detach())


IMAGE = spec(36, 36, 1, goal=2)


@pytest.mark.parametrize("network", ["cnn", "impala_cnn"])
@pytest.mark.parametrize("settings", [
    DoubleDQNSettings(hidden=[16]), DiscreteSACSettings(hidden=[16]), PPOSettings(hidden=[16], epochs=2),
    IMPALASettings(hidden=[16]),
], ids=lambda one: one.kind)  # fmt: skip
def test_learners_of_discrete_actions_keep_their_contract_on_images(settings: DoubleDQNSettings, network: str) -> None:
    check_learner(settings.model_copy(update={"network": network}), IMAGE)


@pytest.mark.parametrize(
    "settings",
    [SACSettings(hidden=[16], random_steps=0), TD3Settings(hidden=[16], random_steps=0), PPOSettings(hidden=[16], epochs=2)],
    ids=lambda one: one.kind,
)
def test_learners_of_continuous_actions_keep_their_contract_on_images(settings: SACSettings) -> None:
    check_learner(settings, spec(36, 36, 1, goal=2, discrete=False))


def test_replay_learners_have_an_encoder_in_every_network() -> None:
    q = DoubleDQN(DoubleDQNSettings(hidden=[16]), IMAGE, 1, 0)
    assert isinstance(q.online, EncodedNetwork) and torch.equal(q.online.vector, q.target.vector)
    soft = SAC(SACSettings(hidden=[16]), spec(36, 36, 1, discrete=False), 1, 0).explorer
    assert isinstance(soft.critics, EncodedNetwork) and isinstance(soft.actor, EncodedNetwork)
