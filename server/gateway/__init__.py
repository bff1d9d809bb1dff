"""The coordinator's one public port: passes what a hospital's node needs, and nothing else."""
