"""Changing one thing in a radiograph that exists, and keeping the rest."""
