"""For tests on several hosts: skipped with the reason where such can't be made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.site import Site, why_impossible
from tests.engines.slurm_cluster import SlurmCluster, why_no_slurm

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is for `make test-engines`: it needs root and the engines' programs, and as long as all the rest."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("engines")


BuildSite = Callable[[int], Site]


@pytest.fixture
def build_site() -> Iterator[BuildSite]:
    """Builds sites of so many hosts, closed after the test. For a wider scope write `with Site(n) as site` after `skip_without_site()`."""
    skip_without_site()
    with contextlib.ExitStack() as stack:
        yield lambda hosts: stack.enter_context(Site(hosts))


def skip_without_site() -> None:
    """Skip where no site can be built."""
    if reason := why_impossible():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A Slurm of two nodes, which Slurm's commands and our processes find by `SLURM_CONF`."""
    if reason := why_no_slurm():
        pytest.skip(reason)
    with Site(2) as site, SlurmCluster(site, tmp_path_factory.mktemp("slurm")) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster
