"""Suggestions for misspelt names: `did you mean "ring"?`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_SIMILARITY = 0.55
"""least ratio of `difflib.SequenceMatcher` of a suggestion, case ignored"""
_WORSE = 0.15
"""by how much the ratio of a further suggestion may be below that of the best"""


def suggestions(name: str, choices: Iterable[str], count: int = 1) -> list[str]:
    """Up to `count` of `choices`: those of which `name` is one of the words, if they are at most `count` (`dqn` suggests `double_dqn`);
    else those that are spelt most like it, the best first; else those that contain it, if they are at most `count`. Names shorter than
    three letters are searched for similar spellings only."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = [choice for choice in by_lower if name.lower() in choice.split("_")] if len(name) >= 3 else []
    if not 0 < len(found) <= count:
        found = get_close_matches(name.lower(), list(by_lower), count, _SIMILARITY)
        ratios = [SequenceMatcher(None, choice, name.lower()).ratio() for choice in found]
        found = [choice for choice, ratio in zip(found, ratios, strict=True) if ratio >= ratios[0] - _WORSE]
    if not found and len(name) >= 3:
        containing = [choice for choice in by_lower if name.lower() in choice]
        found = containing if len(containing) <= count else []
    return [by_lower[choice] for choice in found]


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The first of `suggestions`, or None."""
    return next(iter(suggestions(name, choices)), None)


def hint(name: str, choices: Iterable[str], otherwise: str = "", count: int = 1) -> str:
    """`did you mean "ring"?`, with up to `count` suggestions joined by `or`; `otherwise` where no choice is similar."""
    found = " or ".join(f'"{choice}"' for choice in suggestions(name, choices, count))
    return f"did you mean {found}?" if found else otherwise
