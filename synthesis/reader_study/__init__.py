"""A blinded test of people: which radiographs are real."""
