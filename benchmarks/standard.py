"""Standard tasks by default settings, beside what else a user would take: the tables of docs/results/standard.md, as real runs.

    python benchmarks/standard.py                          # everything: hours on two cores; can be interrupted at any time
    python benchmarks/standard.py cartpole --seeds 0 1     # one task
    python benchmarks/standard.py --list                   # the tasks, their runs, and which of them are there
    python benchmarks/standard.py --missing                # only runs whose metrics are not in docs/results/standard.csv
    python benchmarks/standard.py --report                 # the document anew, from the runs that are there and from earlier metrics

Our rows are `orchestrate up configs/standard/TASK.yaml` with the overrides of the row and an evaluation of 20 episodes every twentieth of
the run, 100 at its end. The other rows are made by `benchmarks/standard_peers.py` and need the extra `compare`; that of BenchMARL is made
by `benchmarks/benchmarl_peer.py`, in an environment that has it: `python benchmarks/standard.py simple_spread_benchmarl`.
"""

from __future__ import annotations

from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

DOCUMENT = REPOSITORY / "docs" / "results" / "standard.md"
RETURN, UNTRAINED, FINAL, LATE, SOLVED = "eval.own.return", "untrained", "final return", "late returns", "steps to target"
TARGETS = {"cartpole": 475.0, "acrobot": -100.0, "lunarlander": 200.0, "pendulum": -200.0, "doorkey": 0.9}
AGENTS = {"simple_spread": 3, "simple_spread_benchmarl": 3, "simple_tag": 3, "speaker_listener": 2}
"""agents of a task with several: returns are per agent"""


def ours(name: str, task: str, steps: int, *overrides: str) -> Method:
    """A row of this system."""
    evaluation = f"evaluation={{every: {{steps: {steps // 20}}}, episodes: 20, final_episodes: 100, time_share: null}}"
    return Method(name, task, steps, (evaluation, *overrides))


def ppo(name: str, task: str, steps: int, *overrides: str) -> Method:
    """A row of our PPO, evaluated with the likeliest actions, as the peers are."""
    return ours(name, task, steps, "agents.learner.kind=ppo", "agents.learner.evaluation=mode", *overrides)


def spread(name: str, config: str, *overrides: str) -> Method:
    """A row of our PPO on simple_spread, in the world that equals mpe2 step by step and takes less processor time."""
    return ppo(name, config, 400_000, "environment={id: particles:simple_spread}", *overrides)


def peer(name: str, steps: int, library: str, algorithm: str, task: str) -> Method:
    """A row of another implementation."""
    return Method(name, "", steps, peer=("benchmarks/standard_peers.py", library, algorithm, task))


def task(
    name: str, *methods: Method, form: str = ",.0f", seeds: tuple[int, ...] = (0, 1, 2, 3, 4), apart: bool = False, untrained: bool = False
) -> Experiment:
    """The rows of a task; `apart`: made only where it is named; `untrained`: with a column of the evaluation before training."""
    columns = {"final return": (FINAL, form), "mean of the last five evaluations": (LATE, form)}
    if untrained:
        columns = {"untrained": (UNTRAINED, form)} | columns
    if name in TARGETS:
        columns |= {f"steps to {TARGETS[name]:g}": (SOLVED, ",.0f")}
    return Experiment(name, methods, (columns,), FINAL, seeds, apart)


TAG = "environment={id: particles:simple_tag, options: {prey: scripted}}"
"""three predators and a prey that flees by a rule: against a prey that learns too, returns show no progress"""
DQN = ("agents.learner.kind=double_dqn",)
PRIORITISED = "agents.learner.prioritized_replay={}"
DEFAULT, ZOO, PLAIN = "default", "SB3 {}, RL Zoo", "SB3 {}, its defaults"
EXPERIMENTS = (
    task(
        "cartpole",
        ppo(f"PPO ({DEFAULT})", "cartpole", 20_000),
        ours("double DQN", "cartpole", 25_000, "agents.learner.kind=double_dqn"),
        peer(ZOO.format("PPO"), 20_000, "sb3", "ppo", "CartPole-v1"),
        peer(PLAIN.format("PPO"), 20_000, "sb3-defaults", "ppo", "CartPole-v1"),
        peer(ZOO.format("DQN"), 25_000, "sb3", "dqn", "CartPole-v1"),
    ),
    task(
        "cartpole_options",
        ours("double DQN, 3-step returns", "cartpole", 25_000, *DQN, "agents.learner.n_step=3"),
        ours("double DQN, dueling", "cartpole", 25_000, *DQN, "agents.learner.dueling=true"),
        ours("double DQN, prioritised replay", "cartpole", 25_000, *DQN, PRIORITISED),
        ours("discrete SAC", "cartpole", 25_000, "agents.learner.kind=discrete_sac"),
        ours("IMPALA", "cartpole", 25_000, "agents.learner.kind=impala", "agents.learner.evaluation=mode"),
    ),
    task(
        "cartpole_masked",
        ppo("PPO, recurrent", "cartpole_masked", 60_000),
        ppo("PPO", "cartpole_masked", 60_000, "agents.learner.recurrent=null"),
    ),
    task(
        "pendulum",
        ours(f"SAC ({DEFAULT})", "pendulum", 20_000),
        ours("TD3", "pendulum", 20_000, "agents.learner.kind=td3"),
        peer(ZOO.format("SAC"), 20_000, "sb3", "sac", "Pendulum-v1"),
    ),
    task(
        "acrobot",
        ppo(f"PPO ({DEFAULT})", "acrobot", 150_000),
        peer(ZOO.format("PPO"), 150_000, "sb3", "ppo", "Acrobot-v1"),
    ),
    task(
        "doorkey",
        ours(f"PPO ({DEFAULT})", "doorkey", 60_000),
        ours("PPO, rollouts of 128 ticks", "doorkey", 60_000, "agents.learner.kind=ppo", "agents.learner.steps=128"),
        peer(ZOO.format("PPO"), 60_000, "sb3", "ppo", "MiniGrid-DoorKey-5x5-v0"),
        form=".2f",
    ),
    task(
        "simple_spread",
        spread(f"PPO ({DEFAULT})", "simple_spread"),
        spread("PPO, discount 0.99", "simple_spread", "agents.learner.discount=0.99"),
        spread("PPO, centralised critic", "simple_spread_mappo"),
        spread("PPO, entity sets", "simple_spread_entities"),
        spread("PPO, continuous forces", "simple_spread", "environment.options.actions=continuous"),
        peer("plain independent PPO, CleanRL's settings", 400_000, "ippo", "cleanrl", "simple_spread"),
        peer("plain independent PPO, our settings", 400_000, "ippo", "ours", "simple_spread"),
        peer("the same, limits of time as ends", 400_000, "ippo", "ours-ends", "simple_spread"),
        form=".1f",
    ),
    task(
        "simple_spread_benchmarl",
        Method("BenchMARL IPPO", "", 1_000_000, peer=("benchmarks/benchmarl_peer.py", "ippo", "simple_spread")),
        form=".1f",
        apart=True,
    ),
    task(
        "speaker_listener",
        ppo(f"PPO ({DEFAULT})", "speaker_listener", 400_000),
        ours("MADDPG", "speaker_listener_maddpg", 100_000),
        form=".1f",
        untrained=True,
    ),
    task(
        "simple_tag",
        ppo(f"PPO ({DEFAULT})", "simple_tag", 400_000, TAG, "agents.count=3"),
        ppo("PPO, continuous forces", "simple_tag", 400_000, TAG, "agents.count=3", "environment.options.actions=continuous"),
        ours("MADDPG", "simple_tag_maddpg", 100_000, TAG, "agents.count=3"),
        form=".1f",
        untrained=True,
    ),
    task(
        "lunarlander",
        ppo(f"PPO ({DEFAULT})", "lunarlander", 500_000),
        peer(ZOO.format("PPO"), 500_000, "sb3", "ppo", "LunarLander-v3"),
    ),
)
STEPS = {(experiment.name, method.name): method.steps for experiment in EXPERIMENTS for method in experiment.methods}
COLOURS = {
    f"PPO ({DEFAULT})": "#d1372c", f"SAC ({DEFAULT})": "#d1372c", "double DQN": "#8c6bb1",
    "PPO, rollouts of 128 ticks": "#2e8b57", "PPO, discount 0.99": "#b8a11a",
    "PPO, centralised critic": "#2e8b57", "PPO, entity sets": "#8c6bb1",
    ZOO.format("PPO"): "#1f6fb4", ZOO.format("SAC"): "#1f6fb4", PLAIN.format("PPO"): "#5fb0d0",
    ZOO.format("DQN"): "#555555", "plain independent PPO, CleanRL's settings": "#1f6fb4",
    "plain independent PPO, our settings": "#5fb0d0", "the same, limits of time as ends": "#999999",
    "BenchMARL IPPO": "#555555", "TD3": "#2e8b57", "MADDPG": "#2e8b57", "PPO, recurrent": "#d1372c", "PPO": "#1f6fb4",
    "double DQN, 3-step returns": "#d1372c", "double DQN, dueling": "#e6830b", "double DQN, prioritised replay": "#1f6fb4",
    "discrete SAC": "#2e8b57", "PPO, continuous forces": "#e6830b", "IMPALA": "#555555",
}  # fmt: skip
PANELS = tuple(Panel(experiment.name, RETURN, experiment.name, "return, evaluation") for experiment in EXPERIMENTS)


def derive(key: Key, curves: dict[str, Curve]) -> dict[str, Curve]:
    """The return per agent, that of the last evaluation, the mean of the last five, and the steps after which it first reached the task's
    target. What ended after training counts at its end: copies without an evaluation to play count on meanwhile."""
    name, last = key[0], STEPS[key[:2]]
    curve = [(min(steps, last), value / AGENTS.get(name, 1)) for steps, value in curves.get(RETURN, [])]
    target = TARGETS.get(name)
    reached = [(steps, float(steps)) for steps, value in curve if target is not None and value >= target]
    last_five = [value for _, value in curve[-5:]]
    late = [(last, sum(last_five) / len(last_five))] if last_five else []
    return {RETURN: curve, UNTRAINED: curve[:1], FINAL: curve[-1:], LATE: late, SOLVED: reached[:1]}


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture."""
    draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e3, "thousand environment steps")


STUDY = Study("standard", REPOSITORY / "configs" / "standard", Report(DOCUMENT, (), (RETURN,)), EXPERIMENTS, picture, derive)

if __name__ == "__main__":
    STUDY.main(__doc__)
