"""Files, extended files, arguments, flags, origins, warnings, and what the checks measure on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.checks.cross_checks import agent_settings
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.resolved_configuration import resolved_yaml
from protocols.runtime.errors import ConfigurationError

LARGE = MachineResources(cores=1e6, memory=2**60)
SMALL = "version: 2\nuntil: {episodes: 3}\nenvironment: {id: landmarks}\n"
MAIN = Path(__file__).parents[3] / "configs" / "4agents_ring.yaml"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "x.yaml") -> Path:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
        return Path(name)

    return write


def message(path: Path, *overrides: str, **options: Any) -> str:
    with pytest.raises(Problems) as caught:
        load(path, overrides, **{"machine": LARGE, **options})
    return str(caught.value)


def test_origins_and_the_order_of_sources(write: Any) -> None:
    write("agents: {count: 2, history: 2}\nseed: 1\nname: base\n" + SMALL, "base/base.yaml")
    path = write("extends: base/base.yaml\nagents:\n  count: 3\nsupervision: {min_agents: 2}\n")
    loaded = load(path, ["agents.learner.learning_rate=0.5", "seed=7"], {"seed": 9, "name": None}, machine=LARGE)
    agents = loaded.configuration.agents
    assert (agents.count, agents.history, agents.learner.learning_rate) == (3, 2, 0.5)
    assert (loaded.configuration.seed, loaded.configuration.name) == (9, "base")
    assert loaded.origins["agents.count"] == "x.yaml:3:10"
    assert loaded.origins["agents.history"] == "base/base.yaml:1:29"
    assert loaded.origins["agents.learner.learning_rate"] == "argument 1"
    assert loaded.origins["seed"] == "flag --seed"
    assert loaded.origins["agents.learner.discount"] == "default"
    assert loaded.source.startswith("extends: base/base.yaml")
    assert "argument 1" in resolved_yaml(loaded.configuration, loaded.origins)


def test_extending_merges_maps_replaces_lists_and_components_of_another_kind(write: Any) -> None:
    write(SMALL + "agents: {learner: {kind: double_dqn, value_range: [0, 2], hidden: [8, 8]}}\n", "base.yaml")
    same = load(write("extends: base.yaml\nagents: {learner: {hidden: [9]}}\n"), machine=LARGE).configuration.agents.learner
    assert same.model_dump()["value_range"] == (0.0, 2.0)
    assert same.hidden == [9]
    other = load(write("extends: base.yaml\nagents: {learner: {kind: discrete_sac}}\n"), machine=LARGE).configuration.agents.learner
    assert (other.kind, other.hidden) == ("discrete_sac", [128, 128])


def test_arguments(write: Any) -> None:
    path = write(SMALL + "network: {topology: {kind: edges, edges: [[agent-0, agent-1], [agent-1, agent-2]]}}\nagents: {count: 3}\n")
    configuration = load(
        path,
        [
            "network.topology.edges+=[agent-0, agent-2]",
            "network.topology.edges.1=[agent-2, agent-1]",
            "agents.overrides.agent-2.learner.learning_rate=1e-4",
            "agents.world_model={kind: ensemble, members: 3}",
            "agents.world_model.hidden=[7]",
            "metrics.sinks.1=null",
            "environment.options.landmarks=4",
            "until.time=2min",
            "agents.learner.batch_size=32",
        ],
        machine=LARGE,
    ).configuration
    assert configuration.network.topology.edges == [("agent-0", "agent-1"), ("agent-2", "agent-1"), ("agent-0", "agent-2")]
    assert agent_settings(configuration, "agent-2").learner.learning_rate == 1e-4
    assert agent_settings(configuration, "agent-1").learner.learning_rate == 2.5e-4
    assert configuration.agents.world_model is not None
    assert configuration.agents.world_model.model_dump()["hidden"] == [7]
    assert [sink.kind for sink in configuration.metrics.sinks] == ["csv"]
    assert configuration.environment.options == {"landmarks": 4}
    assert (configuration.until.time, configuration.agents.learner.model_dump()["batch_size"]) == (120.0, 32)


def test_null_removes_or_is_written(write: Any) -> None:
    path = write(SMALL + "agents: {world_model: {kind: ensemble}, history: 3, overrides: {agent-1: {history: 2}, agent-2: {history: 2}}}\n")
    agents = load(
        path,
        ["agents.world_model=null", "agents.history=null", "agents.overrides.agent-1=null", "agents.overrides.agent-2.world_model=null"],
        machine=LARGE,
    ).configuration.agents
    assert agents.world_model is None
    assert agents.history == 1
    assert agents.overrides == {"agent-2": {"history": 2, "world_model": None}}


def test_overrides_of_an_agent_merge_or_replace(write: Any) -> None:
    path = write(SMALL + "agents: {learner: {kind: double_dqn, hidden: [8]}, overrides: {agent-1: {learner: {kind: discrete_sac}}}}\n")
    configuration = load(
        path, ["agents.overrides.agent-2={learner: {batch_size: 16}, world_model: {kind: ensemble}}"], machine=LARGE
    ).configuration
    assert (agent_settings(configuration, "agent-1").learner.kind, agent_settings(configuration, "agent-1").learner.hidden) == (
        "discrete_sac",
        [128, 128],
    )
    assert agent_settings(configuration, "agent-2").learner.hidden == [8]
    assert agent_settings(configuration, "agent-2").world_model is not None
    assert agent_settings(configuration, "agent-0").world_model is None


def test_partial_resources_keep_the_rest_of_their_defaults(write: Any) -> None:
    resources = load(write(SMALL), ["launch.resources.env.cores=1"], machine=LARGE).configuration.launch.resources
    assert (resources.env.cores, resources.env.memory, resources.agent.memory) == (1.0, 256 * 2**20, 512 * 2**20)


def test_memory_is_an_error_and_cores_are_a_warning(write: Any) -> None:
    path = write(SMALL)
    overcommitted = MachineResources(cores=1, memory=2**40)
    loaded = load(path, ["launch.resources.agent.cores=0.5", "launch.resources.env.cores=0.5"], machine=overcommitted)
    assert [(w.severity, w.path) for w in loaded.warnings] == [("warning", "launch.resources")]
    assert "5 nodes ask for 2.5 cores and share the 1 of this machine" in loaded.warnings[0].text
    assert "1 warning, nothing was started" in message(path, machine=overcommitted, strict=True)
    assert "5 nodes ask for 2.2 GiB of memory, this machine has 2.0 GiB" in message(path, machine=MachineResources(cores=9, memory=2**31))
    assert "launch.resources.agent.cores: 4 is more than this machine's 2 cores" in message(
        path, "launch.resources.agent.cores=4", machine=MachineResources(cores=2, memory=2**40)
    )


def test_a_gpu_that_there_is_not_is_an_error_and_one_that_need_not_repeat_itself_a_warning(write: Any) -> None:
    path, none = write(SMALL), MachineResources(cores=1e6, memory=2**60, gpu=False)
    wanted = ["agents.learner.device=cuda", "agents.world_model={kind: ensemble, device: cuda}"]
    for key in ("learner", "world_model"):
        assert f"agents.{key}.device: this machine has no GPU; write auto or cpu" in message(path, *wanted, machine=none)
    assert load(path, wanted, machine=LARGE).warnings == []
    assert load(path, ["agents.learner.device=auto", "clock=logical"], machine=none).warnings == []
    (warning,) = load(path, ["agents.learner.device=auto", "clock=logical"], machine=LARGE).warnings
    assert warning.path == "agents.learner.device" and "two runs with one seed may differ" in warning.text
    assert '"gpu" is not one of auto, cpu, cuda' in message(path, "agents.learner.device=gpu", machine=LARGE)


def test_gpus_for_nodes_alone_are_those_of_this_machine(write: Any) -> None:
    path, wanted = write(SMALL), ["agents.count=4", "launch.resources.agent.gpus=1"]
    none, some = MachineResources(cores=1e6, memory=2**60, gpus=0), MachineResources(cores=1e6, memory=2**60, gpus=3)
    text = "launch.resources.agent.gpus: the nodes ask for 4 GPUs to themselves, this machine has none; write 0"
    assert text in message(path, *wanted, machine=none)
    assert "this machine has 3" in message(path, *wanted, machine=some)
    assert load(path, [*wanted, "agents.count=3"], machine=some).warnings == []
    assert "ask for 1 GPU to" in message(path, "launch.resources.env.gpus=1", machine=none)
    assert load(path, [*wanted, "launch.engine=slurm"], machine=none).configuration.launch.resources.agent.gpus == 1


def test_a_small_vocabulary_is_a_warning(write: Any) -> None:
    path = write(SMALL + "exchange: {negotiation: {kind: coordination_game, messages: 8}}\n")
    assert ["8 is less than 1.4 times the 6 goals" in w.text for w in load(path, machine=LARGE).warnings] == [True]
    assert load(path, ["exchange.negotiation.messages=9"], machine=LARGE).warnings == []
    assert "fewer than the 6 goals" in load(path, ["exchange.negotiation.messages=5"], machine=LARGE).warnings[0].text


def test_drawn_sides_that_fall_apart_are_a_warning(write: Any) -> None:
    path = write(SMALL)
    split = "faults.events=[{id: split, at: {time: 1s}, partition: {shape: halves}}]"
    (warning,) = load(path, [split], machine=LARGE).warnings
    assert warning.path == "faults.events[0].partition.shape"
    assert (
        "the sides are agent-3 agent-1 | agent-0 agent-2, which leaves agent-0 | agent-1 | agent-2 | agent-3 of this ring" in warning.text
    )
    assert load(path, [split, "network.topology.kind=complete"], machine=LARGE).warnings == []
    assert load(path, [split.replace("shape: halves", "groups: ['agent-[02]', 'agent-[13]']")], machine=LARGE).warnings == []


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        (["batch=100"], "batch", "is read only with update: forgetting, and update is inhibition"),
        (["update=forgetting", "batch=4"], "parts", "a batch of 4 episodes can't be cut into 6 parts; write 4 or fewer"),
        (["deadline=4s"], "deadline", "is longer than an idle copy waits for goals (environment.goal_deadline, 3s)"),
        (["update=forgetting", "batch=100", "deadline=3s"], "", ""),
    ],
)
def test_what_a_negotiation_will_not_do_is_a_warning(write: Any, changes: list[str], path: str, says: str) -> None:
    file = write(SMALL + "exchange: {negotiation: {kind: coordination_game}}\n")
    warnings = load(file, [f"exchange.negotiation.{change}" for change in changes], machine=LARGE).warnings
    assert [warning.path for warning in warnings] == ([f"exchange.negotiation.{path}"] if path else [])
    assert all(says in warning.text for warning in warnings)


def test_a_step_that_the_compression_does_not_bear_is_a_warning(write: Any) -> None:
    path = write(SMALL + "exchange: {consensus: {mode: choco, groups: [critic], step_size: 0.4}}\n")
    assert ["diverge on most graphs above 0.3; write 0.15 or less" in w.text for w in load(path, machine=LARGE).warnings] == [True]
    assert load(path, ["exchange.consensus.step_size=0.3"], machine=LARGE).warnings == []
    assert load(path, ["exchange.consensus.compression={kind: quantise, bits: 4}"], machine=LARGE).warnings == []


def test_a_taken_port_is_refused(write: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"network.control_port: port {port} is taken by another program; take another, or 0" in message(
            write(SMALL), f"network.control_port={port}"
        )
    assert load(write(SMALL), [f"network.control_port={port}"], machine=LARGE).configuration.network.control_port == port


def test_unix_sockets_are_refused_where_there_are_none(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.config.rules.run_rules.ipc_works", lambda: False)
    assert "network.transport: this machine has no Unix-domain sockets" in message(write(SMALL), "network.transport=ipc")
    monkeypatch.setattr("orchestrator.config.rules.run_rules.ipc_works", lambda: True)
    monkeypatch.setattr("orchestrator.config.rules.run_rules.shared_memory_works", lambda: False)
    assert "network.transport: this machine has no sealed memory files" in message(write(SMALL), "network.transport=shared")
    assert load(write(SMALL), ["network.transport=auto"], machine=LARGE).configuration.network.transport == "auto"


def test_other_environments(write: Any) -> None:
    path = write(
        'version: 2\nuntil: {episodes: 3}\nenvironment: {id: "mpe2:simple_spread_v3", options: {N: 3}}\nagents: {count: 3, goals: null}\n'
    )
    assert load(path, machine=LARGE).configuration.environment.options == {"N": 3}
    assert "environment" in message(path, "environment.id=mpe2:simple_spraed_v3")


def test_settings_of_agents_of_an_unchecked_configuration(write: Any) -> None:
    configuration = load(write(SMALL), machine=LARGE).configuration
    broken = configuration.model_copy(
        update={"agents": configuration.agents.model_copy(update={"overrides": {"agent-0": {"history": 99}}})}
    )
    with pytest.raises(ValueError, match=r"agents.overrides.agent-0: history: 99 is more than 16"):
        agent_settings(broken, "agent-0")


def test_the_main_configuration_and_its_resolved_form(tmp_path: Path) -> None:
    loaded = load(MAIN, machine=LARGE)
    assert loaded.warnings == []
    assert loaded.source == MAIN.read_text()
    again = tmp_path / "config.yaml"
    again.write_text(resolved_yaml(loaded.configuration))
    other = load(again, machine=LARGE)
    assert (other.configuration, other.digest) == (loaded.configuration, loaded.digest)


def test_problems_are_configuration_errors(write: Any) -> None:
    with pytest.raises(ConfigurationError):
        load(write(SMALL), ["seed=x"])


def test_checking_a_configuration_needs_no_torch() -> None:
    code = (
        "import sys\nimport orchestrator.config.loader\nfirst = sorted({'torch', 'numpy', 'networkx', 'zmq'} & set(sys.modules))\n"
        f"orchestrator.config.loader.load({str(MAIN)!r})\nprint(first, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] False"
