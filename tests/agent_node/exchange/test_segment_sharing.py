"""Steps that surprised one agent, learnt from by the other: two whole agents in one process."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest

from agent_node.contracts import Batch, Learner, Metrics, PolicyOutput
from agent_node.exchange.hindsight_exchange import HindsightExchange
from agent_node.exchange.segment_sharing import SegmentSharing
from agent_node.exchange.settings import HindsightSettings, SegmentSettings
from agent_node.goals.settings import UniformGoalSettings
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.roles import HINDSIGHT, IMPORTED_REPLAY, REPLAY
from agent_node.session.transition_batches import BatchSampler
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.conversations.conversation import Send
from protocols.conversations.segment_exchange import Segment
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout
from tests.agent_node.exchange.loopback import OPTIONS, Loopback

A, B = "agent-0", "agent-1"
SPACE = OPTIONS.goal_space
AGENT = AgentSettings(
    learner=DoubleDQNSettings(hidden=[16], learning_starts=300, batch_size=64, exploration=0.5, exploration_hold=(3, 11)),
    goals=UniformGoalSettings(),
    history=2,
)
Make = Callable[[SegmentSettings | None, int], Loopback]


@pytest.fixture(scope="module")
def played() -> Make:
    """Runs of so many ticks, each played once."""
    made: dict[str, Loopback] = {}

    def play(segments: SegmentSettings | None, ticks: int) -> Loopback:
        key = f"{segments} {ticks}"
        if key not in made:
            exchange = ExchangeSettings(hindsight=HindsightSettings(segments=segments))
            made[key] = Loopback({A: AGENT, B: AGENT}, exchange)
            made[key].tick(ticks)
            made[key].close()
        return made[key]

    return play


def sharing(run: Loopback, name: str) -> SegmentSharing:
    hindsight = run.session[name].components.get(HINDSIGHT)
    assert hindsight is not None and hindsight.segments is not None
    return hindsight.segments


def test_what_is_imported_was_lived_by_the_partner_and_is_paid_by_the_reward_rule(played: Make) -> None:
    run = played(SegmentSettings(rare_goal_share=0.02), 300)
    for name, other in ((A, B), (B, A)):
        region = run.session[name].components.get(IMPORTED_REPLAY)
        assert region is not None and len(region) > 200 and region.joint_count == len(region)
        # A body that stands still makes equal observations: the steps around one identify it.
        lived = {
            (*(episode.observation[at].tobytes() for at in (max(t - 1, 0), t, t + 1)), episode.action[t].tobytes()): (episode, t)
            for episode in run.finished[other]
            for t in range(episode.steps)
        }
        mine = {episode.number: episode for episode in run.finished[name]}
        sample = region.sample(400, np.random.default_rng(0), 0.5, ["future", "joint"])
        assert sample.relabelled.any() and not sample.relabelled.all()
        for i in range(400):
            step = sample.observation[i, 0], sample.observation[i, -1], sample.next_observation[i, -1], sample.action[i]
            episode, t = lived[tuple(part.tobytes() for part in step)]
            beside = mine[episode.number].achieved
            assert episode.achieved is not None and beside is not None
            goal = int(sample.goal[i])
            reached = SPACE.achieved(episode.achieved, beside[:, None])[:, goal]
            assert sample.reward[i] == (SPACE.rewards[goal] if reached[t + 1] else 0) and sample.terminated[i] == reached[t + 1]
            if sample.relabelled[i]:
                assert reached[t + 1 : episode.steps + 1].any() and not reached[t]
            else:
                assert goal == episode.goal and sample.reward[i] == episode.reward[t]


def test_about_the_wanted_share_is_told_and_its_cost_is_bounded(played: Make) -> None:
    run = played(SegmentSettings(rare_goal_share=0.02), 300)
    for name in (A, B):
        steps = sum(episode.steps for episode in run.finished[name])
        assert 0.04 < sharing(run, name).counters["sent"] / steps < 0.2
        assert sharing(run, name).counters["imported"] > 0
    steps = sum(episode.steps for one in (A, B) for episode in run.finished[one])
    whole = steps * 4 * (run.environment.layout(A).shape[0] + 3)
    assert 0 < run.bytes["Segment"] < 0.6 * whole
    largest = max(sum(frame.nbytes for frame in frames.values()) for _, message, frames in run.told[A] if isinstance(message, Segment))
    assert largest < 100_000


def test_switched_off_no_observation_leaves_an_agent(played: Make) -> None:
    run = played(None, 150)
    assert run.sent["Trace"] > 0 and run.sent["Segment"] == 0
    assert all(run.session[name].components.get(IMPORTED_REPLAY) is None for name in (A, B))
    assert not any("observation" in frames for name in (A, B) for _, _, frames in run.told[name])


@pytest.mark.parametrize("most", [0.0, 0.25, 0.5])
def test_imported_steps_have_at_most_their_share_of_a_batch(played: Make, most: float) -> None:
    run = played(SegmentSettings(share=1.0), 250)
    components = run.session[A].components
    segments = SegmentSettings(share=1.0, max_imported_ratio=most)
    components = copy(components)
    components.exchange = ExchangeSettings(hindsight=HindsightSettings(segments=segments))
    region, own = components.get(IMPORTED_REPLAY), components.get(REPLAY)
    assert region is not None and own is not None and len(region) > 0.7 * len(own), "nearly as much as its own"
    theirs = {observation.tobytes() for episode in run.finished[B] for observation in components.features.encode(episode.histories(2))}
    batch = BatchSampler(components).batch(200)
    imported = sum(observation.numpy().tobytes() in theirs for observation in batch.observation)
    assert len(batch.reward) == 200 and (most - 0.1) * 200 <= imported <= most * 200


def test_rare_goals_bring_whole_episodes(played: Make) -> None:
    run = played(SegmentSettings(share=1e-9, rare_goal_share=0.2), 200)
    first: dict[int, list[int]] = {}
    for _, message, frames in run.told[A]:
        if isinstance(message, Segment):
            for episode, start, steps in zip(frames["episode"].tolist(), frames["first"].tolist(), frames["steps"].tolist(), strict=True):
                first.setdefault(episode, []).append(steps if start == 0 else 0)
    lengths = {episode.number: episode.steps for episode in run.finished[A]}
    whole = [episode for episode, components in first.items() if components == [lengths[episode]]]
    assert len(whole) > 3 and len(whole) > 0.6 * len(first)


def small() -> tuple[Features, FeatureSets]:
    return Features(Layout(shape=[2], actions=[3, 2]), 2), FeatureSets(3)


def lived(number: int, goal: int, touched: str, seed: int) -> Episode:
    random = np.random.default_rng(seed)
    steps = len(touched) - 1
    return Episode(
        number=number,
        observation=random.standard_normal((steps + 1, 2)).astype(np.float32),
        action=np.stack([random.integers(0, n, steps) for n in (3, 2)], axis=1).astype(np.int32),
        reward=np.zeros(steps, np.float32),
        terminated=False,
        goal=goal,
        achieved=np.array([[c == str(i) for i in range(3)] for c in touched], np.uint8),
    )


class Pair:
    """Two sides that share everything (`share` 1 once errors are known; here every episode has a rare goal)."""

    def __init__(self, changes: dict[str, Any] | None = None, layouts: tuple[Layout, Layout] | None = None) -> None:
        layouts = layouts or (Layout(shape=[2], actions=[3, 2]), Layout(shape=[2], actions=[3, 2]))
        settings = HindsightSettings(segments=SegmentSettings(rare_goal_share=1.0, **(changes or {})))
        space = FeatureSets(3)
        self.regions, self.sides = {}, {}
        self.told: list[Send] = []
        for seed, (name, layout) in enumerate(zip((A, B), layouts, strict=True)):
            features = Features(layout, 2)
            learner = DoubleDQN(DoubleDQNSettings(hidden=[8]), features.policy_spec(3), 1, seed)
            own, self.regions[name] = ReplayBuffer(1000, features, space), ReplayBuffer(1000, features, space)
            random = np.random.default_rng(0)
            self.sides[name] = HindsightExchange(settings, space, own, random, 100, learner, features, name, self.regions[name])

    def play(self, number: int, touched: tuple[str, str], versions: tuple[int, int] = (0, 0), traces_last: bool = False) -> None:
        """One episode and all of its messages. `traces_last`: A receives B's segments before its trace."""
        for name, other, text, goal in ((A, B, touched[0], 0), (B, A, touched[1], 2)):
            self.sides[name].finished(lived(number, goal, text, number * 2 + (name == B)), (other,), 0.0)
        held = []
        for _ in range(4):
            for name, other in ((A, B), (B, A)):
                for machine in self.sides[name].machines:
                    for send in machine.outgoing():
                        self.told.append(send)
                        place = 1 if isinstance(send.message, Segment) else 0
                        if traces_last and name == B and place == 0:
                            held.append(send)
                        else:
                            self.sides[other].machines[place].receive(name, send.message, send.arrays, 0.0)
            for name, version in zip((A, B), versions, strict=True):
                self.sides[name].attach(0.0, version)
        for send in held:
            self.sides[A].machines[0].receive(B, send.message, send.arrays, 0.0)
        for name, version in zip((A, B), versions, strict=True):
            self.sides[name].attach(0.0, version)

    def counters(self, name: str) -> dict[str, float]:
        return self.sides[name].metrics()


def test_segments_wait_for_the_trace_that_says_what_they_are() -> None:
    one = Pair()
    one.play(1, (".00000", "..2222"), traces_last=True)
    assert len(one.regions[A]) == 5 and one.regions[A].joint_count == 5
    sample = one.regions[A].sample(100, np.random.default_rng(0), 1.0, ["joint"])
    assert set(sample.goal[sample.relabelled].tolist()) == {SPACE.index((0, 2))}


def test_segments_of_another_layout_are_refused_and_the_traces_serve() -> None:
    one = Pair(layouts=(Layout(shape=[2], actions=[3, 2]), Layout(shape=[2], actions=[3, 2], low=[0.0])))
    one.play(1, (".00000", "..2222"))
    for name in (A, B):
        counters = one.counters(name)
        assert counters["segments.layout_differs"] == 1 and counters["hindsight.complete"] == 1 and len(one.regions[name]) == 0


def test_what_a_policy_has_outgrown_is_dropped() -> None:
    one = Pair({"version": 10, "max_policy_age": 2})
    for number, version in enumerate((5, 15, 25, 34)):
        one.play(number, (".00000", "..2222"), (0, version))
    assert one.regions[A].episodes == 4 and one.regions[B].episodes == 4
    one.play(9, (".00000", "..2222"), (0, 36))
    assert one.regions[A].episodes == 4 and one.counters(A)["segments.outgrown"] == 1, "three versions have passed since the first"
    one.play(10, (".00000", "..2222"), (0, 90))
    assert one.regions[A].episodes == 1 and one.regions[B].episodes == 6, "who stays the same is not outgrown"
    assert len(one.regions[A]) == 5


def test_who_has_begun_anew_is_learnt_from_anew() -> None:
    one = Pair({"version": 10, "max_policy_age": 2})
    one.play(1, (".00000", "..2222"), (0, 900))
    one.play(2, (".00000", "..2222"), (0, 3))
    assert one.regions[A].episodes == 1 and one.counters(A)["segments.outgrown"] == 1
    sample = one.regions[A].sample(50, np.random.default_rng(0))
    assert set(map(bytes, sample.observation[:, -1])) <= set(map(bytes, lived(2, 2, "..2222", 5).observation)), "those of its second start"


@pytest.mark.parametrize("match_roles", [True, False])
def test_without_roles_only_what_the_partner_did_in_ones_own_place_is_taken(match_roles: bool) -> None:
    one = Pair({"match_roles": match_roles})
    for number in range(3):
        one.play(number, (".00000", "..2222"))  # A stands on 0, B on 2
    assert one.regions[A].episodes == (3 if match_roles else 0)
    one.play(7, (".00000", "..0000"))
    assert one.regions[A].episodes == (4 if match_roles else 1)
    if not match_roles:
        assert one.counters(A)["segments.other_role"] == 3


def test_segments_that_are_not_of_their_trace_are_not_taken() -> None:
    one = Pair()
    own, theirs = lived(1, 0, ".00000", 2), lived(1, 2, "..2222", 3)
    theirs.goal = 1  # the trace has 2
    liar = Pair()
    liar.sides[A].finished(own, (B,), 0.0)
    liar.sides[B].finished(theirs, (A,), 0.0)
    for side in (A, B):
        for send in liar.sides[side].machine.outgoing():
            liar.sides[send.dst].machine.receive(side, send.message, send.arrays, 0.0)
    liar.sides[B].attach(0.0)
    one.play(1, (".00000", "..2222"))
    before = one.regions[A].episodes
    for send in liar.sides[B].machines[1].outgoing():
        one.sides[A].machines[1].receive(B, send.message, send.arrays, 0.0)
        one.sides[A].machines[1].receive("agent-9", send.message, send.arrays, 0.0)
    one.sides[A].attach(0.0)
    assert one.regions[A].episodes == before
    honest = [send for send in one.told if isinstance(send.message, Segment) and send.dst == A]
    for send in honest:
        one.sides[A].machines[1].receive(B, send.message, send.arrays, 0.0)
    one.sides[A].attach(0.0)
    assert one.regions[A].episodes == before and one.counters(A)["segments.duplicate"] == len(honest) == 1
    assert one.counters(A)["segments.not_of_its_trace"] == 1 and one.counters(A)["segments.not_member"] == 1


def test_actions_that_the_own_policy_would_hardly_take_may_be_left() -> None:
    easy, strict = Pair(), Pair({"min_importance": 1.9})
    for one in (easy, strict):
        one.play(1, (".00000", "..2222"))
    assert easy.regions[A].episodes == 1 and strict.regions[A].episodes == 0 and strict.counters(A)["segments.unlikely"] == 1


class Mute(Learner):
    """A learner that can act and nothing else."""

    def act(self, observations: Any, goals: Any, rows: Any, first: Any, explore: bool) -> PolicyOutput:
        return PolicyOutput(np.zeros((len(observations), 2), np.int32))

    def learn(self, batch: Batch) -> Metrics:
        return {}


def test_a_learner_that_knows_no_surprise_is_refused() -> None:
    features, space = small()
    settings = HindsightSettings(segments=SegmentSettings())
    with pytest.raises(ConfigurationError, match="segments"):
        HindsightExchange(settings, space, None, np.random.default_rng(0), 10, Mute(), features, A)
