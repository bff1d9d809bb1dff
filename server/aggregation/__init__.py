"""The arithmetic of a round: from the hospitals' changes to how the global model moves."""
