"""The report of an experiment: analysis, sections and tables."""
