"""The engine for Slurm: an allocation, the script that holds it, and Slurm's commands, called in the background with deadlines."""
