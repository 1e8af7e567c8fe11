"""Recurrent layers: those of torch, step by step and along sequences, with states that become zero where an episode begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from agent_node.contracts import PolicySpec
from agent_node.learners.library.recurrent_networks import RecurrentLayers, RecurrentNetwork
from agent_node.learners.network_settings import RecurrentSettings

CELLS: list[dict[str, Any]] = [{"cell": cell, "layers": layers} for cell in ("gru", "lstm") for layers in (1, 2)]


def made(seed: int = 0, **settings: Any) -> RecurrentLayers:
    return RecurrentLayers(RecurrentSettings(**settings), 5, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("given", CELLS)
def test_they_compute_what_those_of_torch_compute(given: dict[str, Any]) -> None:
    ours, layers = made(**given), given["layers"]
    kind = nn.GRU if given["cell"] == "gru" else nn.LSTM
    theirs = kind(5, 5, layers)
    for number, cell in enumerate(ours.cells):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, f"{name}_l{number}").data.copy_(getattr(cell, name))
    values = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(1))
    found, states = ours.unroll(values, torch.zeros(3, ours.state_width), torch.zeros(7, 3))
    expected, last = theirs(values)
    torch.testing.assert_close(found, expected)
    parts = last if given["cell"] == "gru" else torch.stack([last[0], last[1]], dim=1).flatten(0, 1)
    torch.testing.assert_close(states[-1], parts.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("given", CELLS)
def test_a_sequence_is_its_steps_and_begins_anew_with_an_episode(given: dict[str, Any]) -> None:
    layers, random = made(**given), torch.Generator().manual_seed(2)
    values, state = torch.randn(6, 4, 5, generator=random), torch.randn(4, layers.state_width, generator=random)
    begins = (torch.rand(6, 4, generator=random) < 0.3).float()
    assert begins.any()
    found, states = layers.unroll(values, state, begins)
    for t in range(6):
        state = torch.where(begins[t].unsqueeze(1) > 0, 0.0, state)
        output, state = layers(values[t], state)
        torch.testing.assert_close(found[t], output)
        torch.testing.assert_close(states[t], state)


def test_without_settings_there_are_no_layers() -> None:
    layers = RecurrentLayers(None, 5, torch.Generator())
    values = torch.randn(3, 2, 5)
    assert layers.state_width == 0 and not list(layers.parameters())
    assert torch.equal(layers.unroll(values, torch.zeros(2, 0), torch.zeros(3, 2))[0], values)


def test_a_network_holds_all_parameters_in_one_vector() -> None:
    settings = RecurrentSettings(cell="lstm")
    network = RecurrentNetwork("auto", settings, PolicySpec((3,), 2, (4,)), [8, 6], 4, torch.Generator().manual_seed(0), 0.01)
    assert network.vector.numel() == (5 * 8 + 8) + (8 * 6 + 6) + 4 * (6 * 6 + 6 * 6 + 6 + 6) + (6 * 4 + 4)
    inputs, state = torch.randn(5, 3, 5), torch.zeros(3, network.state_width)
    outputs, states = network.unroll(inputs, state, torch.zeros(5, 3))
    assert outputs.shape == (5, 3, 4) and states.shape == (5, 3, 12)
    assert float(outputs.detach().abs().max()) < 0.1, "the last layer is small"
    network.vector.zero_()
    assert not network(inputs[0], state)[0].any()
    outputs.sum().backward()
    assert network.gradient.any()
