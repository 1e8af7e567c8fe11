"""Capabilities of settings classes, and of instances whose values change them."""

from __future__ import annotations

from typing import ClassVar, Literal

from protocols.runtime.settings_types import ComponentSettings


class Drawn(ComponentSettings):
    capabilities: ClassVar[tuple[str, ...]] = ("discrete", "values")
    kind: Literal["drawn"] = "drawn"
    shared: bool = False

    def active_capabilities(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        return (*(name for name in declared if name != "values"), "joint") if self.shared else declared


class Derived(Drawn):
    """Inherits its capabilities, and how they depend on values."""


class Wider(Drawn):
    capabilities: ClassVar[tuple[str, ...]] = (*Drawn.capabilities, "continuous")


def test_a_class_has_what_it_declares() -> None:
    assert Drawn.capabilities == Derived.capabilities == ("discrete", "values")
    assert Wider.capabilities == ("discrete", "values", "continuous") and ComponentSettings.capabilities == ()


def test_an_instance_has_what_its_values_leave_or_add() -> None:
    assert Drawn().capabilities == Derived().capabilities == ("discrete", "values")
    assert Drawn(shared=True).capabilities == Derived(shared=True).capabilities == ("discrete", "joint")
    assert Wider(shared=True).capabilities == ("discrete", "continuous", "joint")
    assert Drawn().model_copy(update={"shared": True}).capabilities == ("discrete", "joint")
