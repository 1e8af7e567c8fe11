"""What a run's agents have learnt, played in one environment without starting a run."""
