"""The number of the protocol between hospital and coordinator, where even a process without Flower can read it."""

SPOKEN = 7
"""Raised whenever a message changes meaning; both sides must match."""
