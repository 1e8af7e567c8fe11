"""Control of nodes and hosts by the run server: heartbeats, commands, events, metrics."""
