"""Recorded episodes are those that were played, with the log-probabilities of the policies that played them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from env_server.environments import registry
from orchestrator.config import loader as configuration_loader
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.mixture import parse_mixture, quotas
from orchestrator.datasets.recording import record_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.runtime.errors import ConfigurationError, UsageError
from protocols.runtime.seeds import Stream, integer
from tests.orchestrator.cli.conftest import REPOSITORY
from tests.orchestrator.cli.test_play_policies import make_run

CONFIGS = REPOSITORY / "configs"
SPREAD = CONFIGS / "environments/particles_spread.yaml"


def configuration(path: Path = SPREAD, *overrides: str) -> Configuration:
    return configuration_loader.load(path, ["environment.copies=4", *overrides], {}).configuration


def record(folder: Path, mix: str, total: int, config: Configuration, by_steps: bool = False, seed: int = 0) -> Dataset:
    mixture = parse_mixture(mix)
    record_dataset(folder / "data", config, mixture, quotas(mixture, total), by_steps, seed, folder / "runs")
    dataset = Dataset(folder / "data")
    dataset.verify()
    return dataset


def replayed(config: Configuration, shards: dict[str, list[ShardEpisode]], seed: int) -> None:
    """The environment gives the recorded observations, rewards and ends for the recorded actions, episode by episode."""
    names = config.agent_names()
    environment = registry.create(config.environment.model_copy(update={"copies": 1}), names, None, 0)
    for parts in zip(*(shards[name] for name in names), strict=True):
        outcome = environment.reset(integer(seed, "dataset", Stream.ENVIRONMENT), parts[0].number)
        for step in range(max(part.steps for part in parts)):
            for name, part in zip(names, parts, strict=True):
                assert np.array_equal(outcome.agents[name].observation[0], part.observation[step])
            outcome = environment.step({name: part.action[step][None] for name, part in zip(names, parts, strict=True)})
            for name, part in zip(names, parts, strict=True):
                assert outcome.agents[name].reward[0] == part.reward[step] and part.moment[step] == step
        for name, part in zip(names, parts, strict=True):
            assert np.array_equal(outcome.agents[name].observation[0], part.observation[-1])
    environment.close()


@pytest.mark.parametrize("identifier", ["particles:simple_spread", "mpe2:simple_spread_v3"])
def test_recorded_episodes_can_be_played_again(tmp_path: Path, identifier: str) -> None:
    options = "environment.options={max_cycles: 7}" if identifier.startswith("mpe2") else "environment.options={horizon: 7}"
    config = configuration(SPREAD, f"environment.id={identifier}", options)
    dataset = record(tmp_path, "a=random,b=random", 7, config, seed=3)
    shards = {agent: list(dataset.episodes(agent)) for agent in dataset.manifest.agents}
    assert [part.number for part in shards["agent-0"]] == [0, 1, 2, 3, 2**32, 2**32 + 1, 2**32 + 2]
    assert all(part.truncated and part.steps == 7 for part in shards["agent-1"])
    replayed(config, shards, 3)


def test_exact_log_probabilities_of_scripted_policies(tmp_path: Path) -> None:
    """ln of (1 - epsilon) [a is the policy's] + epsilon / 5."""
    config = configuration()
    dataset = record(tmp_path, "cover@0.5", 6, config)
    rule = registry.scripted_policies(config.environment, config.agent_names())["cover"]
    layout, same = dataset.manifest.shards[1].layout, []
    for part in dataset.episodes("agent-1"):
        chosen = (rule("agent-1", layout, part.observation[:-1]) == part.action)[:, 0]
        assert np.allclose(part.log_probability, np.log(0.5 * chosen + 0.1))
        same += chosen.tolist()
    assert 0.4 < np.mean(same) < 0.8


def test_steps_are_asked_for_in_whole_episodes(tmp_path: Path) -> None:
    dataset = record(tmp_path, "random:1/2,cover:1/2", 1000, configuration(), by_steps=True)
    assert [one.episodes for one in dataset.manifest.behaviours] == [7, 7]  # of 75 transitions each
    assert dataset.manifest.environment.options["horizon"] == 25


def test_short_episodes_are_not_favoured(tmp_path: Path) -> None:
    """CartPole: the recorded episodes are the first by number, whichever ended first; each copy has one agent."""
    config = configuration(CONFIGS / "environments/cartpole.yaml", "environment.copies=8")
    dataset = record(tmp_path, "random", 12, config)
    shards = [episode for agent in dataset.manifest.agents for episode in dataset.episodes(agent)]
    assert sorted(episode.number for episode in shards) == list(range(12))
    assert all(episode.terminated and episode.total_reward == episode.steps for episode in shards)


def test_agents_that_take_turns(tmp_path: Path) -> None:
    """Tic-tac-toe: legal random moves, each part has its own moves, and the moments of both make up the game."""
    config = configuration(CONFIGS / "standard/tictactoe.yaml")
    dataset = record(tmp_path, "random", 20, config)
    first, second = (list(dataset.episodes(agent)) for agent in dataset.manifest.agents)
    for own, other in zip(first, second, strict=True):
        moments = sorted([*own.moment.tolist(), *other.moment.tolist()])
        assert moments == list(range(len(moments))) and own.moment[0] == 0 and own.number == other.number
        mask = own.observation[:-1, -9:]
        assert (mask[np.arange(own.steps), own.action[:, 0]] == 1).all()
        assert np.allclose(own.log_probability, -np.log(mask.sum(axis=1)))
    assert dataset.manifest.shards[0].layout.mask


@pytest.mark.parametrize("learner", ["ppo", "double_dqn"])
def test_agents_of_a_run(tmp_path: Path, learner: str) -> None:
    """Their log-probabilities are those of the learner, whose first policy is far from certain."""
    config = configuration(SPREAD, f"agents.learner={{kind: {learner}}}")
    make_run(tmp_path / "runs/night", SPREAD, "environment.copies=4", f"agents.learner={{kind: {learner}}}")
    dataset = record(tmp_path, "expert=night", 8, config)
    likely = np.concatenate([part.log_probability for part in dataset.episodes("agent-2")])
    assert np.isfinite(likely).all() and (likely <= 0).all() and -3.5 < likely.mean() < -0.01
    (one,) = dataset.manifest.behaviours
    assert (one.name, one.policy) == ("expert", "night")


def test_a_run_of_fewer_agents_plays_with_more(tmp_path: Path) -> None:
    """Where observations have the same size; else the error states that the checkpoint does not fit."""
    make_run(tmp_path / "runs/night", SPREAD, "environment.copies=4")
    with pytest.raises(Exception, match="does not fit"):
        record(tmp_path, "night", 4, configuration(SPREAD, "agents.count=5"))
    assert not (tmp_path / "data").exists()


def test_functions_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.py").write_text(
        "import numpy as np\n"
        "def right(agent, observation, random):\n    return np.full(len(observation), 2)\n"
        "def known(agent, observation, random):\n    return np.full((len(observation), 1), 1), np.zeros(len(observation))\n"
        "def wrong(agent, observation, random):\n    return np.full(len(observation), 7)\n"
        "def short(agent, observation, random):\n    return np.zeros(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    dataset = record(tmp_path, "./rules.py:right:1/2,./rules.py:known:1/2", 4, configuration())
    parts = list(dataset.episodes("agent-0"))
    assert all((part.action == 2 - part.behaviour).all() for part in parts)
    assert np.isnan(parts[0].log_probability).all() and (parts[-1].log_probability == 0).all()
    for name, text in (("wrong", "its choices are"), ("short", r"write \[4, 1\]")):
        with pytest.raises(UsageError, match=text):
            record(tmp_path / name, f"./rules.py:{name}", 4, configuration())


def test_continuous_actions_lie_within_their_bounds(tmp_path: Path) -> None:
    config = configuration(SPREAD, "environment.options.actions=continuous", "agents.learner={kind: sac}")
    dataset = record(tmp_path, "random,cover", 4, config)
    parts = list(dataset.episodes("agent-0"))
    assert all((np.abs(part.action) <= 1).all() and part.action.dtype == np.float32 for part in parts)
    assert np.allclose(parts[0].log_probability, -2 * np.log(2)) and np.isnan(parts[-1].log_probability).all()


@pytest.mark.parametrize(
    ("path", "mix", "kind", "text"),
    [
        (SPREAD, "covr", UsageError, "it has random, cover, leave"),
        (SPREAD, "./none.py:policy", ConfigurationError, "there is no file"),
        (CONFIGS / "4agents_ring.yaml", "random", UsageError, "has goals, and datasets hold none"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, path: Path, mix: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        record(tmp_path, mix, 4, configuration(path))
    assert not list(tmp_path.iterdir())
