"""What the coordinator's and the hospitals' consoles share: the look, the door, the guard, the serving."""
