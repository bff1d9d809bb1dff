"""Shards of tensors at the coordinator: offered to hospitals, and left by them."""
