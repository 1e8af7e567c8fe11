"""YAML text and command-line overrides to a tree with source locations."""
