"""Goals of episodes: offers to members, assignment, and the goal supervisor."""
