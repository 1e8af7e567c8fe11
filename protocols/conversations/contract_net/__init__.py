"""Exchange of goals between neighbours by a contract net (Smith 1980)."""
