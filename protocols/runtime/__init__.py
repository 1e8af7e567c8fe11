"""What every process of a run uses: start, control channel, telemetry, logs, seeds, settings types, errors, files."""
