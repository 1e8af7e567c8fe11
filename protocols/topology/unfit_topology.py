"""What makes settings unfit for a number of agents. Free of numpy: the configuration check reports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TopologyProblem:
    """Why settings make no graph: the key inside `network.topology`, the rule broken and its cure."""

    path: tuple[str | int, ...]
    text: str
    misspelt: str | None = None
    """the unknown name, where that is the fault"""


class UnfitTopology(ValueError):
    """Settings that make no graph of these agents; `faults`: the reasons."""

    def __init__(self, *faults: TopologyProblem) -> None:
        super().__init__("; ".join(f"{_shown(fault.path)}{fault.text}" for fault in faults))
        self.faults = faults


def unfit(text: str, *path: str | int) -> UnfitTopology:
    """An `UnfitTopology` error with one problem: its text, and the path of the key in the settings. The caller raises it."""
    return UnfitTopology(TopologyProblem(path, text))


def _shown(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""
