"""Eight agents, of whom two or three meet in an episode, in real processes: goals are negotiated, exchanged afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.runs.system import CONFIG
from tests.runs.tapped import joint_touch, run_tapped
from tests.runs.test_isolation import LIGHT
from tests.runs.walker import install

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.mark.parametrize("members", [2, 3])
def test_eight_agents_meet_agree_and_tell(members: int, tmp_path: Path) -> None:
    changes = [
        *(change for change in LIGHT if not change.startswith(("agents.", "environment.", "evaluation"))),
        "agents={count: 8, learner: {kind: walker, room: 200}, world_model: null, history: 1}",
        "environment.copies=24",
        f"environment.options={{members: {members}, largest: {members}, landmarks: 3, room: 200, horizon: 40, sight: 400, velocity: true}}",
        "evaluation={every: 100000, episodes: 4, final_episodes: 1}",
        "network.topology={kind: random_regular, degree: 4}",
        "exchange={negotiation: {kind: coordination_game, messages: 12}, hindsight: {deadline: 5s}, consensus: null}",
        "until={episodes: 250, time: 60s}",
    ]
    directory = tmp_path / "runs" / "eight"
    tapped = run_tapped(directory, CONFIG, changes, site=install(tmp_path / "site"))
    assert tapped.lost() == [] and tapped.breaches() == []
    assert {len(names) for names in tapped.members.values()} == {members}
    assert {name for names in tapped.members.values() for name in names} == {names[0] for names in tapped.members.values()}
    assert len(tapped.agents) == 8 and len({frozenset(names) for names in tapped.members.values()}) > 12, "all meet, and all lead"
    chosen = {key: yes for key, (_, yes) in tapped.goals.items() if key[0] not in tapped.assigned}
    assert np.mean(list(chosen.values())) > 0.7
    told, wanted = tapped.told(), tapped.to_be_told()
    assert told <= wanted and len(told) > 0.8 * len(wanted) > 250
    truth = joint_touch(tapped)
    compared = 0
    for agent in tapped.agents:
        home = directory / "nodes" / agent / "checkpoints"
        tensors = load_file(home / f"{(home / 'LATEST').read_text()}.safetensors")
        peers, joint, status = (tensors[f"replay/{name}"] for name in ("peers", "joint", "status"))
        assert peers.shape[1] == members - 1
        for first, last, episode in tensors["replay/episodes"].tolist():
            if status[first] & 4:
                goals = sorted(tapped.goals[episode, member][0] for member in tapped.members[episode] if member != agent)
                assert sorted(peers[first].tolist()) == goals
                np.testing.assert_array_equal(joint[first:last], truth[episode][: last - first])
                compared += 1
    assert compared > 150
