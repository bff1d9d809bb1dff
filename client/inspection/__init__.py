"""What a hospital's data manager looks at after an ingest: counts, pictures, and what became of every file."""
