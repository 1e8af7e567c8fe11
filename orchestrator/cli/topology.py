"""`orchestrate topology`: the communication graph of a configuration, and how fast averaging over it converges."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
    OverridesArgument,
    app,
    examples,
    options,
    print_error,
    print_json,
    print_text,
    write_text,
)
from protocols.runtime.errors import ConfigurationError, UsageError

EPILOG = examples(
    "orchestrate topology configs/4agents_ring.yaml",
    "orchestrate topology configs/4agents_ring.yaml 'network.topology={kind: small_world, degree: 4}' --agents 64 -o small_world.svg",
)
_MOST = 100_000
_RUN = 1024
"""agents of the largest configuration"""
_LISTED = 16
_ROUNDS = 4


@app.command("topology", epilog=EPILOG)
def topology(
    context: typer.Context,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    agents: Annotated[
        int | None,
        typer.Option("--agents", min=1, max=_MOST, help="The same kind of graph for so many agents, be they more than can be run."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.svg", help="Draw it into this file.")] = None,
) -> None:
    """Show who talks to whom: degrees, distances, whose loss cuts others off, and how many rounds of averaging agreement takes."""
    if output is not None and output.suffix != ".svg":
        raise UsageError(f"topology: {output} is no SVG file, and only those are drawn; write {output.with_suffix('.svg')}")
    from orchestrator.config import loader as configuration_loader
    from orchestrator.config.checks.machine_resources import UNLIMITED
    from orchestrator.report.graphs.graph_facts import fact_lines, graph_facts
    from orchestrator.report.graphs.graph_svg import DRAWN, picture
    from orchestrator.report.graphs.graph_text import DRAWN as SMALL
    from orchestrator.report.graphs.graph_text import neighbour_lines, text_picture
    from protocols.topology import build
    from protocols.topology.communication_graph import make_graph

    settings = options(context)
    # Nothing is started, so this machine's size does not matter; the rest of the configuration is checked for as many as can be run.
    asked = [f"agents.count={min(agents, _RUN)}"] if agents is not None else []
    loaded = configuration_loader.load(config, [*(overrides or []), *asked], machine=UNLIMITED)
    wanted = loaded.configuration.network.topology
    names = loaded.configuration.agent_names() if agents is None else [f"agent-{i}" for i in range(agents)]
    try:
        graph = make_graph(wanted, names, loaded.configuration.seed)
    except ValueError as error:  # of the configuration's own number of agents everything was checked
        raise ConfigurationError(f"network.topology for {len(names)} agents: {error}") from None
    facts = graph_facts(graph)
    if output is not None:
        end = "exact after" if facts["exact"] is not None else "a millionth after"
        count = facts["exact"] if facts["exact"] is not None else facts["rounds"]
        title = f"{wanted.kind} of {len(names)}, gap {facts['spectral_gap']:.3g}, {end} {count} rounds"
        write_text(output, picture(graph, wanted, title).svg)
    if settings.json:
        content = {"name": loaded.configuration.name, "kind": wanted.kind, **facts, "picture": str(output) if output is not None else None}
        if len(names) <= DRAWN:
            content["edges_of_rounds"] = [graph.edges(t) for t in range(min(graph.period or _ROUNDS, SMALL))]
        print_json(content)
        return
    lines = []
    mark = "→" if graph.directed else "──"
    if graph.changes or graph.directed:
        rounds = range(min(graph.period or _ROUNDS, _ROUNDS)) if graph.changes else range(1)
        for t in rounds if len(names) <= _LISTED else range(1):
            listed = neighbour_lines(names, partial(graph.receivers, round=t), mark, _LISTED)
            lines += [*([f"round {t}"] if graph.changes else []), *(f"    {line}" for line in listed), ""]
    else:
        drawn = neighbour_lines(names, partial(graph.receivers, round=0), mark, _LISTED)
        if len(names) <= SMALL:
            drawn = text_picture(build(wanted, names, loaded.configuration.seed))
        lines += [*(f"    {line}" for line in drawn), ""]
    facts_of_graph = fact_lines(loaded.configuration.name, wanted.kind, facts)
    width = max(len(label) for label, _ in facts_of_graph)
    lines += [f"{label:<{width}}  {text}" for label, text in facts_of_graph]
    print_text("\n".join(lines))
    if settings.verbosity >= 0:
        form = "picture" if len(names) <= DRAWN else "picture (a matrix of dots)"
        hint = f"for a {form}: orchestrate topology {config} ... -o {wanted.kind}.svg"
        print_error(f"{form} drawn into {output}" if output is not None else hint)
