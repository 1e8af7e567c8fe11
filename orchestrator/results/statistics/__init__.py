"""Statistics of experiments.

Pure functions of numpy arrays; nothing here reads a file or knows what a run is. Rows go into a `Table`, a table gives a `Sample` (one
figure of several runs) or `Runs` (their curves), and everything else makes of these an `Estimate`: a value, an interval, and the number of
runs behind it, with those that have no figure named and counted.

| file | what it computes |
|---|---|
| `table` | rows of an experiment; samples and curves of a group of runs |
| `estimate` | a value with its interval and its numbers of runs |
| `aggregates` | interquartile mean, mean, median, optimality gap |
| `bootstrap` | stratified resampling of runs, percentile intervals |
| `comparison` | probability of improvement; difference and ratio of two groups |
| `conditions` | groups over equal conditions; factors that change nothing |
| `profiles` | share of runs above a score, with a band |
| `curves` | curves of several runs on common steps; area under a curve |
| `threshold` | steps until a threshold, with runs that never reached it |
| `bands` | before, during and after fault windows |
| `tolerance` | amount of a disturbance at which a share of a figure is lost |
| `variance` | analysis of variance and Tukey's test between methods |
| `marl_eval` | the JSON layout of marl-eval |

The choice of statistics follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021), and Gorsane
et al., "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL" (2022).
"""
