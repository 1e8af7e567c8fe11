"""Pictures, of runs and of what might be run: SVG that stands alone, and drawings in characters.

| file | what |
|---|---|
| `graph` | a communication graph |
| `graph_text` | a small one, in characters |
| `dry_run` | beside it, what a configuration would start |
| `formats` | a configuration's graph in all forms that `orchestrate show` knows |
| `run` | what a run leaves in its `plots/` |
| `coordination_tables` | heat maps of what agents' messages mean |
| `disagreement` | disagreement of a simulated population over rounds |

Charts are made by `orchestrator.report.charts.chart_style`, as those of reports are.
"""
