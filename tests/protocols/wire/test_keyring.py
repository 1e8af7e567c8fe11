"""Whose keys count, as a list of events."""

from __future__ import annotations

import pytest

from protocols.runtime.key_pairs import KeyPair
from protocols.wire.keyring import KeyOwner, Keyring
from protocols.wire.messages import Role
from tests.protocols.transport.strangers import roster

FIRST, SECOND, THIRD = (KeyPair("p" * 39 + str(i), "") for i in range(3))


def test_the_newest_life_of_a_node_counts_and_its_last_one_does_not() -> None:
    ring = Keyring("env")
    ring.follow(roster(("agent-0", FIRST, 1)))
    assert ring.owner(FIRST.public) == KeyOwner("agent-0", "agent")
    ring.follow(roster(("agent-0", SECOND, 2)))
    assert ring.owner(FIRST.public) is None
    assert ring.retired(FIRST.public) == "agent-0"
    assert ring.owner(SECOND.public) == KeyOwner("agent-0", "agent")
    assert ring.retired(THIRD.public) is None


@pytest.mark.parametrize(("role", "heard"), [("run", True), ("env", False), ("agent", False)])
def test_the_dead_are_heard_by_the_run_server_alone(role: Role, heard: bool) -> None:
    ring = Keyring(role)
    ring.follow(roster(("agent-0", FIRST, 1), dead=("agent-0",)))
    assert (ring.owner(FIRST.public) is not None) == heard


@pytest.mark.parametrize(
    ("role", "guests"),
    [("run", {"agent", "env", "host", "client"}), ("env", {"agent"}), ("agent", {"agent"}), ("host", set()), ("client", set())],
)
def test_every_role_has_its_guests(role: Role, guests: set[str]) -> None:
    ring, roles = Keyring(role), ("agent", "env", "host", "client", "run")
    for guest in roles:
        ring.admit(guest, guest, guest)
    assert {guest for guest in roles if ring.owner(guest) is not None} == guests


def test_command_lines_share_a_key_that_speaks_for_no_node() -> None:
    ring = Keyring("run")
    ring.admit(FIRST.public, "", "client")
    owner = ring.owner(FIRST.public)
    assert owner is not None
    assert owner.speaks_as("client-1-abc")
    assert owner.speaks_as("client-2-def")
    assert not owner.speaks_as("agent-0")
    assert not owner.speaks_as("run")


def test_a_host_that_comes_again_has_one_key() -> None:
    ring = Keyring("run")
    ring.admit(FIRST.public, "host-0", "host")
    ring.admit(FIRST.public, "host-0", "host")
    assert ring.owner(FIRST.public) is not None
    ring.admit(SECOND.public, "host-0", "host")
    assert ring.owner(FIRST.public) is None
    assert ring.retired(FIRST.public) == "host-0"


def test_who_is_left_out_gets_in_when_that_ends() -> None:
    ring = Keyring("agent")
    ring.follow(roster(("agent-1", FIRST, 1), ("agent-2", SECOND, 1)))
    ring.only(["agent-1"])
    assert ring.owner(SECOND.public) is None
    assert ring.owner(FIRST.public) is not None
    ring.only(None)
    assert ring.owner(SECOND.public) is not None


def test_revoked_is_revoked_whatever_the_roster_says() -> None:
    ring = Keyring("env")
    entries = roster(("agent-0", FIRST, 1))
    ring.follow(entries)
    ring.revoke(FIRST.public)
    ring.follow(entries)
    assert ring.owner(FIRST.public) is None
    assert ring.retired(FIRST.public) == "agent-0"
