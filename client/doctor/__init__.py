"""Looking a hospital over before and while it takes part: what is well, what is not, whose job it is."""
