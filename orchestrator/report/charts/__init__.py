"""Pictures, of runs and of what might be run: SVG that stands alone, and drawings in characters.

| file | what |
|---|---|
| `graph` | a communication graph, as SVG |
| `graph_text` | a small one, in characters |
| `dry_run` | beside it, what a configuration would start |
| `formats` | a configuration's graph in all forms that `orchestrate show` knows |
| `run` | what a run leaves in its `plots/` |
| `panels` | curves beside each other, and what SVGs of figures are made of |
| `coordination_tables` | heat maps of what agents' messages mean |
| `disagreement` | how a simulated population came to agree |

Reports have drawings of their own (`orchestrator.report`).
"""
