"""V-trace against the definition, summed up by brute force, and against n-step returns."""

import math

import pytest
import torch

from agent_node.learners.impala import vtrace

T, B = 7, 3


def case(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "log_ratio": torch.randn(T, B, generator=generator, dtype=torch.float64),
        "reward": torch.randn(T, B, generator=generator, dtype=torch.float64),
        "discount": torch.full((T, B), 0.9, dtype=torch.float64),
        "value": torch.randn(T + 1, B, generator=generator, dtype=torch.float64),
        "counts": torch.ones(T, B, dtype=torch.float64),
        "begins": torch.zeros(T, B, dtype=torch.float64),
    }


def brute(given: dict[str, torch.Tensor], s: int, b: int, clip: float = 1.0) -> float:
    """v_s = V_s + sum over t of gamma^(t-s) (prod_{i<t} c_i) delta_t, as in the paper's equation 1."""
    total, weight = float(given["value"][s, b]), 1.0
    for t in range(s, T):
        rho = min(clip, math.exp(given["log_ratio"][t, b]))
        gamma = float(given["discount"][t, b])
        total += weight * rho * float(given["reward"][t, b] + gamma * given["value"][t + 1, b] - given["value"][t, b])
        weight *= gamma * rho
    return total


@pytest.mark.parametrize("clip", [1.0, 0.4])
def test_targets_are_the_sums_of_the_definition(clip: float) -> None:
    given = case()
    given["discount"][3, 1] = 0.0
    found = vtrace(**given, clip=clip)
    for s in range(T):
        for b in range(B):
            assert float(found.target[s, b]) == pytest.approx(brute(given, s, b, clip))
            following = brute(given, s + 1, b, clip) if s + 1 < T else float(given["value"][T, b])
            rho = min(clip, math.exp(given["log_ratio"][s, b]))
            wanted = rho * (given["reward"][s, b] + given["discount"][s, b] * following - given["value"][s, b])
            assert float(found.advantage[s, b]) == pytest.approx(float(wanted))


def test_on_policy_they_are_n_step_returns() -> None:
    given = case() | {"log_ratio": torch.zeros(T, B, dtype=torch.float64)}
    found = vtrace(**given)
    following = given["value"][T]
    for t in range(T - 1, -1, -1):
        following = given["reward"][t] + 0.9 * following
        torch.testing.assert_close(found.target[t], following)
        torch.testing.assert_close(found.advantage[t], following - given["value"][t])


def test_traces_end_where_an_episode_begins_and_where_a_step_does_not_count() -> None:
    """An episode that a limit ends at t bootstraps from V of the last observation; the tick in between belongs to no agent."""
    given = case()
    given["counts"][3, 0] = 0.0
    given["begins"][4, 0] = 1.0
    given["begins"][5, 1] = 1.0
    found = vtrace(**given)
    short = {name: values[:3] if name != "value" else values[:4] for name, values in given.items()}
    torch.testing.assert_close(found.target[:3, 0], vtrace(**short).target[:, 0])
    torch.testing.assert_close(found.advantage[:3, 0], vtrace(**short).advantage[:, 0])
    assert float(found.advantage[3, 0]) == 0.0 and found.target[3, 0] == given["value"][3, 0]
    rest = {name: values[4:] for name, values in given.items()}
    torch.testing.assert_close(found.target[4:, 0], vtrace(**rest).target[:, 0])
    early = {name: values[:5] if name != "value" else values[:6] for name, values in given.items()}
    torch.testing.assert_close(found.target[:5, 1], vtrace(**early).target[:, 1])
    torch.testing.assert_close(found.advantage[:5, 1], vtrace(**early).advantage[:, 1])


def test_whatever_happened_in_steps_that_do_not_count_changes_nothing() -> None:
    given, other = case(), case()
    for each in (given, other):
        each["counts"][3, 2] = 0.0
    other["reward"][3, 2], other["log_ratio"][3, 2] = 1e6, 5.0
    for one, two in zip(vtrace(**given), vtrace(**other), strict=True):
        torch.testing.assert_close(one, two)


def test_one_step_is_enough() -> None:
    given = {name: values[:1] if name != "value" else values[:2] for name, values in case().items()}
    found = vtrace(**given)
    rho = given["log_ratio"].exp().clamp_max(1)
    torch.testing.assert_close(found.advantage, rho * (given["reward"] + 0.9 * given["value"][1:] - given["value"][:1]))
