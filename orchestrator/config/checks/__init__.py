"""Checks of a configuration: fields by the typed settings, then rules across keys."""
