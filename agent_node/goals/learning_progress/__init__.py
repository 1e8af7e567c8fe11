"""Goal sources: absolute learning progress of the own goal, or of own and partner's goal."""
