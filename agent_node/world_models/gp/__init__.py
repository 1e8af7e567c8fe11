"""Gaussian processes whose evidence is a sum over data, so that agents agree on a model by adding statistics (never transitions).

`basis` features every agent builds from its settings alone (`hilbert`, `drawn`); `statistics` what is added; `posterior` what follows from
a sum; `evidence` kernel parameters from a sum; `personal` effects that are an agent's own; `model` the world model `gp`; `exact` the world
model `exact_gp`, for agents that share nothing.
"""
