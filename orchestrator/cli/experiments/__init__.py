"""Commands for experiments, sweeps, simulations and their export."""
