"""Outputs for all pairs of inputs and actions, against one pass for each pair; the first member alone, against all members."""

from __future__ import annotations

import pytest
import torch

from agent_node.contracts import EntityGroup, PolicySpec
from agent_node.learners.library.network_architectures import network_of
from agent_node.learners.network_settings import Network

PLAIN = PolicySpec((6,), 0, (), (-1.0, -1.0), (1.0, 1.0))
ENTITIES = PolicySpec((6,), 0, (), (-1.0, -1.0), (1.0, 1.0), entities=(EntityGroup("others", ((2, 3), (4, 5))),))


@pytest.mark.parametrize(("network", "spec"), [("mlp", PLAIN), ("entities", ENTITIES)])
def test_pairs_and_first_members_are_those_of_the_whole_network(network: Network, spec: PolicySpec) -> None:
    generator = torch.Generator().manual_seed(0)
    critics = network_of(network, spec, [16, 16], 3, generator, 1.0, members=2, behind=2)
    seen, actions = torch.randn(5, 6, generator=generator), torch.randn(5, 4, 2, generator=generator)
    rows = torch.cat([seen.repeat_interleave(4, dim=0), actions.flatten(0, 1)], dim=1)
    whole = critics(rows.expand(2, -1, -1))
    for members in (1, 2):
        pairs = critics.paired(seen, actions, members)
        torch.testing.assert_close(pairs, whole.view(2, 5, 4, 3)[:members])
    torch.testing.assert_close(critics.first(rows), whole[0])

    def gradient(outputs: torch.Tensor) -> torch.Tensor:
        critics.gradient.zero_()
        outputs.square().sum().backward()
        return critics.gradient.clone()

    torch.testing.assert_close(gradient(critics.paired(seen, actions, 2)), gradient(critics(rows.expand(2, -1, -1))))
