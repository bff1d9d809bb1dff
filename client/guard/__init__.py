"""Files are read in processes that are watched, limited and replaced."""
