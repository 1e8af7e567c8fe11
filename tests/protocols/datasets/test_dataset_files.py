"""Datasets: what is written is read, and whatever is damaged, missing or untrue is named with its file and field."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.manifest import MANIFEST, DatasetEnvironment, DatasetError, Manifest, read_manifest, write_manifest
from protocols.datasets.shard_episodes import ShardEpisode, decode_part, encode_part
from protocols.spaces.layout import Layout

VECTOR = Layout(shape=[3], actions=[4, 2])
IMAGE = Layout(shape=[2, 2, 1], dtype="u1", low=[-1.0], high=[1.0])
LAYOUTS = {"agent-0": VECTOR, "agent-1": IMAGE}
ENVIRONMENT = DatasetEnvironment(id="particles:simple_spread", options={"horizon": 25})


def part(number: int, behaviour: int, layout: Layout, steps: int, seed: int, terminated: bool = False) -> ShardEpisode:
    random = np.random.default_rng(seed)
    observation = random.normal(size=(steps + 1, *layout.shape)).astype(np.float32)
    if layout.dtype == "u1":
        observation = random.integers(0, 256, (steps + 1, *layout.shape)).astype(np.uint8)
    if layout.actions:
        action = random.integers(0, layout.actions, (steps, len(layout.actions))).astype(np.int32)
    else:
        action = random.uniform(-1, 1, (steps, len(layout.low))).astype(np.float32)
    likely = random.normal(size=steps).astype(np.float32)
    likely[0] = np.nan
    return ShardEpisode(
        number, behaviour, observation, action, random.normal(size=steps).astype(np.float32), terminated,
        np.arange(steps, dtype=np.int32), likely,
    )  # fmt: skip


def write(directory: Path, episodes: list[tuple[int, int, set[str], int]], part_bytes: int = 2**20) -> list[dict[str, ShardEpisode]]:
    """Episodes (number, behaviour, members, steps), behaviours in order."""
    written = []
    with DatasetWriter(directory, ENVIRONMENT, LAYOUTS, seed=5, part_bytes=part_bytes) as writer:
        begun = -1
        for number, behaviour, members, steps in episodes:
            while begun < behaviour:
                begun = writer.begin_behaviour(f"quality-{begun + 1}", "random")
            found = {
                agent: part(number, behaviour, LAYOUTS[agent], steps, number + 1000 * place, terminated=number % 2 == 0)
                for place, agent in enumerate(sorted(members))
            }
            writer.add(found)
            written.append(found)
        writer.close()
    return written


def equal(first: ShardEpisode, second: ShardEpisode) -> bool:
    plain = (first.number, first.behaviour, first.terminated) == (second.number, second.behaviour, second.terminated)
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("observation", "action", "reward", "moment", "log_probability")]
    return plain and all(a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in pairs)


MEMBERS = st.sampled_from([{"agent-0"}, {"agent-1"}, {"agent-0", "agent-1"}])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), MEMBERS), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 6), MEMBERS), max_size=8),
    st.sampled_from([1, 400, 2**20]),
)
def test_what_is_written_is_read(first: list[tuple[int, set[str]]], second: list[tuple[int, set[str]]], part_bytes: int) -> None:
    """Whatever the members, lengths and sizes of files: equal bytes of all arrays, and a manifest that `verify` confirms."""
    episodes = [(number, 0, members, steps) for number, (steps, members) in enumerate(first)]
    episodes += [(number + 2**32, 1, members, steps) for number, (steps, members) in enumerate(second)]
    with TemporaryDirectory() as folder:
        written = write(Path(folder) / "data", episodes, part_bytes)
        dataset = Dataset(Path(folder) / "data")
        dataset.verify()
        for agent in LAYOUTS:
            own = [parts[agent] for parts in written if agent in parts]
            found = list(dataset.episodes(agent))
            assert len(found) == len(own) and all(map(equal, found, own))
        manifest = dataset.manifest
        assert manifest.episodes == len(written) and manifest.steps == sum(p.steps for parts in written for p in parts.values())
        returns = [np.mean([p.total_reward for p in parts.values()]) for parts in written if next(iter(parts.values())).behaviour == 0]
        assert manifest.behaviours[0].returns.mean == pytest.approx(float(np.mean(returns)))
        assert dataset.size() == sum(path.stat().st_size for path in dataset.directory.rglob("*.safetensors"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "data", [(0, 0, set(LAYOUTS), 5), (1, 0, set(LAYOUTS), 3), (2**32, 1, set(LAYOUTS), 4)], part_bytes=1)
    return tmp_path / "data"


def test_the_same_episodes_give_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", [(0, 0, set(LAYOUTS), 5), (1, 0, set(LAYOUTS), 3), (2**32, 1, set(LAYOUTS), 4)], part_bytes=1)
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file())
    assert len(files) == 7 and all((dataset / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def refused(dataset: Path) -> str:
    with pytest.raises(DatasetError) as error:
        Dataset(dataset).verify()
    return str(error.value)


def test_damaged_files_are_named(dataset: Path) -> None:
    file = dataset / "agent-1" / "00001.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert "agent-1/00001.safetensors: size" in refused(dataset) and "copy the file again" in refused(dataset)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "agent-1/00001.safetensors: sha256" in refused(dataset)
    file.unlink()
    assert "agent-1/00001.safetensors: No such file" in refused(dataset)


def test_a_manifest_that_was_changed_is_refused(dataset: Path) -> None:
    text = (dataset / MANIFEST).read_text()
    (dataset / MANIFEST).write_text(text.replace("quality-1", "quality-9"))
    assert "digest: it is not that of the content" in refused(dataset)
    (dataset / MANIFEST).write_text(text[:100])
    assert "damaged or of another version" in refused(dataset)
    (dataset / MANIFEST).write_text(text.replace('"version": 1', '"version": 2'))
    assert "version" in refused(dataset)
    (dataset / MANIFEST).unlink()
    assert "name the directory of a dataset" in refused(dataset)


def lie(dataset: Path, change: Any) -> None:
    """A manifest whose digest is right and whose content is not."""
    plain = json.loads((dataset / MANIFEST).read_text())
    change(plain)
    write_manifest(dataset, msgspec.convert(plain, Manifest))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: m["behaviours"][0]["returns"].update(mean=100.0), "behaviours.quality-0.returns.mean"),
        (lambda m: m["behaviours"][1]["returns"].update(std=3.0), "behaviours.quality-1.returns.std"),
        (lambda m: m["behaviours"][0]["returns"]["quantiles"].__setitem__(4, 1e3), "behaviours.quality-0.returns.quantiles"),
        (lambda m: m["behaviours"][0].update(episodes=7), "behaviours.quality-0.episodes"),
        (lambda m: m["shards"][0]["returns"].__setitem__(0, 5.0), "shards.agent-0.returns"),
        (lambda m: m["shards"][1]["returns"].__setitem__(1, None), "shards.agent-1.returns"),
        (lambda m: m["shards"][0]["returns"].pop(), "shards.agent-0.returns"),
        (lambda m: m["shards"][0]["parts"][0].update(steps=1), "shards.agent-0.parts.steps"),
        (lambda m: m["shards"][0].update(steps=1), "shards.agent-0.episodes"),
        (lambda m: m.update(episodes=9), "episodes: there are 3"),
        (lambda m: m["shards"][0]["layout"].update(shape=[4]), "observation is float32[6, 3]"),
        (lambda m: m["shards"][0]["layout"].update(actions=[2, 1]), "action: a choice is not one of [2, 1]"),
        (lambda m: m["behaviours"].pop(), "behaviour: a number is not of one of the manifest's 1 behaviours"),
    ],
)
def test_a_manifest_that_lies_is_refused(dataset: Path, change: Any, field: str) -> None:
    lie(dataset, change)
    assert field in refused(dataset)


def rewritten(dataset: Path, given: ShardEpisode | bytes) -> str:
    """Agent-0's first file with another content, and a manifest with its digest."""
    content = given if isinstance(given, bytes) else encode_part([given])
    (dataset / "agent-0/00000.safetensors").write_bytes(content)
    lie(dataset, lambda m: m["shards"][0]["parts"][0].update(sha256=sha256(content).hexdigest(), size=len(content)))
    return refused(dataset)


def test_files_that_are_no_shard_are_refused(dataset: Path) -> None:
    whole = (dataset / "agent-0/00000.safetensors").read_bytes()
    assert "it is no whole safetensors file" in rewritten(dataset, whole[:40])
    arrays = load(whole)
    del arrays["moment"]
    assert "agent-0/00000.safetensors: moment is missing" in rewritten(dataset, save(arrays))


def test_wrong_numbers_are_refused(dataset: Path) -> None:
    first = next(iter(Dataset(dataset).episodes("agent-0")))
    reward = first.reward.copy()
    reward[0] = np.inf
    one = ShardEpisode(0, 0, first.observation, first.action, reward, True, first.moment, first.log_probability)
    assert "reward: a number is not finite" in rewritten(dataset, one)
    plain = (first.observation, first.action, first.reward, True)
    for moment in (first.moment[::-1].copy(), first.moment - 1, np.zeros_like(first.moment)):
        assert "moment: the steps of an episode do not rise" in rewritten(
            dataset, ShardEpisode(0, 0, *plain, moment, first.log_probability)
        )
    infinite = np.full_like(first.log_probability, -np.inf)
    assert "log_probability: a number is infinite" in rewritten(dataset, ShardEpisode(0, 0, *plain, first.moment, infinite))
    assert "episode: a number is negative" in rewritten(dataset, ShardEpisode(-1, 0, *plain, first.moment, first.log_probability))
    observation = np.full_like(first.observation, np.nan)
    one = ShardEpisode(0, 0, observation, first.action, first.reward, True, first.moment, first.log_probability)
    assert "observation: a number is not finite" in rewritten(dataset, one)
    one = ShardEpisode(2**32, 0, first.observation, first.action, first.reward, True, first.moment, first.log_probability)
    assert "episode: agent-0 has episode 4294967296 twice" in rewritten(dataset, one)


@pytest.mark.parametrize(("value", "size"), [(7.0, 1), (255.0, 1), (256.0, 4), (0.5, 4), (-1.0, 4), (np.nan, 4)])
def test_whole_numbers_take_one_byte(value: float, size: int) -> None:
    """Where all observations of a file are bytes, they are stored as such, and read as before."""
    layout, one = Layout(shape=[100], actions=[2]), part(0, 0, Layout(shape=[100], actions=[2]), 50, 0)
    one.observation[:] = np.arange(100)
    one.observation[3, 4] = value
    content = encode_part([one])
    assert abs(len(content) - 51 * 100 * size) < 2000
    if np.isfinite(value):
        (found,) = decode_part(content, layout, 1, "file")
        assert found.observation.dtype == np.float32 and np.array_equal(found.observation, one.observation)


def test_numbers_rise_where_shards_are_joined(dataset: Path) -> None:
    """`joined` returns the parts of each episode; a shard in another order is refused."""
    joined = list(Dataset(dataset).joined())
    assert [{agent: one.number for agent, one in parts.items()} for parts in joined] == [dict.fromkeys(LAYOUTS, n) for n in (0, 1, 2**32)]
    files = [dataset / f"agent-0/0000{place}.safetensors" for place in (0, 1)]
    contents = [file.read_bytes() for file in files]

    def swap(manifest: Any) -> None:
        parts = manifest["shards"][0]["parts"]
        for place in (0, 1):
            files[place].write_bytes(contents[1 - place])
        parts[0], parts[1] = {**parts[1], "file": parts[0]["file"]}, {**parts[0], "file": parts[1]["file"]}

    lie(dataset, swap)
    with pytest.raises(DatasetError, match="agent-0: episode: 0 follows 1"):
        list(Dataset(dataset).joined())


def test_what_readers_refuse_is_not_written(tmp_path: Path) -> None:
    wrong = part(0, 0, VECTOR, 2, 0)
    wrong.action[1, 0] = 7
    with (
        pytest.raises(DatasetError, match=r"action: a choice is not one of \[4, 2\]"),
        DatasetWriter(tmp_path / "a", ENVIRONMENT, LAYOUTS, 0) as writer,
    ):
        writer.begin_behaviour("random", "random")
        writer.add({"agent-0": wrong})
        writer.close()
    assert not list(tmp_path.iterdir())


def test_who_may_learn_from_it(dataset: Path) -> None:
    manifest = read_manifest(dataset)

    def different(layouts: dict[str, Layout], **changes: Any) -> str:
        (text,) = manifest.differences(msgspec.structs.replace(ENVIRONMENT, **changes), layouts)
        return text

    assert not manifest.differences(ENVIRONMENT, LAYOUTS)
    text = different(LAYOUTS, id="particles:simple_tag")
    assert text.startswith("environment.id: the dataset was recorded in particles:simple_spread")
    assert "recorded with horizon = 25" in different(LAYOUTS, options={"horizon": 50})
    assert "environment.wrappers: the dataset was recorded with []" in different(LAYOUTS, wrappers=[{"kind": "clip_reward"}])
    assert "environment.images: the dataset was recorded with {}" in different(LAYOUTS, images={"size": 42})
    text = different({**LAYOUTS, "agent-2": VECTOR})
    assert "none is agent-2" in text and "write agents.count: 2" in text
    text = different({"agent-0": Layout(shape=[5], actions=[4, 2])})
    assert "shards.agent-0.layout.shape: the dataset has [3], and the environment [5]" in text


def test_nothing_is_left_of_what_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no episode of any behaviour"), DatasetWriter(tmp_path / "a", ENVIRONMENT, LAYOUTS, 0) as writer:
        writer.close()
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "b", ENVIRONMENT, LAYOUTS, 0) as writer:
        writer.begin_behaviour("random", "random")
        writer.add({"agent-0": part(0, 0, VECTOR, 2, 0)})
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    write(tmp_path / "c", [(0, 0, {"agent-0"}, 2)])
    with pytest.raises(DatasetError, match="never overwritten"):
        DatasetWriter(tmp_path / "c", ENVIRONMENT, LAYOUTS, 0)


def test_parts_of_an_episode_belong_together(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "a", ENVIRONMENT, LAYOUTS, 0) as writer:
        writer.begin_behaviour("random", "random")
        with pytest.raises(ValueError, match="one number"):
            writer.add({"agent-0": part(0, 0, VECTOR, 2, 0), "agent-1": part(1, 0, IMAGE, 2, 0)})
        writer.add({"agent-0": part(0, 0, VECTOR, 2, 0)})
        with pytest.raises(ValueError, match="above those before"):
            writer.add({"agent-0": part(0, 0, VECTOR, 2, 0)})
