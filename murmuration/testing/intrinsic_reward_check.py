"""Contract of intrinsic rewards."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import IntrinsicReward, PolicySpec, TransitionBatch
from agent_node.intrinsic.settings import CuriositySettings
from murmuration.testing import made_up_data
from murmuration.testing.contract import Contract

TICKS = 20


def check_intrinsic_reward(settings: CuriositySettings, policy_spec: PolicySpec | None = None) -> None:
    """Check the intrinsic reward that is registered for these settings, with 4 observed numbers or for `policy_spec`.

    Rules: `reward` gives a finite float32 for each step, also for few steps, and leaves the transitions unchanged; `learn` returns
    metrics; two components with equal seeds give equal rewards; a restored component gives the rewards of the original. Raises
    `ContractError`.
    """
    contract = Contract(f"intrinsic reward {type(settings).__name__}")
    contract.require(isinstance(settings, CuriositySettings), "the settings do not derive from CuriositySettings", "derive them from it")
    spec = policy_spec or made_up_data.policy_spec(discrete=True)

    def make(seed: int = 1) -> IntrinsicReward:
        made: IntrinsicReward = contract.make("curiosity", settings, spec, made_up_data.COPIES, seed)
        return made

    one, other = make(), make()
    for number in range(TICKS):
        rows = 1 + number % made_up_data.COPIES
        expected, found = _reward(contract, one, spec, rows, number), _reward(contract, other, spec, rows, number)
        contract.require(np.array_equal(expected, found), "equal components give different rewards", "draw from `seed` only")
    batch = made_up_data.replay_batch(spec, made_up_data.STEPS * made_up_data.COPIES, np.random.default_rng(0))
    shape = (made_up_data.STEPS, made_up_data.COPIES)
    for name, tensor in vars(batch).items():
        if hasattr(tensor, "reshape"):
            setattr(batch, name, tensor.reshape(*shape, *tensor.shape[1:]))
    with contract.calling("learn(batch)"):
        metrics = one.learn(batch)
    contract.metrics(metrics, "learn")
    contract.metrics(one.metrics(), "metrics()")
    restored = make(2)
    contract.checkpoint(one, make(2))
    restored.load_state_dict({name: tensor.detach().clone() for name, tensor in one.state_dict().items()})
    same = np.allclose(_reward(contract, one, spec, 5, 99), _reward(contract, restored, spec, 5, 99), rtol=1e-4, atol=1e-6)
    contract.require(same, "a restored component gives other rewards than the original", "put everything that rewards need into state_dict")


def _reward(contract: Contract, component: IntrinsicReward, spec: PolicySpec, rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    seen, following = made_up_data.observations(spec, rows, random), made_up_data.observations(spec, rows, random)
    begins = random.random(rows) < 0.2
    transitions = TransitionBatch(np.arange(rows), seen, following, following.copy(), seen.copy(), begins)
    kept = seen.copy(), following.copy()
    with contract.calling(f"reward(transitions) of {rows} steps"):
        reward = component.reward(transitions)
    contract.array(reward, "reward", (rows,), "f")
    contract.require(reward.dtype == np.float32, f"reward has dtype {reward.dtype}", "return float32")
    unchanged = np.array_equal(kept[0], seen) and np.array_equal(kept[1], following)
    contract.require(unchanged, "reward changes the transitions", "copy arrays before changing them")
    return reward
