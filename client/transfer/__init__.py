"""How a hospital fetches and leaves shards, whatever the line does."""
