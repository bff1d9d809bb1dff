"""Studies and hospital profiles, as YAML."""
