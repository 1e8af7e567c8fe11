"""What a run writes and what is read from it: run directories, logs, metrics, summaries."""
