"""The hospital's console: what it has, what was asked of it, what left, and the means to say no, on its own machine."""
