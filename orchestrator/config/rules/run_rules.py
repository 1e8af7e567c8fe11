"""Rules of a run: processes, faults, the clock, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.checks.cross_checks import Finding, RuleContext
from orchestrator.config.rules.rule_registry import Rules, meant
from protocols.faults.schedule.fault_schedule import ends_of
from protocols.faults.settings.fault_checks import FaultRuleContext, check
from protocols.faults.settings.logical_clock_checks import unsupported_under_logical_clock
from protocols.wire.message_registry import message_kinds

RULES = Rules()
reads = RULES.reads


@reads("supervision", "agents.count", "launch.engine")
def _supervision(subject: RuleContext) -> Iterator[Finding]:
    rules, count = subject.configuration.supervision, subject.configuration.agents.count
    if rules.min_agents > count:
        text = f"{rules.min_agents} exceeds the number of agents (agents.count is {count}): the run would end at once"
        yield Finding(("supervision", "min_agents"), text)
    if rules.restart_delay > rules.max_restart_delay:
        yield Finding(("supervision", "max_restart_delay"), "the longest delay is shorter than the first one (supervision.restart_delay)")
    if not rules.heartbeat < rules.suspect < subject.configuration.dead_after:
        yield Finding(("supervision",), "heartbeat < suspect < dead must hold, or living nodes are declared dead")


@reads("faults", "network.links", "agents.count", "until", "exchange.consensus")
def _faults(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, until = configuration.agent_names(), configuration.until
    ends = ends_of({"time": until.time, "steps": until.steps, "episodes": until.episodes})
    run = FaultRuleContext(agents, ends, configuration.exchange.consensus is not None)
    for fault in check(configuration.faults, configuration.network.links, run):
        choices = sorted(message_kinds()) if "types" in fault.path else run.nodes
        yield Finding(fault.path, fault.text, None if fault.name is None else meant(fault.name, choices))


@reads("metrics.sinks")
def _sinks(subject: RuleContext) -> Iterator[Finding]:
    kinds = [sink.kind for sink in subject.configuration.metrics.sinks]
    for index, sink in enumerate(subject.configuration.metrics.sinks):
        if missing := sink.missing():
            text = f"{sink.kind} needs the package {' and '.join(missing)}, which is not installed: pip install '{sink.install}'"
            yield Finding(("metrics", "sinks", index), text)
        if sink.kind in kinds[:index]:
            yield Finding(("metrics", "sinks", index), f"{sink.kind} is listed twice")


@reads("clock", "faults", "network.links")
def _clock(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    if configuration.clock == "logical":
        for fault in unsupported_under_logical_clock(configuration.faults, configuration.network.links):
            yield Finding(fault.path, fault.text)


@reads("evaluation")
def _evaluation(subject: RuleContext) -> Iterator[Finding]:
    evaluation = subject.configuration.evaluation
    if evaluation.episodes == 0 and evaluation.final_episodes == 0:
        yield Finding(("evaluation",), "no episode is ever evaluated (episodes and final are 0)", None, "warning")
