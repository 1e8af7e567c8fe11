"""What an agent says over the edges of the graph, and what it makes of what it hears."""
