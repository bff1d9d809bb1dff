"""Which ages, sexes, views and findings go together, and what follows from what."""
