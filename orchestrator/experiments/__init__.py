"""Experiments: a grid of configurations times seeds, made as ordinary runs, resumable at any moment, measured and judged.

| file | what |
|---|---|
| `design` | the typed settings of an experiment file |
| `reading` | a file -> a checked design, or everything that is wrong with it |
| `cells` | a design -> cells, each with its checked configuration and its identity |
| `store` | which cells there are, and what has become of them: on disk, safe under kill -9 |
| `scheduling` | which cell is started next: a state machine without a clock |
| `players` | one cell under way: a run of processes, or a simulation |
| `runner` | drives players by the schedule, writes the store, stops in order |
| `measure` | a finished run and a `measure:` entry -> a value and a curve |
| `verdicts` | `expect:` entries against the table |
| `results` | all of it, read from disk alone: what reports are made of |
"""
