"""Statistics of experiments: pure functions of numpy arrays, without files and without runs.

Rows go into a `RunsTable`; it gives a `ScoreSample` (one metric of several runs) or `RunCurves`; everything else makes of these an
`Estimate`: a value, an interval, and the number of runs behind it, with those that have no value named and counted. The choice of
statistics follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021), and Gorsane et al.,
"Towards a Standardised Performance Evaluation Protocol for Cooperative MARL" (2022).
"""
