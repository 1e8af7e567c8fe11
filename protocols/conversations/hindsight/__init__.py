"""Exchange of episode traces and action corrections for hindsight relabelling."""
