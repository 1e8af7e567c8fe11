"""Engines that provide machines, the host process, placement of nodes, and Kubernetes manifests."""
