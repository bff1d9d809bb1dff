"""What keeps a hospital's node running for years: backups, and numbers for those who watch."""
