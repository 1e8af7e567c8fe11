"""`orchestrate test`: agents from their checkpoints act as in a run, are filmed, and errors name what can't be played."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from agent_node.session import checkpoints
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import LEARNER
from agent_node.session.session_context import settings_of
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments import registry
from orchestrator.cli.app import main
from orchestrator.config import loader as configuration_loader
from orchestrator.config.resolved_configuration import canonical_json
from orchestrator.results.playback import video
from orchestrator.results.playback.checkpoint_episodes import FIRST_EPISODE
from orchestrator.results.playback.video import VideoWriter, padded
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ExitCode
from tests.orchestrator.cli.conftest import CONFIG, REPOSITORY

GRID = REPOSITORY / "configs" / "environments" / "minigrid.yaml"
POLE = REPOSITORY / "configs" / "environments" / "cartpole.yaml"
Play = Callable[..., Any]


def make_run(directory: Path, config: Path, *overrides: str) -> Path:
    """A run directory as it is after a start from `config`: every agent's parts, as they begin, are in a checkpoint."""
    loaded = configuration_loader.load(config, list(overrides), {}).configuration
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(canonical_json(loaded))
    plain = loaded.model_dump(mode="json")
    names = loaded.agent_names()
    layouts = registry.describe(loaded.environment, names).layouts
    for name in names:
        exchange = ExchangeSettings.model_validate(plain["exchange"])
        parts = AgentComponents(settings_of(name, plain), exchange, layouts[name], loaded.environment.copies, name, loaded.seed)
        tensors, manifest = parts.state()
        there = directory / "nodes" / name / "checkpoints"
        checkpoints.write(there, 7, tensors, {"updates": 7, "episodes": 3, "steps": 30, **manifest}, keep=2)
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "grid", GRID, "environment.options.arguments.max_steps=20", "agents.count=2")
    make_run(folder / "ring", CONFIG, "environment.options.horizon=12")
    make_run(folder / "pole", POLE)
    return folder


@pytest.fixture
def play(runs: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    """Call `orchestrate test`; its output, parsed with `--json`. With `fails` the exit code and the error's text."""

    def call(*arguments: object, fails: bool = False) -> Any:
        words = [str(argument) for argument in arguments]
        with pytest.raises(SystemExit) as end:
            main(["--runs-dir", str(runs), "test", *words])
        told = capsys.readouterr()
        if fails:
            assert not told.out
            return end.value.code, told.err
        assert end.value.code == 0, told.err
        return json.loads(told.out) if "--json" in words else told.out

    return call


def test_the_policy_of_the_checkpoint_plays(runs: Path, play: Play) -> None:
    """Step by step as the learner itself chooses, asked without any of the command's parts."""
    loaded = configuration_loader.load(GRID, ["environment.options.arguments.max_steps=20", "agents.count=2"], {}).configuration
    plain = loaded.model_dump(mode="json")
    settings = settings_of("agent-1", plain)
    settings = settings.model_copy(update={"learner": settings.learner.model_copy(update={"evaluation": "mode"})})
    world = registry.create(loaded.environment.model_copy(update={"copies": 1}), ["agent-1"], seed=5)
    parts = AgentComponents(settings, ExchangeSettings.model_validate(plain["exchange"]), world.layout("agent-1"), 1, "agent-1", 99)
    (manifest,) = (runs / "grid/nodes/agent-1/checkpoints").glob("*.json")
    held = checkpoints.read(manifest)
    parts.load(held.tensors, held.manifest)
    outcome = world.reset(5, FIRST_EPISODE)
    expected: list[tuple[float, int]] = []
    while len(expected) < 3:
        seen = outcome.agents["agent-1"]
        first = (seen.flags & Flag.FIRST) != 0
        features = parts.features.encode(parts.features.flatten(seen.observation)[:, None])
        outcome = world.step({"agent-1": parts[LEARNER].act(features, np.zeros((1, 0), np.float32), np.arange(1), first, False).actions})
        expected += [(sum(record.rewards), record.lengths[0]) for record in world.finished()]
    told = play("grid", "--agent", "agent-1", "--seed", 5, "-n", 3, "--json")
    assert [(e["return"], e["length"]) for e in told["episodes"]] == expected
    assert all(e["members"] == ["agent-1"] for e in told["episodes"]) and told["goals"] is None
    assert told["checkpoints"] == {"agent-1": {"file": str(manifest), "step": 7, "updates": 7, "episodes": 3, "steps": 30}}
    assert told["means"]["return"]["value"] == pytest.approx(np.mean([reward for reward, _ in expected]))


def test_seeds_repeat_and_sampling_is_another_thing(play: Play) -> None:
    greedy = play("pole", "-n", 5, "--json")
    assert greedy == play("pole", "-n", 5, "--json") and greedy["actions"] == "likeliest" and greedy["agent"] == "agent-0"
    sampled = play("pole", "-n", 5, "--sample", "--json")
    assert sampled["actions"] == "training" and sampled == play("pole", "-n", 5, "--sample", "--json")
    assert sampled["episodes"] != greedy["episodes"] != play("pole", "-n", 5, "--seed", 1, "--json")["episodes"]
    assert greedy["means"]["return"]["n"] == 5 and "success" not in greedy["means"]
    grid = play("grid", "-n", 5, "--json")["means"]
    assert len(grid["success"]["interval"]) == 2 and 0 <= grid["success"]["value"] <= 1


def test_a_table_for_people(runs: Path, play: Play) -> None:
    lines = play("grid", "-n", 5).splitlines()
    assert lines[0] == "agent-0 of grid: checkpoint 7 (updates 7, episodes 3, steps 30)"
    assert lines[1] == "minigrid:MiniGrid-Empty-5x5-v0, seed 0, likeliest actions"
    assert [line.split()[0] for line in lines[3:8]] == list("12345")
    assert [line.split(":")[0] for line in lines[8:]] == ["return", "success", "length"] and "n=5" in lines[-1]
    path = runs / "grid/nodes/agent-1/checkpoints/000000000007.safetensors"
    assert play(path, "-n", 1).startswith("agent-1 of grid: checkpoint 7")


def test_landmarks_are_played_with_one_goal_for_all_members(play: Play) -> None:
    told = play("ring", "-n", 8, "--json")
    assert len(told["checkpoints"]) == 4 and "one goal given to all members" in told["goals"]
    goals = [e["goal"] for e in told["episodes"]]
    assert goals[:6] == list(dict.fromkeys(goals)) and goals[6:] == goals[:2], "six goals in turn"
    assert all(len(e["members"]) == 2 and e["length"] <= 12 and e["success"] is not None for e in told["episodes"])
    assert "goals: one goal given" in play("ring", "-n", 1)
    alone = play("ring", "-n", 6, "--agent", "agent-2", "--json")
    assert all("agent-2" in e["members"] for e in alone["episodes"]) and alone["agent"] == "agent-2"


def test_films_frame_the_cell_that_an_agent_is_after(runs: Path, play: Play, tmp_path: Path) -> None:
    """Nothing else in this level is red at the corner of its cell."""
    two = REPOSITORY / "configs" / "amigo" / "negotiated.yaml"
    make_run(runs / "taught", two, "environment.options.arguments.max_steps=4")
    make_run(runs / "untaught", two, "environment.options.arguments.max_steps=4", "agents.teacher=null", "exchange.negotiation=null")

    def red_corners(name: str) -> int:
        play(name, "-n", 1, "--video", tmp_path / f"{name}.gif")
        with Image.open(tmp_path / f"{name}.gif") as film:
            red, green, blue = np.array(film.convert("RGB"))[1::32, 1::32].transpose(2, 0, 1).astype(int)
        return int(((red > 200) & (green < 60) & (blue < 60)).sum())

    assert (red_corners("taught"), red_corners("untaught")) == (1, 0)


def test_films(runs: Path, play: Play, tmp_path: Path) -> None:
    told = play("grid", "-n", 2, "--sample", "--video", tmp_path / "a.gif", "--json")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (160, 160)
        durations = []
        for number in range(film.n_frames):  # equal pictures in a row are one that lasts longer
            film.seek(number)
            durations.append(film.info["duration"])
    assert len(durations) > 1 and sum(durations) == 100 * told["video"]["pictures"]
    assert told["video"]["pictures"] == sum(e["length"] + 1 for e in told["episodes"])
    told = play("ring", "-n", 1, "--video", tmp_path / "b.mp4", "--fps", 5, "--json")
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "b.mp4"))
    facts = next(frames)
    assert facts["size"] == (480, 480) and facts["fps"] == 5
    assert sum(1 for _ in frames) == told["video"]["pictures"] == told["episodes"][0]["length"] + 1
    play("pole", "-n", 1, "--video", tmp_path / "c.gif")
    with Image.open(tmp_path / "c.gif") as film:
        assert film.size == (608, 400), "600 by 400 as CartPole draws it, in whole blocks"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.mp4", "c.gif"]


def test_agents_in_one_grid_play_and_are_filmed_together(runs: Path, play: Play, tmp_path: Path) -> None:
    make_run(runs / "crowd", GRID, "environment.options.arguments.max_steps=20", "agents.count=3", "environment.options.players=all")
    told = play("crowd", "-n", 2, "--sample", "--video", tmp_path / "a.gif", "--json")
    assert all(e["members"] == ["agent-0", "agent-1", "agent-2"] and e["success"] is not None for e in told["episodes"])
    assert told["video"]["pictures"] == sum(e["length"] + 1 for e in told["episodes"])
    assert play("crowd", "-n", 1, "--agent", "agent-2", "--json")["agent"] == "agent-2"


def test_films_hold_pictures_of_one_size_and_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(video.MOST, ".gif", 3)
    ramp = [np.full((20, 30, 3), 40 * i, np.uint8) for i in range(5)]
    with VideoWriter(tmp_path / "x.gif", 10) as film:
        for picture in [*ramp[:2], np.full((50, 10, 3), 255, np.uint8), ramp[4]]:
            film.add(picture)
    assert film.pictures == 3 and film.cut
    with Image.open(tmp_path / "x.gif") as made:
        assert made.size == (32, 32) and made.n_frames == 3
    page = padded(ramp[2], 32, 32)
    assert (page[:20, :30] == 80).all() and page.sum() == 80 * 20 * 30 * 3
    with pytest.raises(KeyError), VideoWriter(tmp_path / "y.mp4", 10) as film:
        film.add(ramp[0])
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"], "nothing is left of a film that was not finished"


class Blind(gymnasium.Env[Any, Any]):
    """An environment without rendering."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), 0.5, True, False, {}


def test_what_cannot_be_played_or_drawn_says_why(runs: Path, play: Play, tmp_path: Path) -> None:
    gymnasium.register("Blind-v0", Blind)
    make_run(tmp_path / "blind", POLE, "environment.id=gymnasium:Blind-v0")
    bare = make_run(tmp_path / "bare", GRID)
    for file in (bare / "nodes/agent-0/checkpoints").iterdir():
        file.unlink()
    other = make_run(tmp_path / "other", POLE)
    content = json.loads((other / "config.json").read_text())
    content["agents"]["learner"]["hidden"] = [8]
    (other / "config.json").write_text(json.dumps(content))
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    newest = runs / "grid/nodes/agent-1/checkpoints/000000000007.json"
    told = [
        ((GRID,), ExitCode.USAGE, "orchestrate up"),
        ((tmp_path / "notes.json",), ExitCode.USAGE, "is no checkpoint of a run"),
        ((tmp_path / "gone.json",), ExitCode.USAGE, "there is no file"),
        ((tmp_path / "empty",), ExitCode.USAGE, "no run directory"),
        (("gird",), ExitCode.USAGE, 'did you mean "grid"?'),
        (("grid", "--agent", "agent-5"), ExitCode.USAGE, "agent-0 to agent-1"),
        ((newest, "--agent", "agent-0"), ExitCode.USAGE, "is a checkpoint of agent-1"),
        ((bare,), ExitCode.USAGE, "has no checkpoint"),
        ((other,), ExitCode.RESOURCES, "does not fit the configuration"),
        (("grid", "--video", tmp_path / "film.avi"), ExitCode.USAGE, ".mp4 or .gif"),
        (("grid", "--video", tmp_path / "none" / "film.gif"), ExitCode.USAGE, "make it first"),
        ((tmp_path / "blind", "--video", tmp_path / "film.gif"), ExitCode.USAGE, "leave out --video"),
    ]
    for arguments, code, words in told:
        found, text = play(*arguments, fails=True)
        assert (found, words in text) == (code, True), text
    assert play(tmp_path / "blind", "-n", 3, "--json")["means"]["return"]["value"] == 0.5
    assert not (tmp_path / "film.gif").exists()


class Raising(Blind):
    """Its second episode cannot be played."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.episodes += 1
        if self.episodes > 1:
            raise RuntimeError("no second episode")
        return super().reset(seed=seed)


def test_an_environment_that_raises_is_named_in_one_line(play: Play, runs: Path) -> None:
    gymnasium.register("Raising-v0", Raising)
    make_run(runs / "raising", POLE, "environment.id=gymnasium:Raising-v0")
    code, text = play("raising", "-n", 3, "--json", fails=True)
    assert code == ExitCode.ENVIRONMENT and "raised RuntimeError: no second episode (" in text and "Traceback" not in text
    assert text.endswith("check it by orchestrate check-env gymnasium:Raising-v0\n")


def test_without_the_encoder_the_cure_is_told_before_anything_is_played(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.results.playback.video.find_spec", lambda name: None)
    code, text = play("grid", "--video", tmp_path / "film.mp4", fails=True)
    assert code == ExitCode.RESOURCES and "pip install 'murmuration-rl[video]'" in text and "film.gif" in text
    play("grid", "-n", 1, "--video", tmp_path / "film.gif")


def test_a_damaged_checkpoint_is_not_played_and_not_touched(runs: Path, play: Play, tmp_path: Path) -> None:
    run = make_run(tmp_path / "damaged", POLE)
    arrays = run / "nodes/agent-0/checkpoints/000000000007.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-4] + b"\0\1\2\3")
    half = arrays.with_name(".000000000008.safetensors.tmp")
    half.write_bytes(b"its agent is writing the next one")
    code, text = play(run, fails=True)
    assert code == ExitCode.RESOURCES and "SHA-256" in text and half.exists()


def test_another_number_of_agents_and_another_environment(runs: Path, play: Play) -> None:
    """Policies for three agents with observations of constant size act for five; agents 3 and 4 as agents 0 and 1."""
    sizes = "environment.options={N: 3, num_agent_neighbors: 2, num_landmark_neighbors: 3, max_cycles: 6}"
    spread = REPOSITORY / "configs" / "environments" / "particles_spread.yaml"
    make_run(runs / "three", spread, "environment.id=mpe2:simple_spread_v3", sizes, "environment.copies=2")
    more = ("agents.count=5", "environment.options.N=5", "environment.options.max_cycles=9")
    told = play("three", *more, "-n", 2, "--json")
    assert [len(episode["members"]) for episode in told["episodes"]] == [5, 5] and told["episodes"][0]["length"] == 9
    files = {agent: Path(one["file"]).parents[1].name for agent, one in told["checkpoints"].items()}
    assert files == {"agent-0": "agent-0", "agent-1": "agent-1", "agent-2": "agent-2", "agent-3": "agent-0", "agent-4": "agent-1"}
    assert [episode["length"] for episode in play("three", "-n", 1, "--json")["episodes"]] == [6]
    code, text = play("three", "agents.learner.hidden=[3]", fails=True)
    assert code == ExitCode.USAGE and "write environment.KEY=VALUE, agents.count=N or agents.entities=[...]" in text
    code, text = play("three", "environment.options.num_agent_neighbors=1", fails=True)
    assert code == ExitCode.RESOURCES and "does not fit" in text


def test_a_network_over_entities_plays_with_another_number_of_them(runs: Path, play: Play) -> None:
    make_run(runs / "teams", REPOSITORY / "configs" / "environments" / "spread_teams.yaml")
    changed = ("agents.count=7", "environment.options.team_sizes=null")
    code, text = play("teams", "-n", 1, *changed, fails=True)
    assert code == ExitCode.CONFIG and "the parts have 30 components, and 42 are observed" in text
    parts = [("landmarks", 7), ("others", 6), ("others", 6)]
    entities = "".join(f", {{name: {name}, count: {count}, size: 2}}" for name, count in parts)
    told = play("teams", "-n", 2, *changed, f"agents.entities=[{{name: own, size: 4}}{entities}]", "--json")
    assert [len(episode["members"]) for episode in told["episodes"]] == [7, 7]
    assert {len(episode["members"]) for episode in play("teams", "-n", 8, "--json")["episodes"]} <= {3, 4, 5}
