"""One attribute of a real radiograph changed, and the rest kept."""
