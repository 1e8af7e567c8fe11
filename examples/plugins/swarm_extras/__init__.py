"""Example components for Murmuration, one of each kind. Importing this package registers them (`plugins: [swarm_extras]`)."""

from protocols.runtime.component_registry import register
from swarm_extras.components import register_components

register_components(register)
