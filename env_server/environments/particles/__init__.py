"""Particle worlds, all copies stepped together: `particles:simple_spread`, `particles:simple_tag`, `particles:rescue`, `particles:two_basins`."""
