"""Gaussian processes whose evidence is a sum over data, so that agents agree on a model by adding statistics (never transitions).

`feature_basis`: features that every agent builds from its settings alone; `gp_statistics`: what is added; `gp_posterior`: what follows from
a sum; `log_evidence`: kernel parameters from a sum; `gp_model`: the world model `gp`; `exact_gp`: the world model `exact_gp`, for agents
that share nothing.
"""
