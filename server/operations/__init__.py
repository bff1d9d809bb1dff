"""What keeps a coordinator running for years: backups, numbers for those who watch, results for other tools."""
