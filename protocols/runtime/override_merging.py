"""Settings laid over other settings: the rule by which files extend files, and agents differ from the common settings."""

from __future__ import annotations

from typing import Any


def replaces_component(old_kind: object, new_kind: object) -> bool:
    """Whether a mapping of `new_kind` replaces one of `old_kind` whole, instead of being merged with it key by key: both name a component,
    and not the same one. None: no `kind` is given."""
    return old_kind is not None and new_kind is not None and old_kind != new_kind


def merge_overrides(base: Any, over: Any) -> Any:
    """`over` laid over `base` (plain data as in YAML): mappings are merged key by key; lists, scalars, and components of another `kind`
    replace what was there. Neither argument is changed."""
    if not (isinstance(base, dict) and isinstance(over, dict)) or replaces_component(base.get("kind"), over.get("kind")):
        return over
    return {**base, **{key: merge_overrides(base[key], value) if key in base else value for key, value in over.items()}}
