"""For tests on several hosts: skipped with the reason where such can't be made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from .site import Site, why_impossible

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
