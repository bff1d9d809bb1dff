"""Attacks that a private training has to withstand, and what their success proves."""
