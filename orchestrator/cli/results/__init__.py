"""Commands that print and draw the results of runs and experiments."""
