"""Looking a coordinator over: what is well, what is not, whose job it is."""
