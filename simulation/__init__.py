"""A whole federation on one machine, with the production processes."""
