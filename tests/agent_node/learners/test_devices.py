"""Where learners and models compute: `auto` finds it, `cuda` without a GPU is refused, and what is learnt is the same everywhere.

Tests with `cuda` need a GPU that torch can use; with `auto` they run wherever they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, Learner, ModelData, PolicySpec, WorldModel
from agent_node.exchange.parameter_averaging import ParameterAveraging, ProgressCounts
from agent_node.exchange.settings import ConsensusSettings
from agent_node.learners.library.devices import CPU, check_devices, device_of
from agent_node.learners.settings import DoubleDQNSettings, LearnerSettings
from agent_node.session import checkpoints
from agent_node.session.observation_features import Features
from agent_node.settings.agent import AgentSettings
from agent_node.world_models.ensemble import Ensemble
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.settings import EnsembleSettings, WorldModelSettings
from protocols.averaging.averager import FixedNeighbourhood
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Period
from protocols.spaces.layout import Layout

WITHOUT = pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
DEVICES = ["auto", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"))]
DISCRETE, CONTINUOUS = PolicySpec((3,), 2, (3, 2)), PolicySpec((3,), 2, (), (-1.0, 0.0), (1.0, 4.0))
LEARNERS = {
    "double_dqn": ({}, DISCRETE),
    "discrete_sac": ({}, DISCRETE),
    "sac": ({"random_steps": 0, "exploit": True}, CONTINUOUS),
    "td3": ({"random_steps": 0, "policy_delay": 1}, CONTINUOUS),
    "ppo": ({"minibatch_size": 16, "epochs": 2}, DISCRETE),
    "impala": ({"steps": 4}, DISCRETE),
    "impala, continuous": ({"steps": 4, "recurrent": {"cell": "lstm"}}, CONTINUOUS),
    "double_dqn, recurrent": ({"recurrent": {"sequence": 5, "burn_in": 3}}, DISCRETE),
    "ppo, recurrent": ({"minibatch_size": 16, "epochs": 2, "recurrent": {"sequence": 4}}, DISCRETE),
    "ppo, continuous": ({"minibatch_size": 16, "epochs": 2}, CONTINUOUS),
}
GP = {"bounds": [[-1, 1]], "features": 32, "learning_starts": 100}
MODELS: dict[str, dict[str, Any]] = {
    "ensemble": {"hidden": [16], "members": 3},
    "gp": {**GP, "personal": True},
    "exact_gp": {"bounds": [[-1, 1]], "batch_size": 60, "iterations": 3},
}
FEATURES = Features(Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0]), 1)


def learner(name: str, device: str) -> Learner:
    more, policy_spec = LEARNERS[name]
    given = {"learner": {"kind": name.split(",")[0], "hidden": [16], "device": device, **more}}
    settings: LearnerSettings = AgentSettings.model_validate(given).learner
    made: Learner = create("learner", settings)(settings, policy_spec, 4, 0)
    return made


def model(name: str, device: str) -> WorldModel:
    given = {"world_model": {"kind": name.split(",")[0], "device": device, **MODELS[name]}}
    settings = AgentSettings.model_validate(given).world_model
    assert isinstance(settings, WorldModelSettings)
    made: WorldModel = create("world_model", settings)(settings, FEATURES, 0, 0)
    return made


def batch(name: str, seed: int) -> Batch:
    """Transitions for this learner; for `ppo` and `impala` a rollout of 8 steps of 4 copies, and for other recurrent ones as many."""
    rollout, policy_spec = name.startswith(("ppo", "impala")), LEARNERS[name][1]
    shape = (8, 4) if rollout or "recurrent" in LEARNERS[name][0] else (32,)
    random = np.random.default_rng(seed)

    def floats(*size: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal((*shape, *size)).astype(np.float32))

    memory = {"memory": floats(32)} if "recurrent" in LEARNERS[name][0] else {}
    action = np.stack([random.integers(0, n, shape) for n in (3, 2)], axis=-1) if policy_spec.actions else random.uniform(0, 1, (*shape, 2))
    return Batch(
        floats(3), floats(2), torch.from_numpy(action if policy_spec.actions else action.astype(np.float32)), floats(), floats(3),
        torch.zeros(shape), torch.ones(shape), torch.zeros(shape), torch.zeros(shape) if rollout else None,
        {"log_probability": -1 - floats().abs(), **memory} if rollout else {},
    )  # fmt: skip


def transitions(seed: int, n: int = 60) -> ModelData:
    random = np.random.default_rng(seed)
    observation, action = random.uniform(-1, 1, (n, 1, 2)).astype(np.float32), random.uniform(-1, 1, (n, 2)).astype(np.float32)
    following = observation[:, -1] + 0.1 * action
    return ModelData(observation, action, following, np.zeros(n, np.float32), np.zeros(n, np.float32))


def taught(name: str, device: str) -> Learner:
    made = learner(name, device)
    for seed in range(5):
        made.learn(batch(name, seed))
    return made


def fitted(name: str, device: str) -> WorldModel:
    made = model(name, device)
    if name.startswith("gp"):
        made.absorb(transitions(0, 200))  # type: ignore[attr-defined]
        made.refit()  # type: ignore[attr-defined]
    for seed in range(3):
        made.fit([transitions(3 * seed + member) for member in range(MODELS[name].get("members", 1))])
    return made


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], exactly: bool) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        difference = (tensor.cpu().double() - other[name].cpu().double()).abs().max() if tensor.numel() else 0.0
        assert difference == 0 if exactly else difference < 1e-3, name


def acted(made: Learner, explore: bool) -> dict[str, Any]:
    observations, goals = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)
    choice = made.act(observations, goals, np.arange(4), np.zeros(4, bool), explore)
    return {"actions": choice.actions, **choice.extras}


def test_auto_is_a_gpu_where_there_is_one_and_cpu_is_the_cpu() -> None:
    assert device_of("auto", "x") == (torch.device("cuda", 0) if torch.cuda.is_available() else CPU)
    assert device_of("cpu", "x") == CPU


@WITHOUT
@pytest.mark.parametrize("name", [*LEARNERS, *MODELS])
def test_cuda_without_a_gpu_is_refused_with_the_key_and_the_cure(name: str) -> None:
    key, make = ("learner", learner) if name in LEARNERS else ("world_model", model)
    with pytest.raises(ConfigurationError, match=rf"agents\.{key}\.device is cuda, .* sees no GPU .* write auto or cpu"):
        make(name, "cuda")  # type: ignore[operator]


@WITHOUT
@pytest.mark.parametrize("part", ["learner", "world_model"])
def test_an_agent_says_so_before_it_joins(part: str) -> None:
    given = {"learner": DoubleDQNSettings(), "world_model": EnsembleSettings()}
    check_devices(AgentSettings(**given))
    with pytest.raises(ConfigurationError, match=rf"agents\.{part}\.device"):
        check_devices(AgentSettings(**{**given, part: given[part].model_copy(update={"device": "cuda"})}))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_moves_as_a_whole_or_not_at_all(name: str) -> None:
    given = batch(name, 0)
    assert given.to(CPU) is given
    elsewhere = given.to(torch.device("meta"))
    for field, tensor in {**vars(elsewhere), **elsewhere.extras}.items():
        if field != "extras" and (field in given.extras or getattr(given, field) is not None):
            assert tensor.device.type == "meta", field


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_learns_and_acts_alike_everywhere(name: str, device: str, tmp_path: Path) -> None:
    here, there = taught(name, "cpu"), taught(name, device)
    exactly = device_of(device, "x") == CPU  # type: ignore[arg-type]
    alike(here.state_dict(), there.state_dict(), exactly)
    for explore in (True, False):
        one, other = acted(here, explore), acted(there, explore)
        for key, values in one.items():
            assert isinstance(other[key], np.ndarray) and other[key].dtype == values.dtype
            np.testing.assert_allclose(other[key], values, atol=0 if exactly else 1e-2)
    moved(here, there, lambda: learner(name, "cpu"), lambda: learner(name, device), tmp_path)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_predicts_alike_everywhere(name: str, device: str, tmp_path: Path) -> None:
    here, there = fitted(name, "cpu"), fitted(name, device)
    exactly = device_of(device, "x") == CPU  # type: ignore[arg-type]
    asked = transitions(99)
    given = asked.observation, asked.action
    found = [(part.predict(*given), part.sample(*given, np.random.default_rng(0))) for part in (here, there)]
    pairs = list(zip(*found, strict=True))
    if isinstance(here, GPModel | Ensemble) and isinstance(there, GPModel | Ensemble):
        pairs.append((here.draw(np.random.default_rng(0))(*given), there.draw(np.random.default_rng(0))(*given)))
    for one, other in pairs:
        for field in ("observation", "reward", "terminated", "epistemic", "aleatoric"):
            np.testing.assert_allclose(getattr(other, field), getattr(one, field), atol=0 if exactly else 1e-3, err_msg=field)
    moved(here, there, lambda: model(name, "cpu"), lambda: model(name, device), tmp_path)


Part = Learner | WorldModel


def moved(here: Part, there: Part, make_here: Callable[[], Part], make_there: Callable[[], Part], directory: Path) -> None:
    """What was learnt on either device goes on, through the disk, on the other one."""
    for number, (old, make) in enumerate(((here, make_there), (there, make_here))):
        checkpoints.write(directory / str(number), 1, old.state_dict(), {}, 1)
        found = checkpoints.read_newest(directory / str(number))
        assert found is not None and all(tensor.device == CPU for tensor in found.tensors.values())
        new = make()
        new.load_state_dict(found.tensors)
        alike(old.state_dict(), new.state_dict(), exactly=True)


@pytest.mark.parametrize("device", DEVICES)
def test_averages_arrive_where_the_parameters_are(device: str) -> None:
    settings = ConsensusSettings(mode="mh", groups=["critic"], every=Period(updates=1))
    learners = [taught("double_dqn", device), learner("double_dqn", "cpu")]
    learners[1].learn(batch("double_dqn", 77))
    names = ["a", "b"]
    each = [ParameterAveraging(settings, FixedNeighbourhood({names[1 - i]: 0.5}), [learners[i]]) for i in range(2)]
    for averaging, other in zip(each, names[::-1], strict=True):
        averaging.machine.peer_alive(other, 0, 0.0)
    before = [one.parameter_groups()["critic"][0].detach().cpu().clone() for one in learners]
    for updates in (0, 1):
        for averaging in each:
            averaging.consider(ProgressCounts(updates, 0, updates, float(updates)), float(updates))
    for i in range(2):
        for send in each[i].machine.outgoing():
            each[1 - i].machine.receive(names[i], send.message, send.arrays, 1.0)
    for averaging in each:
        averaging.machine.tick(1.0)
        averaging.apply()
        assert averaging.take_reports(), "the round is closed"
    for one in learners:
        torch.testing.assert_close(one.parameter_groups()["critic"][0].cpu(), (before[0] + before[1]) / 2)
