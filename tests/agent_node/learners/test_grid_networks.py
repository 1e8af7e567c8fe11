"""Networks for grids: sizes as published, the tables, the order of cells."""

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.library.encoders import CellEmbedding, GridConvolutions, GridEncoder, TeacherNetwork
from agent_node.learners.library.flat_networks import TanhMLP
from agent_node.learners.library.network_architectures import encoder_of, network_of
from agent_node.learners.library.recurrent_networks import ActorCriticNetwork
from agent_node.learners.network_settings import RecurrentSettings
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import AGENT, GridPart, Grids
from tests.agent_node.grid_worlds import KEY, features, grid, layout, number, observation, policy_spec, random_observations


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_are_the_published_ones() -> None:
    part = GridPart(0, 7, 7)
    teacher = TeacherNetwork(part, generator())
    assert parameters(teacher) == 81 + (10 * 16 + 16 * 16 + 16 * 16 + 16 * 1) * 9 + 16 + 16 + 16 + 1 + 50 == 6372
    student = ActorCriticNetwork("auto", policy_spec(49, width=7, height=7), [256, 256], None, 7, generator())
    convolutions = 11 * 32 * 9 + 4 * 32 * 32 * 9 + 5 * 32
    assert parameters(student) == 81 + convolutions + 41 * 256 + 257 * 256 + 257 * 8 == 118_617
    alone = ActorCriticNetwork("auto", policy_spec(0, width=7, height=7), [256, 256], None, 7, generator())
    assert parameters(student) - parameters(alone) == 32 * 9, "one channel more for the goal's plane"


@pytest.mark.parametrize(("width", "height", "outputs"), [(7, 3, 32), (7, 7, 32), (25, 25, 32), (32, 32, 32), (33, 32, 64)])
def test_grids_up_to_32_shrink_to_one_cell_and_larger_ones_fit_too(width: int, height: int, outputs: int) -> None:
    part = GridPart(0, width, height)
    shrinking = GridConvolutions(part, 10, generator())
    assert shrinking.outputs == outputs
    assert shrinking(torch.zeros(2, width, height, 10)).shape == (2, outputs)


def test_the_last_convolutions_are_convolutions() -> None:
    """Where one cell is left they are computed as matrix products."""
    shrinking = GridConvolutions(GridPart(0, 7, 7), 10, generator())
    values = torch.randn(4, 7, 7, 10, generator=generator(1))
    found = shrinking(values)
    values = values.permute(0, 3, 1, 2)
    for convolution in shrinking.convolutions:
        values = torch.nn.functional.elu(convolution(values))
    torch.testing.assert_close(found, values.flatten(1))


def test_cells_are_looked_up_in_three_tables_by_place() -> None:
    raw = random_observations(6)
    embedding = CellEmbedding(GridPart(0, 5, 4), generator())
    codes = embedding.codes(torch.from_numpy(features(raw)))
    assert np.array_equal(codes.numpy(), raw), "features give back what was seen"
    cells, kinds = embedding.cells(codes), raw[:, :-2].reshape(6, 5, 4, 3)
    for place in ((0, 0, 0), (3, 4, 1), (5, 2, 3)):
        thing, colour, state = kinds[place]
        wanted = torch.cat([embedding.objects[thing], embedding.colours[colour], embedding.states[state]])
        torch.testing.assert_close(cells[place], wanted)
    item = torch.cat([embedding.objects[raw[2, -2]], embedding.colours[raw[2, -1]]])
    torch.testing.assert_close(embedding.carried(codes)[2], item)


def test_the_own_cell_is_where_the_agent_is() -> None:
    embedding = CellEmbedding(GridPart(0, 5, 4), generator())
    raw = np.stack([observation(grid((3, 2), 1)), observation(grid((1, 1), 2))])
    codes = embedding.codes(torch.from_numpy(features(raw)))
    cells = embedding.cells(codes)
    torch.testing.assert_close(embedding.own_cell(codes, cells), torch.stack([cells[0, 3, 2], cells[1, 1, 1]]))
    beside = grid((3, 2), 1)
    beside[1, 1] = (AGENT, 2, 0)
    away = grid((1, 1), 2)
    away[1, 1] = (AGENT, 1, 0)
    codes = embedding.codes(torch.from_numpy(features(np.stack([observation(beside), observation(away)]))))
    cells = embedding.cells(codes)
    wanted = torch.stack([cells[0, 3, 2], cells[1, 2, 3]])
    torch.testing.assert_close(embedding.own_cell(codes, cells), wanted)  # others have other colours


@pytest.mark.parametrize(("width", "height"), [(7, 7), (11, 6)])
def test_a_teacher_points_at_what_it_sees(width: int, height: int) -> None:
    """A teacher whose convolutions copy one number of a key's embedding has its peak on the key's cell."""
    part = GridPart(0, width, height)
    teacher, transposed = TeacherNetwork(part, generator()), TeacherNetwork(part, generator(), transposed=True)
    for network in (teacher, transposed):
        with torch.no_grad():
            network.embedding.objects.zero_()
            network.embedding.objects[KEY, 0] = 1.0
            for convolution in network.convolutions:
                assert isinstance(convolution, torch.nn.Conv2d) and convolution.bias is not None
                convolution.weight.zero_()
                convolution.bias.zero_()
                convolution.weight[0, 0, 1, 1] = 1.0
    for x, y in ((1, 2), (width - 2, 1), (2, height - 2)):
        cells = grid((1, 1), 0, width, height)
        cells[x, y] = (KEY, 1, 0)
        codes = torch.from_numpy(cells.reshape(1, -1)).long()
        assert int(teacher(codes)[0].argmax()) == number(x, y, height)
        assert int(transposed(codes)[0].argmax()) == y * width + x, "read in the other order, as published"


def test_no_logit_is_below_minus_one_and_the_value_rests_on_the_logits() -> None:
    teacher = TeacherNetwork(GridPart(0, 5, 4), generator())
    with torch.no_grad():
        for convolution in teacher.convolutions:
            assert isinstance(convolution, torch.nn.Conv2d)
            convolution.weight.mul_(10)
    logits, value = teacher(torch.from_numpy(random_observations(32)).long())
    assert logits.shape == (32, 20) and logits.min() >= -1.0 and logits.max() > 1.0
    torch.testing.assert_close(value, teacher.value(logits).squeeze(1))


def test_the_plane_of_the_goal_is_beside_its_cell() -> None:
    """The same goal in another order of the grid would be another input: only the pixel g = x H + y of the plane is 1."""
    encoder = encoder_of("auto", policy_spec(20), generator())
    assert isinstance(encoder, GridEncoder)
    seen: list[torch.Tensor] = []
    encoder.shrinking.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    plane = torch.zeros(1, 20)
    plane[0, number(3, 2)] = 1.0
    encoder(torch.cat([torch.from_numpy(features(random_observations(1))), plane], dim=1))
    assert seen[0].shape == (1, 5, 4, 11) and seen[0][0, ..., 10].nonzero().tolist() == [[3, 2]]


def test_goals_in_another_grid_than_the_one_seen_go_beside_what_is_carried() -> None:
    both = layout(partial=3)
    faces = policy_spec(20, partial=3)
    assert faces.grids is not None and faces.grids.seen.width == 3 and faces.grids.whole.width == 5
    encoder = encoder_of("grid", faces, generator())
    assert encoder is not None
    raw = np.concatenate([random_observations(2, width=3, height=3), random_observations(2)], axis=1)
    seen = torch.from_numpy(features(raw, both))
    first, second = (torch.cat([seen, torch.eye(20)[[goal, goal]]], dim=1) for goal in (3, 4))
    assert not torch.equal(encoder(first), encoder(second))


def test_learners_choose_by_what_is_seen() -> None:
    plain = PolicySpec((4,), 0, (2,))
    assert encoder_of("auto", plain, generator()) is None and encoder_of("mlp", policy_spec(), generator()) is None
    found = encoder_of("auto", policy_spec(), generator())
    assert isinstance(found, GridEncoder) and found.embedding.part == Grids.from_info(layout().grid).full  # type: ignore[arg-type]
    assert isinstance(network_of("auto", plain, [8], 2, generator(), 1.0), TanhMLP)
    with pytest.raises(ConfigurationError, match="no grid of cells; write auto"):
        encoder_of("grid", plain, generator())
    network = network_of("auto", policy_spec(20), [8], 7, generator(), 1.0)
    inputs = torch.cat([torch.from_numpy(features(random_observations(6))), torch.zeros(6, 20)], dim=1)
    torch.testing.assert_close(network(inputs.view(2, 3, -1)), network(inputs).view(2, 3, 7))


def test_initial_layers_are_orthogonal_and_drawn_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    one = ActorCriticNetwork("auto", policy_spec(20), [256, 256], RecurrentSettings(cell="lstm"), 7, generator(3))
    torch.manual_seed(2)
    other = ActorCriticNetwork("auto", policy_spec(20), [256, 256], RecurrentSettings(cell="lstm"), 7, generator(3))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
    weight = one.trunk.linear.layers[1].weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(256), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.policy.weight @ one.policy.weight.T, torch.eye(7), atol=1e-4, rtol=1e-4)  # type: ignore[operator]
