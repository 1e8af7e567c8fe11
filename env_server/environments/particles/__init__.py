"""Particle worlds, with all copies stepped together: `particles:simple_spread`, `simple_tag`, `rescue`, `two_basins`."""
