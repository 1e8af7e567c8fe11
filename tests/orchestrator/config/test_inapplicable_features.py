"""Features that do not apply are switched off, with one notice each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import Loaded, load
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.resolved_configuration import resolved_yaml

CONFIGS = Path(__file__).parents[3] / "configs"
MAIN = CONFIGS / "4agents_ring.yaml"
OCCUPIED = "env_server.goals.measures:landmark_occupied"
LARGE = MachineResources(cores=1e6, memory=2**60, gpu=False)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text("until: {episodes: 3}\n" + text)
        return path

    return made


def switched_off(loaded: Loaded) -> list[str]:
    assert all(problem.severity == "notice" for problem in loaded.warnings), loaded.warnings
    return [problem.path for problem in loaded.warnings]


def test_the_main_configuration_with_an_environment_without_goals() -> None:
    loaded = load(MAIN, ["environment.id=mpe2:simple_spread_v3", "until.time=20s"], machine=LARGE)
    assert switched_off(loaded) == [
        "environment.options.N", "environment.options", "agents.goals", "exchange.negotiation", "exchange.hindsight",
    ]  # fmt: skip
    configuration = loaded.configuration
    assert configuration.environment.options == {"N": 4}
    assert configuration.agents.goals is None
    assert (configuration.exchange.negotiation, configuration.exchange.hindsight) == (None, None)
    assert configuration.exchange.consensus is not None, "what applies stays"
    assert configuration.agents.learner.model_dump()["value_range"] is None, "its default is the range of goals"
    assert loaded.origins["exchange.negotiation"] == "does not apply"
    assert "exchange.negotiation: switched off: mpe2:simple_spread_v3 has no goals; environment.goals adds them" in loaded.notices
    assert all(f"# {notice}" in resolved_yaml(configuration, notices=loaded.notices) for notice in loaded.notices)


@pytest.mark.parametrize("count", [4, 5])
def test_the_option_is_set_to_the_value_that_gives_the_number_of_agents(write: Write, count: int) -> None:
    loaded = load(write(f"environment: {{id: 'mpe2:simple_adversary_v3'}}\nagents: {{count: {count}}}\n"), machine=LARGE)
    assert loaded.configuration.environment.options == {"N": count - 1}
    text = f"environment.options.N: set to {count - 1}, which makes {count} agents (agents.count)"
    assert any(notice.startswith(text) for notice in loaded.notices), loaded.notices


def test_the_resolved_form_loads_to_the_same_without_notices(tmp_path: Path) -> None:
    loaded = load(MAIN, ["environment.id=mpe2:simple_spread_v3"], machine=LARGE)
    again = tmp_path / "config.yaml"
    again.write_text(resolved_yaml(loaded.configuration, notices=loaded.notices))
    other = load(again, machine=LARGE)
    assert (other.configuration, other.digest, other.warnings) == (loaded.configuration, loaded.digest, [])


def test_strict_turns_notices_into_errors() -> None:
    with pytest.raises(Problems, match="5 notices"):
        load(MAIN, ["environment.id=mpe2:simple_spread_v3"], machine=LARGE, strict=True)


def test_defaults_are_switched_off_without_a_notice(write: Write) -> None:
    loaded = load(write("environment: {id: 'gymnasium:CartPole-v1'}\nagents: {count: 1, learner: double_dqn}\n"), machine=LARGE)
    assert loaded.warnings == []
    assert loaded.configuration.agents.goals is None


def test_flattened_observations_are_a_notice(write: Write) -> None:
    loaded = load(write("environment: {id: 'gymnasium:Blackjack-v1'}\nagents: {count: 1}\n"), machine=LARGE)
    text = "observations Tuple(Discrete(32), Discrete(11), Discrete(2)) of agent-0 are flattened to one vector of 45 numbers"
    assert [line for line in loaded.notices if line.startswith("environment")] == [f"environment.id: {text} (discrete values one-hot)"]


FLOATS = """
import gymnasium
import numpy as np


class Floats(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (20, 20, 1), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros((20, 20, 1), np.float32), {}

    def step(self, action):
        return np.zeros((20, 20, 1), np.float32), 0.0, True, False, {}
"""


def test_images_of_another_dtype_are_a_notice(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "floats_of_a_test.py").write_text(FLOATS)
    monkeypatch.chdir(tmp_path)
    file = write("environment: {id: './floats_of_a_test.py:Floats'}\nagents: {count: 1}\n")
    text = (
        "observations Box(0.0, 1.0, (20, 20, 1), float32) of agent-0 are flattened to one vector of 400 numbers (images have dtype uint8)"
    )
    assert f"environment.id: {text}" in load(file, machine=LARGE).notices
    with pytest.raises(Problems) as caught:
        load(file, ["agents.learner={kind: ppo, network: cnn}"], machine=LARGE)
    text = "images have dtype uint8, and it shows Box(0.0, 1.0, (20, 20, 1), float32); return values from 0 to 255 as uint8, or write auto"
    assert text in str(caught.value)


IMAGES = """\
environment:
  id: gymnasium:minigrid:MiniGrid-Empty-5x5-v0
  wrappers: [{of: "minigrid.wrappers:RGBImgObsWrapper", arguments: {tile_size: 32}}, "minigrid.wrappers:ImgObsWrapper"]
agents: {count: 1}
"""


def test_reduced_images_are_a_notice(write: Write) -> None:
    text = "environment.images.size: images of agent-0 of 160 x 160 pixels are reduced to 84 x 84; environment.images.size sets"
    assert any(line.startswith(text) for line in load(write(IMAGES), machine=LARGE).notices)
    untouched = load(write(IMAGES), ["environment.images.size=null"], machine=LARGE)
    assert not any("pixels" in line for line in untouched.notices)


def test_learners_of_images_have_defaults_for_them(write: Write) -> None:
    learner = load(write(IMAGES), machine=LARGE).configuration.agents.learner
    assert (learner.kind, learner.hidden, learner.learning_rate) == ("ppo", [512], 2.5e-4)
    for given, hidden in (("network=impala_cnn", [256]), ("hidden=[32]", [32])):
        assert load(write(IMAGES), [f"agents.learner.{given}"], machine=LARGE).configuration.agents.learner.hidden == hidden
    plain = load(write(IMAGES), ["agents.learner.network=mlp"], machine=LARGE).configuration.agents.learner
    assert (plain.hidden, plain.learning_rate) == (type(plain)().hidden, type(plain)().learning_rate)


def test_buffers_of_images_that_memory_cannot_hold_are_a_warning(write: Write) -> None:
    machine = MachineResources(cores=64, memory=3 * 2**30)
    arguments = ["agents.learner=double_dqn", "launch.resources.agent.memory=1GiB", "launch.resources.env.memory=1GiB"]
    loaded = load(write(IMAGES), arguments, machine=machine)
    text = "replay buffers of images fill up to 4 GiB, one byte for each value, and this machine has 3 GiB"
    assert [problem.path for problem in loaded.warnings if text in problem.text] == ["agents.buffer.transitions"]
    smaller = load(write(IMAGES), [*arguments, "environment.images.grayscale=true"], machine=machine)
    assert not any("replay buffers" in problem.text for problem in smaller.warnings)


def test_image_settings_without_images_are_a_warning(write: Write) -> None:
    loaded = load(write("environment: {id: 'gymnasium:CartPole-v1', images: {grayscale: true}}\nagents: {count: 1}\n"), machine=LARGE)
    assert [problem.text for problem in loaded.warnings if problem.severity == "warning"] == [
        "has no effect: gymnasium:CartPole-v1 shows no images"
    ]
    text = "environment: {id: 'gymnasium:CartPole-v1', images: {frame_skip: 2, sticky_actions: 0.1}}\nagents: {count: 1}\n"
    assert not [problem for problem in load(write(text), machine=LARGE).warnings if problem.severity == "warning"]


def test_the_number_of_pistons_is_that_of_the_agents(write: Write) -> None:
    loaded = load(write("environment: {id: 'pettingzoo.butterfly:pistonball_v6'}\nagents: {count: 5}\n"), machine=LARGE)
    assert loaded.configuration.environment.options == {"n_pistons": 5}


def test_joint_steps_are_refused_where_only_some_agents_take_part(write: Write) -> None:
    text = "environment: {id: 'particles:simple_spread', options: {team_sizes: [2, 3]}}\nagents: {count: 3, learner: {kind: qmix}}\n"
    with pytest.raises(Problems, match="has only some of the agents, and joint steps are those of all"):
        load(write(text), machine=LARGE)


def test_joint_steps_are_refused_where_agents_act_in_turns(write: Write) -> None:
    text = "environment: {id: 'pettingzoo.classic:tictactoe_v3'}\nagents: {count: 2, learner: {kind: vdn}}\n"
    with pytest.raises(Problems, match=r"act in turns.*; choose discrete_sac, double_dqn, impala or ppo"):
        load(write(text), machine=LARGE)


def test_wrappers_of_another_environment_are_dropped(write: Write) -> None:
    text = "environment: {id: 'gymnasium:Pendulum-v1', wrappers: ['gymnasium.wrappers:TimeAwareObservation']}\nagents: {count: 1}\n"
    loaded = load(write(text), ["environment.id=gymnasium:CartPole-v1"], machine=LARGE)
    assert [problem.path for problem in loaded.warnings if problem.severity != "choice"] == ["environment.wrappers"]
    assert loaded.configuration.environment.wrappers == []


def test_goals_that_are_written_and_those_of_one_agent(write: Write) -> None:
    text = "environment: {id: reward_collection}\nagents: {count: 2, learner: {kind: sac}, overrides: {agent-1: {goals: {kind: bandit}}}}\n"
    loaded = load(write(text + "exchange: {hindsight: {}}\n"), machine=LARGE)
    assert switched_off(loaded) == ["agents.overrides.agent-1.goals", "exchange.hindsight"]
    assert loaded.configuration.agents.overrides == {"agent-1": {"goals": None}}


def test_one_agent_exchanges_nothing(write: Write) -> None:
    text = (
        "environment: {id: reward_collection}\nagents: {count: 1, learner: {kind: sac}, world_model: {kind: gp, imagined_ratio: 0}}\n"
        "exchange: {consensus: {groups: [policy]}, statistics: {}, plans: {}, experience: {}}\n"
    )
    loaded = load(write(text), machine=LARGE)
    assert switched_off(loaded) == ["exchange.consensus", "exchange.statistics", "exchange.plans", "exchange.experience"]
    assert not any(loaded.configuration.exchange.model_dump().values())


def test_a_supervisor_of_goals_that_do_not_exist(write: Write) -> None:
    loaded = load(
        write("environment: {id: 'gymnasium:CartPole-v1', supervisor: {}}\nagents: {count: 1, learner: double_dqn}\n"), machine=LARGE
    )
    assert switched_off(loaded) == ["environment.supervisor"]


def test_a_world_model_of_vectors_where_images_are_shown(write: Write) -> None:
    text = (
        "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0'}\n"
        "agents: {count: 2, learner: double_dqn, world_model: {kind: gp, imagined_ratio: 0}}\n"
        "exchange: {statistics: {}, consensus: {groups: [critic]}}\n"
    )
    loaded = load(write(text), machine=LARGE)
    assert switched_off(loaded) == ["agents.world_model", "exchange.statistics"]
    assert loaded.configuration.agents.world_model is None


def test_the_default_groups_are_those_that_the_agents_have(write: Write) -> None:
    loaded = load(write("environment: {id: landmarks}\nexchange: {consensus: {}}\n"), machine=LARGE)
    assert loaded.warnings == []
    assert loaded.configuration.exchange.consensus is not None
    assert loaded.configuration.exchange.consensus.groups == ["critic"]


@pytest.mark.parametrize(
    ("environment", "learner", "copies"),
    [
        ("id: 'gymnasium:CartPole-v1'", "double_dqn", 4),
        ("id: 'gymnasium:CartPole-v1'", "ppo", 16),
        ("id: 'gymnasium:CartPole-v1', copies: 16", "double_dqn", 16),
        ("id: 'gymnasium:Pendulum-v1'", "auto", 4),
        ("id: landmarks", "double_dqn", 16),
    ],
)
def test_copies_where_none_are_given(write: Write, environment: str, learner: str, copies: int) -> None:
    count = 2 if "landmarks" in environment else 1
    loaded = load(write(f"environment: {{{environment}}}\nagents: {{count: {count}, learner: {learner}}}\n"), machine=LARGE)
    assert loaded.configuration.environment.copies == copies
    given = loaded.origins["environment.copies"]
    assert given == "default for this environment" if copies == 4 else given != "default for this environment"


def test_options_of_another_environment_stay_in_the_base_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("until: {episodes: 3}\nenvironment: {id: landmarks, copies: 4, options: {room: 300}}\n")
    path = tmp_path / "x.yaml"
    path.write_text("extends: base.yaml\nenvironment: {id: reward_collection, options: {variant: far}}\nagents: {learner: {kind: sac}}\n")
    loaded = load(path, machine=LARGE)
    assert switched_off(loaded) == ["environment.options"]
    assert (loaded.configuration.environment.options, loaded.configuration.environment.copies) == ({"variant": "far"}, 4)
    same = load(path, ["environment.id=reward_collection"], machine=LARGE)
    assert same.configuration == loaded.configuration


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("{id: landmarks}", (0.0, 1.0)),
        ("{id: 'gymnasium:CartPole-v1'}", None),
        ("{id: landmarks, options: {premium: 0.5}}", None),
        (
            "{id: 'mpe2:simple_spread_v3', goals: {of: '" + OCCUPIED + "', count: 3, rule: exclusive}}",
            (0.0, 1.0),
        ),
        (
            "{id: 'mpe2:simple_spread_v3', goals: {of: '" + OCCUPIED + "', count: 3, ends: false}}",
            None,
        ),
    ],
)
def test_targets_are_clamped_by_default_where_goals_pay_once_and_at_most_1(
    write: Write, environment: str, expected: tuple[float, float] | None
) -> None:
    count = 1 if "CartPole" in environment else 3
    text = f"environment: {environment}\nagents: {{count: {count}, learner: {{kind: double_dqn}}}}\n"
    loaded = load(write(text), machine=LARGE)
    assert loaded.configuration.agents.learner.model_dump()["value_range"] == expected
    assert [problem for problem in loaded.warnings if problem.severity != "choice"] == []
    if expected:
        assert loaded.origins["agents.learner.value_range"] == "default for this environment"
    given = load(write(text), ["agents.learner.value_range=[0, 2]"], machine=LARGE)
    assert given.configuration.agents.learner.model_dump()["value_range"] == (0.0, 2.0)


def chosen_discount(loaded: Loaded) -> tuple[float, list[str]]:
    """The discount, and the notices of its choice."""
    lines = [one.message for one in loaded.warnings if one.path == "agents.learner.discount" and one.severity == "choice"]
    return loaded.configuration.agents.learner.discount, lines


@pytest.mark.parametrize(
    ("text", "discount"),
    [
        ("environment: {id: 'mpe2:simple_spread_v3'}\nagents: {count: 3}\n", 0.96),
        ("environment: {id: 'mpe2:simple_spread_v3', options: {max_cycles: 10}}\nagents: {count: 3}\n", 0.9),
        ("environment: {id: 'particles:simple_spread', options: {horizon: 50}}\nagents: {count: 3}\n", 0.98),
        ("environment: {id: 'gymnasium:Pendulum-v1', options: {max_episode_steps: 30}}\nagents: {count: 1}\n", 0.9667),
        ("environment: {id: 'particles:two_basins', options: {horizon: 1}}\nagents: {count: 2, learner: sac}\n", 0.0),
    ],
)
def test_the_discount_of_short_episodes(write: Write, text: str, discount: float) -> None:
    loaded = load(write(text), machine=LARGE)
    value, lines = chosen_discount(loaded)
    assert value == discount
    assert len(lines) == 1
    assert f"{discount} was chosen" in lines[0]
    given, none = chosen_discount(load(write(text), ["agents.learner.gamma=0.97"], machine=LARGE, strict=True))
    assert (given, none) == (0.97, [])


@pytest.mark.parametrize(
    "text",
    [
        "environment: {id: 'gymnasium:CartPole-v1'}\nagents: {count: 1}\n",
        "environment: {id: reward_collection}\nagents: {count: 2}\n",
        "environment: {id: 'pettingzoo.classic:tictactoe_v3'}\nagents: {count: 2}\n",
        f"environment: {{id: 'mpe2:simple_spread_v3', goals: {{of: '{OCCUPIED}', count: 3}}}}\nagents: {{count: 3}}\n",
    ],
)
def test_the_usual_discount_of_long_episodes_those_without_a_limit_and_goals(write: Write, text: str) -> None:
    value, lines = chosen_discount(load(write(text), machine=LARGE))
    assert (value, lines) == (0.99, [])
