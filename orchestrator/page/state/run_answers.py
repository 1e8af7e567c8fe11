"""One sentence each on the questions that a person has first: is a node idle, what waits for what, does the run learn."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from orchestrator.results.number_text import decimal

if TYPE_CHECKING:
    from orchestrator.page.history.run_history import RunHistory
    from orchestrator.run_server.waits.run_questions import WhyReport

IDLE = 0.8
"""share of waiting from which an agent counts as idle"""
_FRESH = 30.0
"""seconds for which a report of shares of time counts"""
_FEWEST = 8
"""values of the return from which learning is judged"""
_LEARNING = ("return.normalised", "return", "success.individual", "success")

Answer = dict[str, str]


def _answer(level: str, text: str) -> Answer:
    return {"level": level, "text": text}


def idle_answer(history: RunHistory, t: float, nodes: Mapping[str, Mapping[str, Any]]) -> Answer:
    """Whether a node is away, or an agent spends its time waiting."""
    agents = [name for name, node in nodes.items() if node["role"] == "agent"]
    away = [name for name, node in nodes.items() if node["state"] in ("dead", "suspect", "paused")]
    if away:
        return _answer("bad", f"{_listed(away)} {'is' if len(away) == 1 else 'are'} {nodes[away[0]]['state']}.")
    if agents and all(nodes[name]["state"] == "done" for name in agents):
        return _answer("unknown", "The run has ended.")
    waiting: dict[str, float] = {}
    for name in agents:
        metric = history.metrics.get("time.wait", name)
        index = metric.index(t) if metric is not None else -1
        if metric is not None and index >= 0 and t - metric.t[index] <= _FRESH:
            waiting[name] = metric.v[index]
    if not waiting:
        return _answer("unknown", "No node has reported how it spends its time.")
    idle = sorted((name for name in waiting if waiting[name] > IDLE), key=lambda name: -waiting[name])
    if idle:
        verb = "waits" if len(idle) == 1 else "wait"
        return _answer("warn", f"{_listed(idle)} {verb} for {100 * waiting[idle[0]]:.0f} % of the time.")
    return _answer("good", f"No agent is idle; the agents wait for {100 * fmean(waiting.values()):.0f} % of their time.")


def waits_answer(why: WhyReport | None, ended: bool) -> Answer:
    """What waits for what."""
    if ended:
        return _answer("unknown", "The run has ended.")
    if why is None:
        return _answer("unknown", "unknown")
    if not why.chains:
        return _answer("good", "No node waits longer than it should.")
    level, text = why.chains[0]
    return _answer(level, f"{text[0].upper()}{text[1:]}." if level == "good" else text)


def learning_answer(history: RunHistory, t: float) -> Answer:
    """Whether the return rises: the mean of the newest quarter of its values against the quarter before it and the first one."""
    for name in _LEARNING:
        metric = history.metrics.get(name, "env-0")
        count = metric.index(t) + 1 if metric is not None else 0
        if metric is None or count < _FEWEST:
            continue
        values = list(metric.v[:count])
        quarter = max(2, count // 4)
        first, before, newest = values[:quarter], values[-2 * quarter : -quarter], values[-quarter:]
        noise = (stdev(newest) ** 2 / quarter + stdev(first) ** 2 / quarter) ** 0.5
        change = f"the {name} was {decimal(fmean(first))} at the beginning and is {decimal(fmean(newest))} now"
        if fmean(newest) < fmean(first) - 2 * noise:
            return _answer("bad", f"The return falls: {change}.")
        if fmean(newest) > fmean(first) + 2 * noise:
            recent = "still rises" if fmean(newest) > fmean(before) else "has stopped rising"
            return _answer("good" if recent == "still rises" else "warn", f"It learns: {change}; it {recent}.")
        return _answer("warn", f"No clear progress yet: {change}.")
    return _answer("unknown", "Too few values of the return so far.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
