"""Choosing among usable radiographs: what would count twice is found before a network learns it by heart."""
