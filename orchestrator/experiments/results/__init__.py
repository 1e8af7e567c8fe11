"""Results of an experiment: measures, verdicts and exports."""
