"""Exports: a configuration as files for machinery that other people operate. Nothing is started, and no network is used.

Kubernetes: `pods` has how many pods of which size, `commands` what runs in them, `manifests` the objects, `check` which names
and sizes are valid, `files` how they are written.
"""
