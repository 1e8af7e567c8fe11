"""Transports over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from protocols.transport import Identity, Transport, TransportOptions
from tests.protocols.transport.driving import RUN


@pytest.fixture
def make() -> Iterator[Callable[..., Transport]]:
    """Transports that are closed at the end."""
    with ExitStack() as stack:

        def make(name: str, incarnation: int = 1, run: str = RUN, **options: Any) -> Transport:
            transport = Transport(Identity(run, name, incarnation), TransportOptions(**options))
            stack.callback(transport.close, 0.1)
            return transport

        yield make
