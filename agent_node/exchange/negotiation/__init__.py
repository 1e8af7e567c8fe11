"""Agreement on goals before an episode."""
