"""Charts of runs, experiments and simulations.

| file | content |
|---|---|
| `chart_style` | colours, axes, legends; from a matplotlib figure to an SVG that can stand alone or within a page |
| `line_panels` | panels of lines side by side |
| `experiment_charts`, `fault_charts` | charts of statistics: bands, intervals, profiles, heat maps; faults and shares of time |
| `run_charts` | the files in the `plots/` of a run |
| `coordination_table_chart` | coordination tables as heat maps |
| `disagreement_chart` | disagreement of a simulated population over rounds, as characters and as a drawing |
"""
