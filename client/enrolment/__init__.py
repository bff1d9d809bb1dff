"""How a hospital joins, and keeps its certificate in force."""
