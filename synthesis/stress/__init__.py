"""A diagnostic model under test, with generated and edited radiographs."""
