"""Exports: a configuration as files for machinery that other people operate. Nothing is started, and no network is used.

Kubernetes: `pods` says how many pods of which size, `commands` what runs in them, `manifests` what objects there are, `check` which names
and sizes are valid, `files` how they are written.
"""
