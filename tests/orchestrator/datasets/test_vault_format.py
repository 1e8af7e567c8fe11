"""Vaults hold datasets whose agents act in every step without loss, refuse others, and OG-MARL's become datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import loader
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.interchange import export_dataset, import_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import DatasetError
from protocols.runtime.errors import ResourceError, UsageError
from protocols.spaces.layout import Layout
from tests.orchestrator.cli.conftest import REPOSITORY
from tests.orchestrator.datasets.interchange_cases import round_trip, write

tensorstore = pytest.importorskip("tensorstore", reason="needs the extra vault: pip install 'murmuration-rl[vault]'")
EPISODES = [(0, 0, 3, True), (4, 0, 1, False), (2**32, 1, 6, False)]
"""number, behaviour, steps, terminated"""
VECTOR = Layout(shape=[6], actions=[4])


def dataset(folder: Path, layout: Layout, agents: int = 3) -> Dataset:
    names = [f"agent-{place}" for place in range(agents)]
    episodes = [(number, quality, dict.fromkeys(names, (list(range(steps)), ended))) for number, quality, steps, ended in EPISODES]
    return write(folder / "data", dict.fromkeys(names, layout), episodes)


def export(found: Dataset, output: Path) -> None:
    export_dataset(found, output, "vault", lambda name, done, total: None)


@pytest.mark.parametrize(
    "layout",
    [
        VECTOR,
        Layout(shape=[7], actions=[2, 2], mask=True),
        Layout(shape=[5], actions=[3], mask=True),
        Layout(shape=[4], low=[-1.0], high=[1.0]),
        Layout(shape=[42, 42, 2], dtype="u1", low=[-1.0, 0.0], high=[1.0, 1.0]),
    ],
    ids=["vector", "factors", "mask", "continuous", "images"],
)
def test_round_trip(tmp_path: Path, layout: Layout) -> None:
    round_trip(dataset(tmp_path, layout), tmp_path, "vault")


def array(vault: Path, name: str, rows: Any = None) -> Any:
    """Of a vault, as `flashbax.vault` opens it; with `rows` a new one."""
    spec: dict[str, Any] = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{vault}/", "path": name}}
    if rows is None:
        return tensorstore.open(spec).result()
    long = (1, 10**13, *rows.shape[2:]) if rows.ndim > 1 else rows.shape
    found = tensorstore.open(spec, dtype=rows.dtype, shape=long, create=True).result()
    (found[:, : rows.shape[1]] if rows.ndim > 1 else found).write(rows).result()
    return found


def test_what_is_stored(tmp_path: Path) -> None:
    """Names, shapes and ends as OG-MARL has them."""
    found = dataset(tmp_path, Layout(shape=[5], actions=[3], mask=True))
    export(found, tmp_path / "team.vlt")
    vault = tmp_path / "team.vlt/quality-0"
    assert array(vault, "vault_index").read().result().tolist() == [4]
    read = {name: array(vault, f"{name}.")[0, :4].read().result() for name in ("observations", "infos.legals", "infos.state", "actions")}
    first, second = found.joined().__next__(), list(found.joined())[1]
    for place, agent in enumerate(first):
        assert np.array_equal(read["observations"][:3, place], first[agent].observation[:-1, :2])
        assert np.array_equal(read["infos.legals"][:3, place], first[agent].observation[:-1, 2:])
        assert np.array_equal(read["actions"][3, place], second[agent].action[0, 0])
    assert np.array_equal(read["infos.state"], read["observations"].reshape(4, -1))
    ends = {name: array(vault, f"{name}.")[0, :4].read().result() for name in ("terminals", "truncations")}
    assert ends["terminals"][:, 0].tolist() == [0, 0, 1, 0] and ends["truncations"][:, 2].tolist() == [0, 0, 0, 1]


def test_flashbax_reads_it(tmp_path: Path) -> None:
    flashbax = pytest.importorskip("flashbax.vault", reason="flashbax is not installed; it brings JAX")
    export(dataset(tmp_path, VECTOR), tmp_path / "team.vlt")
    experience = flashbax.Vault("team.vlt", rel_dir=str(tmp_path), vault_uid="quality-1").read().experience
    assert experience["observations"].shape == (1, 6, 3, 6) and experience["infos"]["legals"].shape == (1, 6, 3, 4)


def test_what_a_vault_cannot_hold(tmp_path: Path) -> None:
    other = {"agent-0": VECTOR, "agent-1": Layout(shape=[5], actions=[4])}
    found = write(tmp_path / "a", other, [(0, 0, dict.fromkeys(other, ([0], True)))])
    with pytest.raises(UsageError, match=r"agent-1 differs from agent-0 in shape.*export it with --format minari"):
        export(found, tmp_path / "vault")
    pair = {"agent-0": VECTOR, "agent-1": VECTOR}
    for place, member in enumerate((([0, 1], True), ([0, 2, 3], True), ([0, 1, 2], False))):
        found = write(tmp_path / f"b{place}", pair, [(5, 0, {"agent-0": ([0, 1, 2], True), "agent-1": member})])
        with pytest.raises(UsageError, match=r"episode 5 has steps in which an agent does not act, or ends for some agents only"):
            export(found, tmp_path / "vault")
    found = write(tmp_path / "c", pair, [(5, 0, {"agent-0": ([0, 1, 2], True)})])
    with pytest.raises(UsageError, match="episode 5"):
        export(found, tmp_path / "vault")
    assert not list(tmp_path.glob("*vault*")) and not list(tmp_path.glob(".vault*"))


@pytest.fixture(scope="module")
def spread() -> Configuration:
    return loader.load(REPOSITORY / "configs/environments/particles_spread.yaml", [], {}).configuration


def foreign(vault: Path, **changes: Any) -> dict[str, Any]:
    """A vault as OG-MARL has it, of 3 agents: a truncated episode of 3 steps, a terminated one of 2, and 2 steps of one without an end."""
    random, steps, names = np.random.default_rng(1), 7, ("observations", "actions", "rewards", "terminals", "truncations")
    arrays: dict[str, Any] = {
        "observations": random.normal(size=(1, steps, 3, 18)).astype(np.float32), "actions": random.integers(0, 5, (1, steps, 3)),
        "rewards": random.normal(size=(1, steps, 3)).astype(np.float32), "terminals": np.zeros((1, steps, 3), np.float32),
        "truncations": np.zeros((1, steps, 3), np.float32), "infos.legals": np.ones((1, steps, 3, 5), np.float32),
    }  # fmt: skip
    arrays["truncations"][0, 2], arrays["terminals"][0, 4] = 1, 1
    arrays |= changes
    vault.mkdir(parents=True)
    for name, rows in arrays.items():
        if rows is not None:
            array(vault, f"{name}.", rows)
    array(vault, "vault_index", np.array([steps], np.int32))
    shapes = ", ".join(f'"{name}": "{arrays[name].shape}"' for name in names if arrays[name] is not None)
    text = f'{{{shapes}, "infos": {{"legals": "{arrays["infos.legals"].shape}"}}}}'
    (vault / "metadata.json").write_text(f'{{"version": 1.2, "structure_shape": {text}, "structure_dtype": {{}}}}')
    return arrays


def test_a_vault_of_og_marl(tmp_path: Path, spread: Configuration) -> None:
    """A truncated episode loses its last step, whose next observation is not stored; a terminated one needs none."""
    arrays = foreign(tmp_path / "3m.vlt/Good")
    foreign(tmp_path / "3m.vlt/Poor")
    import_dataset(tmp_path / "3m.vlt", tmp_path / "data", spread)
    found = Dataset(tmp_path / "data")
    found.verify()
    assert [(one.name, one.policy) for one in found.manifest.behaviours] == [("Good", "3m.vlt/Good"), ("Poor", "3m.vlt/Poor")]
    assert [(one.number, one.steps, one.terminated) for one in found.episodes("agent-1")][:3] == [
        (0, 2, False),
        (1, 2, True),
        (2, 1, False),
    ]
    first, second = list(found.episodes("agent-2"))[:2]
    assert np.array_equal(first.observation, arrays["observations"][0, :3, 2])
    assert np.array_equal(second.observation, arrays["observations"][0, [3, 4, 4], 2])
    assert np.array_equal(second.reward, arrays["rewards"][0, 3:5, 2]) and np.array_equal(first.action[:, 0], arrays["actions"][0, :2, 2])
    import_dataset(tmp_path / "3m.vlt/Poor", tmp_path / "one", spread)
    assert [one.name for one in Dataset(tmp_path / "one").manifest.behaviours] == ["Poor"]


PARTLY = np.zeros((1, 7, 3), np.float32)
PARTLY[0, 3, 1] = 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"observations": np.zeros((1, 7, 2, 18), np.float32)},
            "observations has 2 agents, not 3; write agents.count: 2",
        ),
        ({"observations": np.zeros((1, 7, 3, 9), np.float32)}, r"step 0: observations of agent-0: they are float32\[9\]"),
        ({"actions": np.full((1, 7, 3), 5)}, r"step 0: actions of agent-0: a choice is not one of \[5\]"),
        ({"terminals": PARTLY}, "terminals: step 3 is the last one of some agents only"),
        ({"rewards": np.full((1, 7, 3), np.inf, np.float32)}, "reward: a number is not finite"),
        ({"truncations": None}, r"metadata\.json: structure_shape\.truncations is missing"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, spread: Configuration, changes: dict[str, Any], text: str) -> None:
    foreign(tmp_path / "vault/Good", **changes)
    with pytest.raises(DatasetError, match=text):
        import_dataset(tmp_path / "vault", tmp_path / "data", spread)
    assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*"))


def test_damage_is_named(tmp_path: Path, spread: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    export(dataset(tmp_path, VECTOR), tmp_path / "team")
    with pytest.raises(DatasetError, match="never overwritten"):
        export(Dataset(tmp_path / "data"), tmp_path / "team")
    with pytest.raises(UsageError, match="--environment CONFIG"):
        foreign(tmp_path / "vault/Good")
        import_dataset(tmp_path / "vault", tmp_path / "again", None)
    one = tmp_path / "team/quality-1"
    one.rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="quality-1, which is not there"):
        import_dataset(tmp_path / "team", tmp_path / "again", None)
    (tmp_path / "away").rename(one)
    for file in (one / "d").iterdir():
        file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(DatasetError, match="restore the vault"):
        import_dataset(tmp_path / "team", tmp_path / "again", None)
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(ResourceError, match=r"pip install 'murmuration-rl\[vault\]'"):
        import_dataset(tmp_path / "vault", tmp_path / "again", spread)
