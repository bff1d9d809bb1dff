"""The coordinator's console: its studies, rounds and hospitals as pages, behind a login."""
