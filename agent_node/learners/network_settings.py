"""Settings of networks: what they encode, and recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from protocols.runtime.settings_types import Settings

Network = Literal["auto", "mlp", "grid", "cnn", "impala_cnn", "entities", "entity_attention"]
Chosen = Literal["mlp", "grid", "cnn", "impala_cnn", "entities", "entity_attention"]
LEAST_SIDE = 36
"""pixels: least height and width of an image for the three convolutions of `cnn`"""


def network_for(network: Network, grid: bool, image: Sequence[int] | None, entities: bool = False) -> Chosen:
    """The network that `auto` stands for, where entities are described, or a grid or an image `(height, width, channels)` is observed;
    others are themselves."""
    if network != "auto":
        return network
    if entities:
        return "entities"
    if grid:
        return "grid"
    if image is None:
        return "mlp"
    return "cnn" if min(image[:2]) >= LEAST_SIDE else "impala_cnn"


class EntityPart(Settings):
    """Consecutive components of an observation: the agent's own ones, or those of several entities that are alike, one after the other."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """entities of equal names are the same: their components are joined, and `count` must be equal"""
    count: Annotated[int, Field(ge=1, le=1024)] | None = None
    """number of entities; null: components of the agent itself"""
    size: Annotated[int, Field(ge=1, le=65536)]
    """components of each entity; without `count` of the part"""

    @property
    def components(self) -> int:
        """Components of the whole part."""
        return self.size * (self.count or 1)


def entities_of(parts: Sequence[EntityPart], observed: int) -> dict[str, list[tuple[int, ...]]]:
    """By the names of the kinds of entities: of each entity, its components among the `observed` ones, which consist of `parts`.
    `ValueError` for another number of components, for parts of one name with different numbers of entities, and without entities."""
    found: dict[str, list[tuple[int, ...]]] = {}
    start = 0
    for part in parts:
        if part.count is not None:
            before = found.get(part.name, [()] * part.count)
            if len(before) != part.count:
                text = f"{part.name} has {len(before)} entities in one part and {part.count} in another"
                raise ValueError(f"{text}; write equal counts, or another name")
            places = [tuple(range(start + i * part.size, start + (i + 1) * part.size)) for i in range(part.count)]
            found[part.name] = [(*one, *more) for one, more in zip(before, places, strict=True)]
        start += part.components
    if start != observed:
        raise ValueError(f"the parts have {start} components, and {observed} are observed; correct size and count, or write null")
    if not found:
        raise ValueError("no part has a count, and so none has entities; write count, or null")
    return found


class RecurrentSettings(Settings):
    """Recurrent layers behind the hidden ones (ReLU), as wide as the last of these. Their state is zero at the start of each episode."""

    cell: Literal["gru", "lstm"] = "gru"
    """gated recurrent unit (Cho et al., arXiv 1406.1078), or long short-term memory (Hochreiter & Schmidhuber, Neural Computation 1997)"""
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    """number of layers"""


class SequenceSettings(RecurrentSettings):
    """Recurrent layers that are trained on sequences of a rollout."""

    sequence: Annotated[int, Field(ge=1, le=10_000)] = 16
    """steps through which gradients flow: rollouts are cut into sequences of this length, each from the state with which the agent acted"""


class ReplaySequenceSettings(RecurrentSettings):
    """Recurrent layers that are trained on sequences of remembered episodes (Kapturowski et al., R2D2, ICLR 2019)."""

    sequence: Annotated[int, Field(ge=1, le=10_000)] = 16
    """steps through which gradients flow; a batch has batch_size / sequence sequences"""
    burn_in: Annotated[int, Field(ge=0, le=10_000)] = 16
    """steps before each sequence, from a state of zero, that only compute the state with which the sequence begins"""
