"""Messages of a Byzantine sender as they arrive."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.averaging.averaging_messages import Average
from protocols.conversations.conversation import Send
from protocols.conversations.episode_exchange import EpisodeTrace, Trace, TraceLimits, decode_traces, encode_traces
from protocols.conversations.proposals import Propose
from protocols.faults.node_faults.byzantine_messages import ByzantineSender
from protocols.faults.settings import ByzantineFault
from protocols.runtime.errors import BadMessage
from protocols.wire import codec


def averaged(round: int = 3, dst: str = "agent-1") -> Send:
    return Send(dst, Average(round=round, layout="x"), {"vector": np.arange(1, 9, dtype=np.float32)})


def lie(attack: str, channel: str = "avg", scale: float = 4.0) -> dict[str, ByzantineFault]:
    return {"liar": ByzantineFault.model_validate({"target": "agent-0", "channel": channel, "attack": attack, "scale": scale})}


def test_without_a_lie_nothing_changes() -> None:
    send = averaged()
    assert ByzantineSender("agent-0", 1).corrupt(send, {}) is send


def test_a_vector_is_replaced_by_the_attack_and_its_own_stays_as_it_was() -> None:
    send = averaged()
    told = ByzantineSender("agent-0", 1).corrupt(send, lie("sign_flip"))
    assert (told.arrays["vector"] == -4 * send.arrays["vector"]).all() and told.arrays["vector"].dtype == np.float32
    assert send.arrays["vector"][0] == 1


@pytest.mark.parametrize("attack", ["nan", "inf"])
def test_numbers_that_are_not_finite_are_refused_by_the_receivers_transport(attack: str) -> None:
    told = ByzantineSender("agent-0", 1).corrupt(averaged(), lie(attack))
    with pytest.raises(BadMessage) as error:
        codec.decode([bytes(part) for part in codec.encode(told.message, dict(told.arrays))])
    assert error.value.code == "E_NONFINITE"


def test_a_wrong_shape_arrives_as_one() -> None:
    told = ByzantineSender("agent-0", 1).corrupt(averaged(), lie("wrong_shape"))
    _, arrays = codec.decode([bytes(part) for part in codec.encode(told.message, dict(told.arrays))])
    assert arrays["vector"].shape == (9,)


def test_a_replay_is_of_an_earlier_round() -> None:
    liar = ByzantineSender("agent-0", 1)
    for round in range(3):
        send = Send("agent-1", Average(round=round, layout="x"), {"vector": np.full(4, round, np.float32)})
        told = liar.corrupt(send, lie("stale_replay"))
    assert (told.arrays["vector"] == 0).all()


def test_draws_are_those_of_seed_receiver_and_round() -> None:
    def noise(seed: int = 1, **send: object) -> bytes:
        return ByzantineSender("agent-0", seed).corrupt(averaged(**send), lie("noise")).arrays["vector"].tobytes()  # type: ignore[arg-type]

    assert noise() == noise()
    assert len({noise(), noise(seed=2), noise(round=4), noise(dst="agent-2")}) == 4


def test_attacks_that_collude_go_by_what_the_liar_has_heard() -> None:
    liar = ByzantineSender("agent-0", 1)
    liar.observe("agent-1", Average(round=2, layout="x"), {"vector": np.full(8, 2.0, np.float32)})
    liar.observe("agent-2", Average(round=2, layout="x"), {"vector": np.full(8, 4.0, np.float32)})
    told = liar.corrupt(averaged(), lie("ipm", scale=1.0))
    assert (told.arrays["vector"] == -3.0).all()


def trace() -> Send:
    traces = [
        EpisodeTrace(5, 0, -1, True, 0.0, 20, 20, ((0, 3, 0), (5, 9, 0), (3, 5, 2))),
        EpisodeTrace(6, 4, -1, False, 0.0, 20, 20, ((0, 21, 1),)),
    ]
    return Send("agent-1", Trace(), encode_traces(traces))


@pytest.mark.parametrize(("attack", "channel"), [("false_trace", "trace"), ("false_goal", "goal")])
def test_a_false_trace_is_well_formed_and_false(attack: str, channel: str) -> None:
    send = trace()
    told = ByzantineSender("agent-0", 1).corrupt(send, lie(attack, channel))
    limits = TraceLimits(goals=6, features=3)
    honest, byzantine_attacks = decode_traces(send.arrays, limits), decode_traces(told.arrays, limits)
    for one, other in zip(honest, byzantine_attacks, strict=True):
        assert one.episode == other.episode
        if attack == "false_trace":
            assert set(one.touched) != set(other.touched) and other.reward == 1.0 and one.goal == other.goal
        else:
            assert one.goal != other.goal and one.touched == other.touched
    assert ByzantineSender("agent-0", 1).corrupt(send, lie(attack, channel)).arrays["goal"].tolist() == [t.goal for t in byzantine_attacks]


def test_a_false_goal_is_proposed_too() -> None:
    liar = ByzantineSender("agent-0", 1)
    liar.observe("agent-1", Propose(), {"episode": np.array([1]), "message": np.array([29], np.int32)})
    send = Send("agent-1", Propose(), {"episode": np.array([7, 8]), "message": np.array([3, 29], np.int32)})
    told = liar.corrupt(send, lie("false_goal", "goal"))
    assert told.arrays["message"].tolist() == [4, 0] and told.arrays["message"].dtype == np.int32
