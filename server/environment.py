"""Environment variables by which ``coordinator up`` tells a study's process what the operator decided."""

STATE_VARIABLE = "FEDCXR_COORDINATOR_STATE"
"""Folder where the coordinator keeps its state."""
SCRATCH_VARIABLE = "FEDCXR_MAX_SCRATCH"
"""Bytes that hospitals' changes may take at a time."""
BUCKET_VARIABLE = "FEDCXR_BUCKET"
"""URL of a bucket that holds what travels."""
