"""The coordinator: instructions out, changes in, one global model."""
