"""Commands that create, check, draw and export configurations, and check this machine."""
