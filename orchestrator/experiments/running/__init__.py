"""Running the cells of an experiment: schedule, store, runs, simulations and progress views."""
