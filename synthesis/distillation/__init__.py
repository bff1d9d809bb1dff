"""Making a model draw in few steps, from nothing but its own pictures."""
