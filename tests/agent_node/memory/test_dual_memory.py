"""The dual memory: which episodes are superior, which are dropped, and what false returns can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agent_node.memory.dual_memory import DualMemory


def steps(value: float, length: int = 2) -> dict[str, torch.Tensor]:
    return {"state": torch.full((length, 1), value)}


def filled(*returns: float, capacity: int = 40, first: int = 0, max_deviations: float | None = None) -> DualMemory:
    memory = DualMemory(capacity, {"state": 1}, max_deviations)
    for number, total in enumerate(returns):
        memory.add(first + number, total, steps(total))
    return memory


def test_the_first_episode_is_superior_and_an_equal_one_is_not() -> None:
    memory = filled(-700.0)
    assert memory.superior.returns == [-700.0]
    assert not memory.add(1, -700.0, steps(0)), "a return equal to the threshold is inferior"
    assert memory.add(2, -699.0, steps(0))
    assert memory.inferior.numbers == [1]


def test_until_ten_returns_only_the_worst_superior_episode_counts() -> None:
    memory = filled(0.0, *[100.0] * 8)
    assert memory.threshold == 0.0
    memory.add(9, 100.0, steps(0))
    assert memory.threshold == pytest.approx(90.0), "the mean of ten returns is above the worst superior episode"


def test_the_mean_is_that_of_the_newest_thousand_returns() -> None:
    memory = filled(*[1000.0] * 10, *[0.0] * 1000, capacity=5)
    assert memory.threshold == 1000.0
    rising = filled(0.0, *[1.0] * 9, *[7.0] * 1000, capacity=5000)
    assert rising.threshold == pytest.approx(7.0)


def test_admission_equals_the_rule_applied_to_a_list() -> None:
    returns = np.random.default_rng(0).normal(size=3000).round(1) + np.linspace(0, 3, 3000)
    memory = filled(*returns.tolist())
    superior: list[tuple[float, int]] = []
    inferior: list[int] = []
    for number, total in enumerate(returns.tolist()):
        threshold = -math.inf if not superior else min(superior)[0]
        if number >= 10 and superior:
            threshold = max(threshold, float(np.mean(returns[max(0, number - 1000) : number])))
        if total > threshold:
            superior = sorted([*superior, (total, number)])[-40:]
        else:
            inferior = [*inferior, number][-40:]
    assert memory.superior.numbers == sorted(number for _, number in superior)
    assert memory.inferior.numbers == inferior
    assert len(superior) == len(inferior) == 40


def test_a_full_superior_store_drops_its_worst_episode_whole() -> None:
    memory = DualMemory(3, {"state": 1})
    for number, (total, length) in enumerate([(1.0, 5), (2.0, 2), (3.0, 4), (4.0, 1)]):
        memory.add(number, total, steps(total, length))
    assert memory.superior.numbers == [1, 2, 3]
    assert sorted(memory.superior.steps["state"].flatten().tolist()) == [2.0] * 2 + [3.0] * 4 + [4.0]


def test_of_equal_returns_the_oldest_number_is_dropped() -> None:
    memory = DualMemory(2, {"state": 1})
    for number, total in ((5, 1.0), (3, 2.0), (9, 2.0), (1, 3.0)):
        memory.add(number, total, steps(total))
    assert memory.superior.numbers == [1, 9]


def test_one_huge_return_is_clipped() -> None:
    honest = np.random.default_rng(1).normal(size=200).tolist()
    poisoned, clipped = filled(*honest, 1e9), filled(*honest, 1e9, max_deviations=6.0)
    assert poisoned.superior.returns[-1] == 1e9
    assert clipped.superior.returns[-1] == pytest.approx(np.mean(honest) + 6 * np.std(honest))
    assert clipped.threshold < 3, "the false return has not become what later episodes are compared with"
    equal = filled(*[0.0] * 20, 5.0, max_deviations=6.0)
    assert equal.superior.returns[-1] == 5.0, "returns that never varied clip nothing"


def test_memories_agree_on_episodes_that_come_in_another_order() -> None:
    random = np.random.default_rng(4)
    returns = random.normal(size=400).tolist()
    late = np.argsort(np.arange(400) + random.uniform(0, 6, 400)).tolist()
    assert late != sorted(late)
    memories = [DualMemory(40, {"state": 1}, reorder=8) for _ in range(2)]
    for memory, order in zip(memories, (range(400), late), strict=True):
        admitted = [memory.add(number, returns[number], steps(0)) for number in order]
        assert admitted[:8] == [None] * 8 and None not in admitted[8:]
        assert memory.waiting.numbers == list(range(392, 400))
    one, other = memories
    assert one.superior.numbers == other.superior.numbers and one.inferior.numbers == other.inferior.numbers


def test_samples_are_uniform_over_steps() -> None:
    memory = DualMemory(3, {"state": 1})
    memory.add(0, 1.0, steps(1.0, 1))
    memory.add(1, 2.0, steps(2.0, 3))
    drawn = memory.superior.sample(4000, torch.Generator().manual_seed(0))["state"]
    assert float((drawn == 2).float().mean()) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(ValueError, match="empty"):
        memory.inferior.sample(1, torch.Generator())


def test_a_restored_memory_goes_on_alike() -> None:
    returns = np.random.default_rng(2).normal(size=400).tolist()
    memory = filled(*returns[:200], max_deviations=6.0)
    other = DualMemory(40, {"state": 1}, 6.0)
    other.load_state_dict({name: tensor.clone() for name, tensor in memory.state_dict().items()})
    for each in (memory, other):
        for number, total in enumerate(returns[200:], 200):
            each.add(number, total, steps(total))
    one, two = memory.state_dict(), other.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_states_that_do_not_fit_are_refused() -> None:
    state = filled(*map(float, range(10))).state_dict()
    with pytest.raises(ValueError, match="10 episodes in the state do not fit into a memory of 4"):
        DualMemory(4, {"state": 1}).load_state_dict(state)
    with pytest.raises(ValueError, match="state has shape"):
        DualMemory(40, {"state": 2}).load_state_dict(state)
    with pytest.raises(ValueError, match="must be finite"):
        filled(float("nan"))
