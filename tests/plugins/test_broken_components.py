"""A component that breaks a rule of its contract is refused with this rule and the cure."""

from __future__ import annotations

import pytest

from murmuration.testing import ContractError
from tests.plugins.broken_components import BROKEN, Pings, check_conversation


def test_the_conversation_from_which_broken_ones_derive_is_correct() -> None:
    check_conversation(Pings, lambda machine, turn, now: machine.ping(turn))


@pytest.mark.parametrize("name", BROKEN)
def test_the_first_broken_rule_is_named(name: str) -> None:
    check, text = BROKEN[name]
    with pytest.raises(ContractError) as raised:
        check()
    assert text in str(raised.value)
    assert raised.value.rule and raised.value.cure
