"""The engine for Slurm.

engine     what the run server asks, answered from job and steps
job        the allocation: the user's own, or a job that is submitted, noted and given back
script     what is submitted: it holds the nodes, and lets them go when nobody needs them
commands   Slurm's programs, called in the background with deadlines
"""
